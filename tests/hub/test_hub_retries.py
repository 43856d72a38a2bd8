"""When to retry a hub: pauses are read from the log."""

import re
import threading
import time

import pytest

from flockoff.errors import HubTransient, Interrupted
from flockoff.hub import Patience
from flockoff.hub.retries import Stop, retrying


def pauses_told(caplog: pytest.LogCaptureFixture) -> list[float]:
    return [float(found[1]) for text in caplog.messages if (found := re.search(r"again in ([\d.]+) s", text))]


def never(retry_after: float | None = None) -> None:
    raise HubTransient("The hub is away.", retry_after=retry_after)


def test_retrying_doubles_its_pauses_give_or_take_half(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    seen, retries = set(), list[None]()
    for _ in range(3):
        caplog.clear()
        with pytest.raises(HubTransient):
            patience, stop = Patience(tries=3, backoff=0.2), Stop(threading.Event())
            retrying(never, patience, stop, on_retry=lambda: retries.append(None))
        first, second = pauses_told(caplog)
        assert 0.1 <= first <= 0.3 and 0.2 <= second <= 0.6
        seen.add((first, second))
    assert len(seen) > 1 and len(retries) == 6


def test_retrying_waits_at_least_as_long_as_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    begun = time.monotonic()
    with pytest.raises(HubTransient):
        retrying(lambda: never(0.5), Patience(tries=2, max_retry_after=0.5), Stop(threading.Event()))
    assert time.monotonic() - begun >= 0.5
    assert pauses_told(caplog) in ([0.5], [0.6])


@pytest.mark.parametrize("deadline", [None, 5.0])
def test_retrying_leaves_a_longer_wish_than_its_patience_to_the_caller(deadline: float | None) -> None:
    patience = Patience(max_retry_after=60.0 if deadline else 9.0)
    until = None if deadline is None else time.monotonic() + deadline
    tries: list[int] = []

    def busy() -> None:
        tries.append(1)
        never(10.0)

    with pytest.raises(HubTransient) as error:
        retrying(busy, patience, Stop(threading.Event()), deadline=until)
    assert (len(tries), error.value.retry_after) == (1, 10.0)


def test_retrying_is_interrupted_by_either_event() -> None:
    for number in range(2):
        events = (threading.Event(), threading.Event())
        timer = threading.Timer(0.1, events[number].set)
        timer.start()
        with pytest.raises(Interrupted):
            retrying(lambda: never(50.0), Patience(), Stop(*events))
