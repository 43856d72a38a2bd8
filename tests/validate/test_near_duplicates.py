"""Whole epochs with disguised copiers, before and after their victims, and with honest miners."""

import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.errors import Reason
from flockoff.ports import Datasets
from flockoff.records import Commitment, Measurement, ModelId, Progress, Row, Verdict
from flockoff.validate import Validator, run_epochs
from flockoff.validate.preparation import Dataset, Preparation
from tests.support.arena import Arena, JsonRow
from tests.support.near_copies import conversations, sketch_of, swapped, with_answers
from tests.support.stand_in import StandInEvaluator
from tests.support.toy_encoder import CharacterEncoder

VICTIM, OTHER, SPARE = conversations()[:30], conversations()[30:60], conversations()[60:]
DISGUISED = with_answers(VICTIM[::-1], swapped(0.05))


def as_json(rows: Sequence[Row]) -> list[JsonRow]:
    return [
        {
            "system": row.system,
            "conversations": [{"role": turn.role, "content": turn.content} for turn in row.turns],
        }
        for row in rows
    ]


def validator_of(arena: Arena) -> Validator:
    return arena.validator(encoder=CharacterEncoder(context_length=5000))


def verdicts_by_miner(arena: Arena, validator: Validator, start_block: int) -> dict[int, Verdict]:
    miners = {hotkey: miner for miner, hotkey in enumerate(arena.hotkeys)}
    return {miners[verdict.hotkey]: verdict for verdict in validator.ledger.verdicts(start_block)}


class Late:
    """Downloads that of one repo wait for ``begun``."""

    def __init__(self, datasets: Datasets, repo: str) -> None:
        self.begun = threading.Event()
        self._datasets = datasets
        self._repo = repo

    def begin(self, needed: Collection[tuple[str, str]]) -> None:
        self._datasets.begin(needed)

    def get(self, namespace: str, commit: str, *, max_bytes: int, needed: bool = True) -> Path:
        if namespace == self._repo:
            assert self.begun.wait(300)
        return self._datasets.get(namespace, commit, max_bytes=max_bytes, needed=needed)


def in_this_order(arena: Arena, validator: Validator, repo: str) -> Validator:
    """The validator, to which ``repo``'s dataset comes only when another one is being measured."""
    late = Late(validator.datasets, repo)
    arena.on_evaluation = late.begun.set
    return replace(validator, datasets=late)


