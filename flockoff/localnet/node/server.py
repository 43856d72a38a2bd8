"""JSON-RPC 2.0 over WebSocket."""

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.rpc import RpcSession

_log = logging.getLogger(__name__)

_MAX_MESSAGE = 16 * 1024 * 1024  # bytes
_MAX_QUEUED = 4096  # messages that one slow client may leave unread
_CLOSE_SECONDS = 1.0  # for a client to confirm that the connection closes
_SUBMISSIONS = frozenset({"author_submitExtrinsic", "author_submitAndWatchExtrinsic"})
_TRY_AGAIN_LATER = 1013  # WebSocket close code


class RpcServer:
    """Serves a chain. ``requests`` counts the calls by method."""

    def __init__(self, chain: LocalChain) -> None:
        self._chain = chain
        self._server: Server | None = None
        self._host, self._port = "", 0
        self._flows = asyncio.Event()  # cleared while the node stalls
        self._flows.set()
        self._healed = asyncio.Event()
        self._refusals = self._stalls = 0  # under way
        self._submissions_to_lose: list[bool] = []  # for each of the next ones: whether the pool gets it
        self.requests: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ``OSError`` when it is taken."""
        self._server = await serve(
            self._connection,
            host,
            port,
            max_size=_MAX_MESSAGE,
            compression=None,
            close_timeout=_CLOSE_SECONDS,
        )
        self._host, self._port = host, int(self._server.sockets[0].getsockname()[1])
        return self._port

    def drop(self) -> None:
        """Break every connection, as a cut cable would once noticed."""
        if self._server is not None:
            for socket in list(self._server.connections):
                socket.transport.abort()

    async def refuse(self, seconds: float) -> None:
        """Break every connection, and listen to nobody for that long."""
        self._refusals += 1
        self._healed.clear()  # now, or who heals while the port is being closed would not be heard
        if self._server is not None:
            self.drop()
            server, self._server = self._server, None
            server.close()
            await server.wait_closed()
        await self._let_pass(seconds)
        self._refusals -= 1
        if not self._refusals:
            await self.start(self._host, self._port)

    async def stall(self, seconds: float) -> None:
        """Accept connections and requests, but answer none for that long; they are carried out afterwards."""
        self._stalls += 1
        self._healed.clear()
        self._flows.clear()
        await self._let_pass(seconds)
        self._stalls -= 1
        if not self._stalls:
            self._flows.set()

    async def _let_pass(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._healed.wait(), seconds)

    def lose_submissions(self, times: int, *, taken: bool) -> None:
        """Break the connection of each of the next ``times`` submissions, once or before the pool has it."""
        self._submissions_to_lose += [taken] * times

    def heal(self) -> None:
        """End the faults above."""
        self._submissions_to_lose.clear()
        self._healed.set()

    async def stop(self) -> None:
        """Close every connection and the socket."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _connection(self, socket: ServerConnection) -> None:
        outgoing: asyncio.Queue[str] = asyncio.Queue(_MAX_QUEUED)
        overflow = asyncio.Event()

        def send(message: Any) -> None:
            try:
                outgoing.put_nowait(json.dumps(message))
            except asyncio.QueueFull:
                overflow.set()

        def notify(method: str, subscription: str, result: Any) -> None:
            params = {"subscription": subscription, "result": result}
            send({"jsonrpc": "2.0", "method": method, "params": params})

        session = RpcSession(self._chain, notify)
        writer = asyncio.create_task(_write(socket, outgoing, overflow))
        try:
            async for text in socket:
                await self._flows.wait()
                if self._receive(session, text, send):
                    socket.transport.abort()
        except ConnectionClosed:
            _log.debug("a client went away without closing")
        finally:
            session.close()
            writer.cancel()

    def _receive(self, session: RpcSession, text: str | bytes, send: Any) -> bool:
        """Carry out a message; returns whether its answer, and with it the connection, must be lost."""
        try:
            message = json.loads(text)
        except ValueError:
            send(_error(None, Refused(-32700, "Parse error")))
            return False
        if self._submissions_to_lose and isinstance(message, dict) and message.get("method") in _SUBMISSIONS:
            if self._submissions_to_lose.pop(0):
                self._answer(session, message)
            return True
        if isinstance(message, list):
            send([self._answer(session, request) for request in message])
        else:
            send(self._answer(session, message))
        session.after_reply()
        return False

    def _answer(self, session: RpcSession, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, Refused(-32600, "Invalid request"))
        method, params = request["method"], request.get("params") or []
        self.requests[method] += 1
        try:
            if not isinstance(params, list):
                raise Refused(-32602, "Invalid params", f"{method}: positional params only")
            return {"jsonrpc": "2.0", "id": request.get("id"), "result": session.call(method, params)}
        except Refused as refused:
            return _error(request.get("id"), refused)


def _error(request_id: Any, refused: Refused) -> dict[str, Any]:
    error: dict[str, Any] = {"code": refused.code, "message": refused.message}
    if refused.data is not None:
        error["data"] = refused.data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


async def _write(socket: ServerConnection, outgoing: asyncio.Queue[str], overflow: asyncio.Event) -> None:
    """Send what is queued, in order, until the client is gone or has fallen too far behind."""
    try:
        while not overflow.is_set():
            await socket.send(await outgoing.get())
        await socket.close(_TRY_AGAIN_LATER, "too many unread messages")
    except ConnectionClosed:
        _log.debug("a client went away with messages unsent")
