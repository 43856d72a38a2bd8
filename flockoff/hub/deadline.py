"""Deadlines and cancellation for calls to the hub.

An HTTP library's timeouts apply to one read, write or connection attempt: a hub that sends a byte now and
then keeps a request going for ever, and nothing cancels one in progress. Here every read and write waits in
short slices and checks its call in between; name lookup, connecting and the TLS handshake, which cannot be
sliced, run in a thread that the caller can abandon.
"""

import selectors
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, TypeVar

import httpcore2
import httpx2

from flockoff.errors import HubTransient, Interrupted
from flockoff.hub.library import connect_through
from flockoff.hub.retries import Stop

_WAIT = 0.1  # seconds
_PIECE = 4096  # bytes that a writable socket accepts without blocking

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubCall:
    """One attempt at one operation, of one or more requests."""

    doing: str  # "download alice/x", for messages
    stop: Stop
    deadline: float  # time.monotonic()
    home: httpx2.URL | None  # the hub, which redirects must not leave; None if the caller follows them

    def check(self) -> None:
        """Raises Interrupted once asked to stop, HubTransient after the deadline."""
        self.stop.check()
        if time.monotonic() > self.deadline:
            raise HubTransient(f"Could not {self.doing}: the hub took too long.")


_current: ContextVar[HubCall | None] = ContextVar("_current", default=None)


def current_call() -> HubCall | None:
    return _current.get()


@contextmanager
def under_way(call: HubCall) -> Iterator[None]:
    """Assign this thread's requests to ``call``."""
    call.check()
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def watch(client: httpx2.Client) -> None:
    """Make the client's requests, proxied or not, end with their call."""
    connect_through(client, _Backend())


class _Backend(httpcore2.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        connect = super().connect_tcp
        return _Stream(_apart(lambda: connect(host, port, timeout, local_address, socket_options)))


class _Stream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return _in_short_waits(
            lambda seconds: self._inner.read(max_bytes, seconds), timeout, httpcore2.ReadTimeout
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            _in_short_waits(self._await_room, timeout, httpcore2.WriteTimeout)
            self._inner.write(buffer[start : start + _PIECE], timeout)

    def _await_room(self, seconds: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._inner.get_extra_info("socket"), selectors.EVENT_WRITE)
            if not selector.select(seconds):
                raise httpcore2.WriteTimeout("the hub does not read what is sent to it")

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(_apart(lambda: self._inner.start_tls(ssl_context, server_hostname, timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _in_short_waits(
    step: Callable[[float | None], T], timeout: float | None, late: type[httpcore2.TimeoutException]
) -> T:
    """The result of ``step``, which raises ``late`` after the seconds it is given, within ``timeout``."""
    call = _current.get()
    if call is None:
        return step(timeout)
    begun = time.monotonic()
    while True:
        call.check()
        try:
            return step(_WAIT if timeout is None else min(_WAIT, timeout))
        except late:
            if timeout is not None and time.monotonic() - begun >= timeout:
                raise


def _apart(connect: Callable[[], httpcore2.NetworkStream]) -> httpcore2.NetworkStream:
    """``connect`` in a thread that the caller abandons when its call ends; a late connection is closed."""
    call = _current.get()
    if call is None:
        return connect()
    connected: Future[httpcore2.NetworkStream] = Future()

    def run() -> None:
        try:
            connected.set_result(connect())
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError, ValueError) as error:
            connected.set_exception(error)

    threading.Thread(target=run, name="hub-connect", daemon=True).start()
    try:
        while not wait([connected], _WAIT).done:
            call.check()
    except (Interrupted, HubTransient):
        connected.add_done_callback(_close)
        raise
    return connected.result()


def _close(connected: "Future[httpcore2.NetworkStream]") -> None:
    if connected.exception() is None:
        connected.result().close()
