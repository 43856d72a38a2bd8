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


class Hurried(Stop):
    """Notes how long it is to wait, and does not."""

    def __init__(self) -> None:
        super().__init__(threading.Event())
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_retrying_doubles_its_pauses_give_or_take_half(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    seen, retries = set(), list[None]()
    for _ in range(10):
        caplog.clear()
        stop = Hurried()
        with pytest.raises(HubTransient):
            retrying(never, Patience(tries=3, backoff=2.0), stop, on_retry=lambda: retries.append(None))
        first, second = stop.pauses
        assert 1.0 <= first <= 3.0 and 2.0 <= second <= 6.0
        assert pauses_told(caplog) == [pytest.approx(pause, abs=0.06) for pause in stop.pauses]
        seen.add((first, second))
    assert len(seen) > 1 and len(retries) == 20


def test_retrying_waits_at_least_as_long_as_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    begun = time.monotonic()
    with pytest.raises(HubTransient):
        retrying(lambda: never(0.1), Patience(tries=2, max_retry_after=0.1), Stop(threading.Event()))
    assert time.monotonic() - begun >= 0.1
    assert pauses_told(caplog) == [0.1]


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
