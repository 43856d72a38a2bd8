"""Between a program and the doubles: every request is a step, before it takes effect and after it did."""

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from flockoff.localnet.hub import HubServer
from flockoff.localnet.hub.script import ANY
from tests.support.crash_steps import Steps

_START_SECONDS = 300.0
_STOP_SECONDS = 300.0
_REPO = re.compile(r"/datasets/[^/]+/[^/]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Wire:
    """Kills ``victim`` at a request to the hub or the node; ``endpoint`` leads to the node.

    At a fatal step before a request, the double never gets it; at one after it, nobody gets the answer.
    """

    def __init__(self, node: str, hub: HubServer, journal: Path, fatal: Collection[str] = ()) -> None:
        self.victim: Future[int] = Future()  # process id
        self.endpoint = ""
        self._node = node
        self._hub = hub
        self._steps = Steps(journal, fatal, lambda: os.kill(self.victim.result(), signal.SIGKILL))

    @contextmanager
    def tapped(self) -> Iterator[None]:
        """Within this context ``endpoint`` is served and the hub is watched."""
        listening: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(listening)), name="crash-wire")
        thread.start()
        port, loop, stopping = listening.result(_START_SECONDS)
        self.endpoint = f"ws://127.0.0.1:{port}"
        self._hub.faults.add(ANY, "", self._watched_hub, times=float("inf"))
        try:
            yield
        finally:
            self._hub.faults.clear()
            loop.call_soon_threadsafe(stopping.set)
            thread.join(_STOP_SECONDS)
            self._steps.close()

    def _watched_hub(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            path = _COMMIT.sub("COMMIT", _REPO.sub("/datasets/REPO", scope["path"]))
            step = f"{scope['method']} {path}"
            answer: list[Message] = []

            async def keep(message: Message) -> None:
                answer.append(message)

            if self._steps.reach(f"before {step}"):
                return
            await app(scope, receive, keep)
            if self._steps.reach(f"after {step}"):
                return
            for message in answer:
                await send(message)

        return watched

    async def _serve(self, listening: "Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        stopping = asyncio.Event()
        async with serve(self._relay, "127.0.0.1", 0, compression=None, max_size=None) as server:
            port = server.sockets[0].getsockname()[1]
            listening.set_result((port, asyncio.get_running_loop(), stopping))
            await stopping.wait()

    async def _relay(self, program: ServerConnection) -> None:
        asked: dict[int, str] = {}  # methods without an answer so far, by the request's id
        async with connect(self._node, compression=None, max_size=None) as node:
            answers = asyncio.create_task(self._relay_answers(node, program, asked))
            try:
                async for text in program:
                    request = json.loads(text)
                    asked[request["id"]] = request["method"]
                    if self._steps.reach(f"before {request['method']}"):
                        return
                    await node.send(text)
            except ConnectionClosed:
                return  # the program was killed
            finally:
                answers.cancel()

    async def _relay_answers(
        self, node: ClientConnection, program: ServerConnection, asked: dict[int, str]
    ) -> None:
        try:
            async for text in node:
                method = asked.pop(json.loads(text).get("id"), None)
                if method is not None and self._steps.reach(f"after {method}"):
                    return
                await program.send(text)
        except ConnectionClosed:
            return
