"""How long to wait for a hub, and when to retry."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flockoff.errors import HubTransient, Interrupted
from flockoff.retry import backoff

_log = logging.getLogger(__name__)
T = TypeVar("T")

_LOOK = 0.1  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """All times are in seconds."""

    timeout: float = 30.0  # of silence, also within a response
    tries: int = 4
    backoff: float = 1.0  # before the second try; doubles each time, with a jitter of half
    max_retry_after: float = 60.0  # longer pauses are left to the caller
    grace: float = 60.0  # for any transfer, whatever its size
    min_rate: float = 100_000.0  # bytes a second, beyond that

    def deadline(self, size: int = 0) -> float:
        """The deadline (``time.monotonic()``) for transferring ``size`` bytes from now."""
        return time.monotonic() + self.grace + size / self.min_rate


class Stop:
    """A stop request: set once any of its events is."""

    def __init__(self, *events: threading.Event) -> None:
        self._events = events

    def check(self) -> None:
        """Raises Interrupted."""
        if any(event.is_set() for event in self._events):
            raise Interrupted("asked to stop")

    def wait(self, seconds: float) -> None:
        """Raises Interrupted as soon as it is set."""
        ends = time.monotonic() + seconds
        self.check()
        while (left := ends - time.monotonic()) > 0:
            self._events[0].wait(min(left, _LOOK))
            self.check()


def retrying(
    attempt: Callable[[], T],
    patience: Patience,
    stop: Stop,
    *,
    deadline: float | None = None,
    on_retry: Callable[[], None] = lambda: None,
) -> T:
    """Call ``attempt`` until it succeeds, at most ``patience.tries`` times; ``on_retry`` before each retry.

    HubTransient leads to another try, after the pause that the hub asks for or an exponential one. It is
    raised when tries, patience or ``deadline`` (monotonic) are used up. Raises Interrupted at a ``stop``.
    """
    for tried in range(1, patience.tries + 1):
        stop.check()
        try:
            return attempt()
        except HubTransient as error:
            pause = _pause(error, patience, tried)
            too_long = error.retry_after is not None and error.retry_after > patience.max_retry_after
            too_late = deadline is not None and time.monotonic() + pause > deadline
            if tried == patience.tries or too_long or too_late:
                raise
            _log.info("%s Trying again in %.1f s.", error.message, pause)
            on_retry()
            stop.wait(pause)
    raise AssertionError("a loop of at least one try returns or raises")


def _pause(error: HubTransient, patience: Patience, tried: int) -> float:
    """Seconds, with jitter."""
    if error.retry_after is not None:
        return error.retry_after * random.uniform(1.0, 1.1)
    return backoff(tried, first=patience.backoff, longest=patience.max_retry_after)
