"""The score of a dataset that no worker can finish decays, but never through others' faults."""

from collections.abc import Iterable

from flockoff.competition import Competition
from flockoff.epoch.memory import Memory
from flockoff.epoch.settle import Evidence, remember, settle
from flockoff.errors import FaultKind
from flockoff.records import Verdict


def verdict(hotkey: str, epoch: int, fault: FaultKind | None = None) -> Verdict:
    return Verdict(
        epoch=epoch,
        hotkey=hotkey,
        uid=1,
        model_id="org/data:f127:" + "a" * 40,
        block=1,
        standing="eligible" if fault is None else "not_evaluated",
        reason=None,
        detail="",
        content_hash=hotkey,
        loss=2.0 if fault is None else None,
        fault=fault,
    )


def score_after(epochs: Iterable[tuple[FaultKind | None, bool]]) -> float:
    """Of a leader that has 0.5. ``epochs``: its own fault in each, and whether another is evaluated."""
    memory, start = Memory(scores={"leader": 0.5, "other": 0.1}), 0
    for fault, others in epochs:
        start += 360
        verdicts = [verdict("leader", start, fault)]
        verdicts.append(verdict("other", start, None if others else FaultKind.HUB_TRANSIENT))
        coldkeys = {"leader": "a", "other": "b"}
        found = settle(start, verdicts, memory, coldkeys, Competition(), Evidence())
        memory = remember(memory, found)
    return memory.scores["leader"]


def test_thaw_begins_with_the_third_turn_that_is_missed() -> None:
    missed = (FaultKind.TOO_SLOW, True)
    assert [score_after([missed] * epochs) for epochs in range(5)] == [0.5, 0.5, 0.5, 0.4, 0.4 * 0.8]


def test_thaw_is_brought_about_by_no_outage_and_no_epoch_that_is_too_short() -> None:
    assert score_after([(FaultKind.TOO_SLOW, False)] * 9) == 0.5
    assert score_after([(FaultKind.EVALUATION, False), (FaultKind.HUB_TRANSIENT, True)] * 9) == 0.5
    assert score_after([(FaultKind.STOPPED, True)] * 9) == 0.5
    assert score_after([(FaultKind.HUB_TRANSIENT, True)] * 9) == 0.5


def test_thaw_ends_with_a_result() -> None:
    missed = (FaultKind.EVALUATION, True)
    assert score_after([missed, missed, (None, True), missed, missed]) == score_after([(None, True)])


def test_thaw_of_one_that_leaves_no_time_for_others_is_by_the_epochs_between() -> None:
    """It is tried in every other epoch, and nothing else is evaluated then."""
    between = (FaultKind.HUB_TRANSIENT, True)  # the other's turn
    hog = [between, (FaultKind.TOO_SLOW, False)]
    assert [score_after([*hog * times, between]) for times in (1, 2, 3)] == [0.5, 0.5, 0.4]
