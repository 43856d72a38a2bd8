"""A blocking interface with timeouts to the SDK's client.

The SDK limits the time between two answers, but a submission waits for finalization without limit, and a
client abandoned during one has a nonce cache ahead of the chain. So every operation here has its own timeout,
and a client that went silent or lost its connection is replaced.

The SDK reconnects by itself, but not after a node has closed the connection in good order while a request or
a subscription was open, as one does that is restarted: the SDK's receiving task then dies of an assertion
(bittensor 11.3 with websockets 16), and nobody tells those who wait. So a call also ends when there has been
no connection for a while.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from flockoff.errors import Interrupted
from flockoff.text import without_key

if TYPE_CHECKING:
    from bittensor import Client, RpcSubstrate

log = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[["Access"], Awaitable[T]]

CLOSE_SECONDS = 5.0
STOP_SECONDS = 3.0  # left to a call in progress when the program is asked to stop
LOST_LOOKS = 48  # without a connection: 12 s. The SDK has 10 s for a try to connect, through a proxy, too.
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Access:
    """The SDK's client, and the lower layer for what the client lacks."""

    client: "Client"
    substrate: "RpcSubstrate"


class Connection:
    """The client of one endpoint, opened on first use and again after ``drop``. For one thread.

    A call in progress when ``stop`` is set, or begun after that, has STOP_SECONDS left.
    """

    def __init__(self, endpoint: str, stop: threading.Event | None = None) -> None:
        self._endpoint = endpoint
        self._stop = stop or threading.Event()
        self._session: _Session | None = None

    def run(self, operation: Operation[T], *, timeout: float) -> T:
        """The result of ``operation``; TimeoutError after ``timeout`` seconds, connecting included.

        Raises ConnectionResetError if the connection is lost and not replaced, and Interrupted if asked to
        stop meanwhile. What it was sending may have arrived.
        """
        if self._session is None:
            self._session = _Session(self._endpoint)
        future = self._session.submit(operation)
        try:
            return self._wait_for(future, time.monotonic() + timeout)
        finally:
            if not future.done():  # timed out or interrupted: nobody needs the result
                future.cancel()
                self.drop()

    def _wait_for(self, future: "Future[T]", ends: float) -> T:
        stopping = False
        while (left := ends - time.monotonic()) > 0:
            if not stopping and self._stop.is_set():
                stopping, ends = True, min(ends, time.monotonic() + STOP_SECONDS)
            if future in wait([future], min(left, _LOOK_SECONDS)).done:
                return future.result()
        if stopping:
            raise Interrupted("asked to stop")
        raise TimeoutError

    def drop(self) -> None:
        """Abandon the client without waiting; the next ``run`` opens a new one."""
        if self._session is not None:
            self._session.stop()
            self._session = None

    def close(self) -> None:
        """Close the client, waiting a few seconds at most."""
        session = self._session
        self.drop()
        if session is not None:
            session.join()


class _Session:
    """One client on an event loop in its own thread."""

    def __init__(self, endpoint: str) -> None:
        from bittensor import Client
        from bittensor.settings import default_archive_endpoints, default_fallback_endpoints

        from flockoff.chain.substrate import Substrate

        substrate = Substrate(
            endpoint,
            fallback_endpoints=default_fallback_endpoints(endpoint),
            archive_endpoints=default_archive_endpoints(endpoint),
        )
        # The client names caches in the home folder by this address.
        self._access = Access(Client(without_key(endpoint), substrate=substrate), substrate)
        self._connected = False
        self._stopped = asyncio.Event()
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._run, name="chain", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(self._perform(operation), self._loop)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)

    def join(self) -> None:
        self._thread.join(2 * CLOSE_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop.set_exception_handler(_note)
        await self._stopped.wait()
        # On Python 3.11 the client's close can hang while answers are still arriving.
        closing = asyncio.ensure_future(self._access.client.close())
        done, _ = await asyncio.wait([closing], timeout=CLOSE_SECONDS)
        if done and not closing.cancelled() and (error := closing.exception()):
            log.debug("closing the chain client failed: %s", error)
        await _end_others()
        await self._loop.hang_up()

    async def _perform(self, operation: Operation[T]) -> T:
        call = asyncio.ensure_future(self._connected_for(operation))
        looks = 0
        try:
            while not (await asyncio.wait({call}, timeout=_LOOK_SECONDS))[0]:
                looks = 0 if self._loop.is_connected else looks + 1
                if looks >= LOST_LOOKS:
                    raise ConnectionResetError
            return call.result()
        finally:
            call.cancel()

    async def _connected_for(self, operation: Operation[T]) -> T:
        if not self._connected:
            await self._access.client.connect()
            self._connected = True
        return await operation(self._access)


async def _end_others() -> None:
    """Cancel every other task of the event loop, which would wait for them.

    On Python 3.11 a task misses a cancellation that coincides with the result it awaits, so it may take two.
    """
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=_LOOK_SECONDS)


class _Loop(asyncio.SelectorEventLoop):
    """Tracks its connections: the SDK's client leaks one if stopped while setting it up."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: WeakSet[asyncio.Transport] = WeakSet()
        self._being_opened = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, or one is being set up."""
        return self._being_opened > 0 or any(not transport.is_closing() for transport in self._opened)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        self._being_opened += 1
        try:
            transport, protocol = await super().create_connection(*args, **options)
        finally:
            self._being_opened -= 1
        self._opened.add(transport)
        return transport, protocol

    async def hang_up(self) -> None:
        """Abort open connections."""
        for transport in self._opened:
            transport.abort()
        await asyncio.sleep(0)  # for the transports to close their sockets


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log exceptions of the SDK's background tasks; their callers have timeouts."""
    log.debug("in the chain client: %s", context.get("exception") or context["message"])
