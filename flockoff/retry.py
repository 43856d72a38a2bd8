"""When to retry after a transient fault."""

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from flockoff.errors import ChainTransient, Fault, HubTransient, Interrupted
from flockoff.logs import event

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_SECONDS = 10.0
_LONGEST_SECONDS = 300.0


def backoff(tries: int, *, first: float, longest: float) -> float:
    """Seconds to wait after ``tries`` (at least 1) consecutive failures: exponential from ``first``, with a
    jitter of half either way, at most ``longest``.
    """
    doublings = min(tries - 1, 32)
    return min(longest, first * 2.0**doublings * random.uniform(0.5, 1.5))


def outlast(step: Callable[[], T], stop: threading.Event, note: Callable[[Fault], None]) -> T:
    """The result of ``step``, retried for as long as the chain or hub is out of reach.

    ``note`` is called with each fault waited out. Raises Interrupted once ``stop`` is set, and every other
    error of ``step`` immediately.
    """
    tries = 0
    while True:
        try:
            return step()
        except (ChainTransient, HubTransient) as fault:
            tries += 1
            note(fault)
            pause = backoff(tries, first=_FIRST_SECONDS, longest=_LONGEST_SECONDS)
            if isinstance(fault, HubTransient) and fault.retry_after is not None:
                pause = max(pause, fault.retry_after)
            about = event("fault", fault=fault.kind, seconds=pause, tries=tries)
            log.warning("%s Trying again in %.0f s.", fault, pause, extra=about)
            if stop.wait(pause):
                raise Interrupted from fault
