"""Epochs whose evaluator runs several datasets in parallel."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flockoff.errors import EvaluationStopped, FaultKind, Interrupted, Reason
from flockoff.records import ComputeDevice, Measurement, Progress, Verdict
from flockoff.validate import Validator, run_epochs
from tests.support.arena import Arena, rows_about
from tests.support.stand_in import StandInEvaluator

SLOTS = 2
TEMPO = 300
EVALUATING = 160  # blocks of it: far more than it takes to begin
PATIENCE_SECONDS = 300.0


def on_two_devices(arena: Arena, evaluator: StandInEvaluator | None = None, **changes: Any) -> Validator:
    evaluator = evaluator or arena.evaluator()
    evaluator.devices = evaluator.slots = SLOTS
    return arena.validator(evaluator=evaluator, **changes)


def verdicts(arena: Arena, validator: Validator) -> dict[int, Verdict]:
    """Of the running epoch, by miner."""
    by_hotkey = {verdict.hotkey: verdict for verdict in validator.ledger.verdicts(arena.epoch().start_block)}
    return {miner: by_hotkey[hotkey] for miner, hotkey in enumerate(arena.hotkeys) if hotkey in by_hotkey}


@pytest.mark.slow
def test_judge_two_slots_are_filled_and_every_verdict_is_stored(arena: Arena) -> None:
    for miner in range(4):
        arena.submit(miner, f"topic-{miner}", loss=1.0 + miner / 10)
    together = threading.Barrier(SLOTS, timeout=PATIENCE_SECONDS)

    def with_another() -> None:
        together.wait()

    arena.on_evaluation = with_another
    validator = on_two_devices(arena)

    arena.play_epoch(validator)

    found = verdicts(arena, validator)
    assert [found[miner].loss for miner in range(4)] == [1.0, 1.1, 1.2, 1.3]
    assert {verdict.standing for verdict in found.values()} == {"eligible"}


@pytest.mark.slow
def test_judge_copy_waits_for_the_evaluation_of_its_content_and_the_first_owner_keeps_it(
    arena: Arena,
) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "copied", rows=rows_about("good")[::-1])
    validator = on_two_devices(arena)

    arena.play_epoch(validator)

    found = verdicts(arena, validator)
    assert (found[0].standing, found[1].reason) == ("eligible", Reason.DUPLICATE)
    assert len(validator.ledger.evaluations(arena.epoch().start_block)) == 1
    assert len(validator.evaluator.evaluated) == 1  # type: ignore[attr-defined]


class Endless(StandInEvaluator):
    """Begins with one dataset and never ends it; the others wait for the device."""

    def __init__(self, on_begin: Callable[[], None] = lambda: None) -> None:
        super().__init__(lambda _content, _seed: 1.0)
        self._on_begin = on_begin
        self._device = threading.Lock()

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        begun = self._device.acquire(blocking=False)
        if begun:
            on_progress(Progress("training", 1, 1000))
            self._on_begin()
        while not should_stop():
            threading.Event().wait(0.05)
        raise EvaluationStopped("The evaluation was stopped.")


@pytest.mark.slow
@pytest.mark.parametrize("arena", [TEMPO], indirect=True)
@pytest.mark.parametrize(("late", "fault"), [(0, FaultKind.TOO_SLOW), (60, FaultKind.STOPPED)])
def test_judge_deadline_ends_all_that_is_under_way_and_tells_only_of_what_was_begun(
    arena: Arena, late: int, fault: FaultKind
) -> None:
    """``late``: how much of the epoch's time for evaluation is over when it begins, in percent."""
    for miner in range(2):
        arena.submit(miner, f"topic-{miner}")
    arena.next_epoch()
    epoch = arena.epoch()
    arena.node.advance(EVALUATING * late // 100)
    validator = on_two_devices(
        arena,
        Endless(lambda: arena.node.advance(EVALUATING)),
        block_threshold=TEMPO - EVALUATING,
        clock_pause=0.0,
    )

    run_epochs(validator, 1)

    [verdict] = validator.ledger.verdicts(epoch.start_block)
    assert (verdict.standing, verdict.reason, verdict.fault) == ("not_evaluated", None, fault)
    assert "time for evaluation" in verdict.detail


@pytest.mark.slow
def test_judge_request_to_stop_ends_all_that_is_under_way(arena: Arena) -> None:
    for miner in range(2):
        arena.submit(miner, f"topic-{miner}")
    arena.next_epoch()
    stop = threading.Event()
    validator = on_two_devices(arena, Endless(stop.set), stop=stop)

    with pytest.raises(Interrupted):
        run_epochs(validator, 1)

    assert verdicts(arena, validator) == {}
    assert not [one for one in threading.enumerate() if one.name.startswith("evaluate")]


class OnSeveralKinds(StandInEvaluator):
    """Each content is measured on a kind of device of its own."""

    def evaluate(self, dataset: Path, content_hash: str, seed: int, **how: Any) -> Measurement:
        measured = super().evaluate(dataset, content_hash, seed, **how)
        device = ComputeDevice(f"cuda {content_hash}")
        return replace(measured, provenance=replace(measured.provenance, device=device))


@pytest.mark.slow
@pytest.mark.parametrize(("allowed", "competing"), [(False, 1), (True, 2)])
def test_judge_kinds_of_device_compete_with_each_other_only_where_that_is_allowed(
    arena: Arena, allowed: bool, competing: int
) -> None:
    for miner in range(2):
        arena.submit(miner, f"topic-{miner}", loss=1.0)
    evaluator = OnSeveralKinds(lambda _content, seed: 1.0 + seed % 7)
    validator = on_two_devices(arena, evaluator, allow_mixed_devices=allowed, retry_pauses=())

    arena.play_epoch(validator)

    assert len(validator.ledger.evaluations(arena.epoch().start_block)) == competing
    refused = [one for one in verdicts(arena, validator).values() if one.standing == "not_evaluated"]
    assert len(refused) == 2 - competing
    assert all("another kind of device" in verdict.detail for verdict in refused)
