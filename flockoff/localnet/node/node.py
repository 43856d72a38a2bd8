"""The node: one event loop in one thread, on which everything happens."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from flockoff.errors import LocalnetError
from flockoff.localnet.node import timelock
from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.faults import NodeFaults
from flockoff.localnet.node.server import RpcServer
from flockoff.localnet.node.settings import NodeSettings

_log = logging.getLogger(__name__)

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


class Node:
    """A local Subtensor look-alike. Start it, connect the SDK to ``endpoint``, stop it; or use ``with``."""

    def __init__(self, settings: NodeSettings | None = None, *, fork_of: "Node | None" = None) -> None:
        """``fork_of``: a node that has been stopped, whose chain this one continues independently."""
        self.settings = settings or NodeSettings()
        self._chain: LocalChain = fork_of._chain.fork(self.settings) if fork_of else LocalChain(self.settings)
        self._server = RpcServer(self._chain)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._listening = threading.Event()
        self._failure: BaseException | None = None
        self._port = self.settings.port
        self._background: set[asyncio.Task[None]] = set()
        self.faults = NodeFaults(self._chain, self._server, self.run_inside, self._in_background)

    def start(self) -> None:
        """Listen and make blocks; returns when clients can connect.

        Raises:
            LocalnetError: the port is taken or the address cannot be listened on.
        """
        self._thread = threading.Thread(target=self._run, name="flockoff-node", daemon=True)
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            raise LocalnetError("The local node did not start in time.", remedy="Try again.")
        if self._failure is not None:
            self._thread.join(_STOP_SECONDS)
            address = f"{self.settings.host}:{self.settings.port}"
            raise LocalnetError(
                f"The local node cannot listen on {address}: {self._failure}.",
                remedy="Stop the program that uses the port, or choose another port (0 takes any free one).",
            ) from self._failure

    def stop(self) -> None:
        """Close all connections and end the thread. No effect if the node is not running."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            thread.join(_STOP_SECONDS)
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The URL to connect to."""
        host = self.settings.host
        return f"ws://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def block(self) -> int:
        """The head's number."""
        return self._chain.head.number

    @property
    def requests(self) -> Mapping[str, int]:
        """The number of JSON-RPC requests so far, by method."""
        return MappingProxyType(self._server.requests)

    def advance(self, blocks: int = 1) -> None:
        """Make ``blocks`` blocks at once, whatever the block time.

        Raises:
            LocalnetError: the node does not run.
        """
        self.run_inside(lambda: self._advance(blocks))

    def run_inside(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run ``action`` on the node's own thread, and wait for it.

        Raises:
            LocalnetError: the node does not run.
        """
        if self._loop is None or self._thread is None:
            raise LocalnetError("The local node does not run.", remedy="Start it first.")

        async def perform() -> None:
            await action()

        asyncio.run_coroutine_threadsafe(perform(), self._loop).result()

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        """On the node's thread, begin a long operation; it ends with the node."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _advance(self, blocks: int) -> None:
        for _ in range(blocks):
            self._chain.produce()
            await asyncio.sleep(0)  # so that replies and updates are sent in between

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._port = await self._server.start(self.settings.host, self.settings.port)
        self._listening.set()
        if self.settings.instant:
            self._chain.on_submission.append(self._make_block_soon)
        tasks = [asyncio.create_task(self._follow_beacon(self._loop))]
        if self.settings.block_seconds > 0:
            tasks.append(asyncio.create_task(self._make_blocks()))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _pending = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # if block production crashes, so does the node
        finally:
            for task in (stopped, *tasks, *self._background):
                task.cancel()
            await self._server.stop()

    def _make_block_soon(self) -> None:
        """Runs after the submission, whose answer is sent first."""
        asyncio.get_running_loop().call_soon(self._chain.produce)

    async def _make_blocks(self) -> None:
        """Keep the rhythm: a late block does not delay later ones, unless by a whole block."""
        seconds = self.settings.block_seconds
        due = time.monotonic() + seconds
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._chain.produce()
            due = max(due + seconds, time.monotonic())

    async def _follow_beacon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fetch the pulses that sealed weights wait for, on a thread of their own: the request may hang."""
        while True:
            await asyncio.sleep(timelock.DRAND_PERIOD)
            for round_number in timelock.due_rounds(self._chain.state, time.time()):
                answer: asyncio.Future[bytes | None] = loop.create_future()
                fetch = threading.Thread(
                    target=_fetch_into, args=(round_number, loop, answer), name="flockoff-drand", daemon=True
                )
                fetch.start()
                signature = await answer
                if signature is None:
                    break
                timelock.store_pulse(self._chain.state, round_number, signature)


def _fetch_into(
    round_number: int, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[bytes | None]"
) -> None:
    signature = timelock.fetch_signature(round_number)

    def deliver() -> None:
        if not answer.done():
            answer.set_result(signature)

    if not loop.is_closed():
        loop.call_soon_threadsafe(deliver)
