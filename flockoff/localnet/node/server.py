"""JSON-RPC 2.0 over WebSocket."""

import asyncio
import json
import logging
from collections import Counter
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from flockoff.localnet.node.chain import Chain
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.rpc import Session

_log = logging.getLogger(__name__)

_MAX_MESSAGE = 16 * 1024 * 1024  # bytes
_MAX_QUEUED = 4096  # messages that one slow client may leave unread
_CLOSE_SECONDS = 1.0  # how long a client may take to answer that the connection closes
_TRY_AGAIN_LATER = 1013  # WebSocket close code


class RpcServer:
    """Serves a chain. ``requests`` counts the calls by method."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._server: Server | None = None
        self.requests: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port. Raises ``OSError`` when it is taken."""
        self._server = await serve(
            self._connection,
            host,
            port,
            max_size=_MAX_MESSAGE,
            compression=None,
            close_timeout=_CLOSE_SECONDS,
        )
        return int(self._server.sockets[0].getsockname()[1])

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

        session = Session(self._chain, notify)
        writer = asyncio.create_task(_write(socket, outgoing, overflow))
        try:
            async for text in socket:
                self._receive(session, text, send)
        except ConnectionClosed:
            _log.debug("a client went away without closing")
        finally:
            session.close()
            writer.cancel()

    def _receive(self, session: Session, text: str | bytes, send: Any) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            send(_error(None, Refused(-32700, "Parse error")))
            return
        if isinstance(message, list):
            send([self._answer(session, request) for request in message])
        else:
            send(self._answer(session, message))
        session.after_reply()

    def _answer(self, session: Session, request: Any) -> dict[str, Any]:
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