def begin_with(arena: Arena, validator: Validator, miners: Sequence[int]) -> int:
    """Go into the next epoch and give its places to these miners, in this order."""
    arena.next_epoch()
    epoch, snapshot = arena.epoch(), arena.chain(None).snapshot()
    uids = {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    plan = [
        Commitment(hotkey, uids[hotkey], ModelId.parse(raw.text), raw.block)
        for hotkey in (arena.hotkeys[miner] for miner in miners)
        if (raw := snapshot.commitments[hotkey])
    ]
    validator.ledger.record_commitments(plan)
    validator.ledger.begin_epoch(epoch, plan)
    return epoch.start_block


@pytest.mark.slow
def test_near_duplicate_of_an_earlier_dataset_is_not_even_measured(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    thief = arena.submit(1, "disguised", loss=0.9, rows=as_json(DISGUISED))
    validator = in_this_order(arena, validator_of(arena), thief.namespace)
    start = begin_with(arena, validator, [0, 1])
    assert run_epochs(validator, 1)
    verdicts = verdicts_by_miner(arena, validator, start)
    assert verdicts[0].standing == "eligible"
    assert (verdicts[1].standing, verdicts[1].reason) == ("at_fault", Reason.NEAR_DUPLICATE)
    assert f"by hotkey {arena.hotkeys[0]} (block {verdicts[0].block}; line " in verdicts[1].detail
    assert verdicts[1].detail.count(" is its line ") == 1
    assert [evaluation.hotkey for evaluation in validator.ledger.evaluations(start)] == [arena.hotkeys[0]]
    assert arena.weights() == {arena.uid(0): 1.0}


class Patient(StandInEvaluator):
    """Measures the base model once every dataset that is being prepared has arrived."""

    def __init__(self, loss_of: Callable[[str, int], float], arriving: "Sequence[Future[Dataset]]") -> None:
        super().__init__(loss_of)
        self._arriving = arriving

    def base_loss(
        self, *, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Measurement:
        wait(self._arriving)
        return super().base_loss(on_progress=on_progress, should_stop=should_stop)


@pytest.mark.slow
def test_near_duplicate_that_is_placed_before_its_victim_is_not_measured_if_both_have_arrived(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    arena.submit(1, "disguised", loss=0.9, rows=as_json(DISGUISED))
    arriving: list[Future[Dataset]] = []
    begin = Preparation.begin

    def begin_and_note(self: Preparation, model_id: ModelId) -> "Future[Dataset]":
        arriving.append(begin(self, model_id))
        return arriving[-1]

    monkeypatch.setattr(Preparation, "begin", begin_and_note)
    validator = validator_of(arena)
    validator = replace(validator, evaluator=Patient(lambda content, seed: 1.0, arriving))
    start = begin_with(arena, validator, [1, 0])
    assert run_epochs(validator, 1)
    assert len(arriving) == 2
    verdicts = verdicts_by_miner(arena, validator, start)
    assert (verdicts[0].standing, verdicts[1].reason) == ("eligible", Reason.NEAR_DUPLICATE)
    assert [evaluation.hotkey for evaluation in validator.ledger.evaluations(start)] == [arena.hotkeys[0]]


@pytest.mark.slow
def test_near_duplicate_judged_before_its_victim_is_found_by_the_epochs_end(arena: Arena) -> None:
    victim = arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    arena.submit(1, "disguised", loss=0.9, rows=as_json(DISGUISED))
    validator = in_this_order(arena, validator_of(arena), victim.namespace)
    start = begin_with(arena, validator, [1, 0])
    assert run_epochs(validator, 1)
    assert len(validator.ledger.evaluations(start)) == 2
    verdicts = verdicts_by_miner(arena, validator, start)
    assert verdicts[0].standing == "eligible"
    assert verdicts[1].reason is Reason.NEAR_DUPLICATE
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
def test_near_duplicate_judged_epochs_before_its_victim_falls_when_that_is_known(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    arena.submit(1, "disguised", loss=0.9, rows=as_json(DISGUISED))
    validator = validator_of(arena)
    first = begin_with(arena, validator, [1])
    assert run_epochs(validator, 1)
    assert verdicts_by_miner(arena, validator, first)[1].standing == "eligible"
    epoch = arena.play_epoch(validator)
    verdicts = verdicts_by_miner(arena, validator, epoch.start_block)
    assert verdicts[0].standing == "eligible"
    assert verdicts[1].reason is Reason.NEAR_DUPLICATE
    assert validator.ledger.memory().scores[arena.hotkeys[1]] == 0


@pytest.mark.slow
def test_near_duplicate_is_still_one_after_a_restart_and_its_victims_departure(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    first = validator_of(arena)
    arena.play_epoch(first)
    first.ledger.close()
    arena.commit(0, "gone fishing")
    arena.submit(1, "disguised", loss=0.9, rows=as_json(DISGUISED))
    second = validator_of(arena)
    epoch = arena.play_epoch(second)
    verdict = verdicts_by_miner(arena, second, epoch.start_block)[1]
    assert verdict.reason is Reason.NEAR_DUPLICATE
    assert arena.hotkeys[0] in verdict.detail


@pytest.mark.slow
def test_borrowed_rows_below_the_threshold_are_left_out_and_told_of(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    mixed_id = arena.submit(1, "mixed", loss=0.9, rows=as_json([*VICTIM[:5], *OTHER]))
    validator = in_this_order(arena, validator_of(arena), mixed_id.namespace)
    start = begin_with(arena, validator, [0, 1])
    assert run_epochs(validator, 1)
    verdict = verdicts_by_miner(arena, validator, start)[1]
    assert verdict.standing == "eligible"
    assert "in 5 rows" in verdict.detail and "not trained on" in verdict.detail
    original, mixed = validator.ledger.evaluations(start)
    assert original.left_out == ()
    assert mixed.left_out == (1, 2, 3, 4, 5)


@pytest.mark.slow
def test_dataset_with_a_borrowed_answer_in_each_row_is_at_fault(arena: Arena) -> None:
    padded = [
        replace(own, system=None, turns=(*own.turns, *more.turns, *stolen.turns[:2]))
        for own, more, stolen in zip(OTHER, SPARE, VICTIM, strict=False)
    ]
    arena.submit(0, "original", loss=1.0, rows=as_json(VICTIM))
    thief = arena.submit(1, "padded", loss=0.9, rows=as_json(padded))
    validator = in_this_order(arena, validator_of(arena), thief.namespace)
    start = begin_with(arena, validator, [0, 1])
    assert run_epochs(validator, 1)
    verdict = verdicts_by_miner(arena, validator, start)[1]
    assert verdict.reason is Reason.NEAR_DUPLICATE
    assert "No row is left to train on" in verdict.detail


@pytest.mark.slow
def test_public_sample_is_trained_on_whoever_had_it_first(arena: Arena) -> None:
    arena.submit(0, "grabber", loss=1.5, rows=as_json(VICTIM))
    honest = arena.submit(1, "honest", loss=1.0, rows=as_json([*VICTIM[:20], *OTHER]))
    validator = in_this_order(arena, validator_of(arena), honest.namespace)
    validator = replace(validator, public_sample=sketch_of(VICTIM, validator.ledger.sketches.key))
    start = begin_with(arena, validator, [0, 1])
    assert run_epochs(validator, 1)
    assert {verdict.standing for verdict in validator.ledger.verdicts(start)} == {"eligible"}
    assert [evaluation.left_out for evaluation in validator.ledger.evaluations(start)] == [(), ()]


@pytest.mark.slow
def test_settlement_lets_the_better_half_bear_witness_but_not_who_borrowed_much(arena: Arena) -> None:
    arena.submit(0, "best", loss=1.0, rows=as_json(VICTIM))
    borrower = arena.submit(1, "borrower", loss=1.1, rows=as_json([*VICTIM[:20], *OTHER]))
    arena.submit(2, "worse", loss=1.5, rows=as_json(SPARE[:30]))
    arena.submit(3, "worst", loss=1.9, rows=as_json(SPARE[30:60]))
    validator = in_this_order(arena, validator_of(arena), borrower.namespace)
    start = begin_with(arena, validator, [0, 1, 2, 3])
    assert run_epochs(validator, 1)
    assert {verdict.standing for verdict in validator.ledger.verdicts(start)} == {"eligible"}
    coldkeys = {neuron.hotkey: neuron.coldkey for neuron in arena.chain(None).snapshot().neurons}
    with closing(sqlite3.connect(arena.directory / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT coldkey FROM witnesses").fetchall() == [
            (coldkeys[arena.hotkeys[0]],)
        ]
