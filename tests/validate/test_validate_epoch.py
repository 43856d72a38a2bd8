"""Whole epochs on the node double, the hub double and a real ledger; only the losses are made up."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flockoff.epoch.entries import enter
from flockoff.errors import (
    ChainFatal,
    ChainTransient,
    EvaluationFault,
    EvaluationStopped,
    FaultKind,
    Interrupted,
    Reason,
    UsageError,
)
from flockoff.ports import Chain
from flockoff.records import Commitment, Measurement, ModelId, Progress, Receipt, Verdict
from flockoff.scoring import epoch_seed
from flockoff.validate import run_epochs
from tests.support.arena import EVALUATION_ANSWER, Arena, rows_about
from tests.support.stand_in import StandInEvaluator

OnProgress = Callable[[Progress], None]
SHORT = 60  # blocks of an epoch whose end is waited for: fifteen seconds


def commitments_on_chain(arena: Arena) -> list[Commitment]:
    snapshot = arena.chain(None).snapshot()
    return [
        Commitment(neuron.hotkey, neuron.uid, ModelId.parse(raw.text), raw.block)
        for neuron in snapshot.neurons
        if (raw := snapshot.commitments.get(neuron.hotkey))
    ]


def by_uid(verdicts: list[Verdict]) -> dict[int, Verdict]:
    return {verdict.uid: verdict for verdict in verdicts}


@pytest.mark.slow
def test_epoch_whole_good_wins_copy_and_broken_get_nothing(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "noise", loss=2.0)
    arena.submit(2, "copied", rows=rows_about("good")[::-1])
    arena.submit(3, "broken", rows='{"conversations": [}\n')
    validator = arena.validator()
    epoch = arena.play_epoch(validator)

    good, noise, copy, broken = (arena.uid(miner) for miner in range(4))
    verdicts = by_uid(validator.ledger.verdicts(epoch.start_block))
    assert verdicts[good].standing == verdicts[noise].standing == "eligible"
    assert verdicts[copy].reason is Reason.DUPLICATE
    assert arena.hotkey(0) in verdicts[copy].detail
    assert verdicts[broken].reason is Reason.NOT_JSON
    weights = arena.weights()
    assert weights == pytest.approx({good: 0.9882, noise: 0.0118}, abs=1e-4)  # shares by distance
    assert validator.evaluator.evaluated == [  # type: ignore[attr-defined]
        evaluation.content_hash for evaluation in validator.ledger.evaluations(epoch.start_block)
    ]
    base = validator.ledger.base_loss()
    assert base is not None and base.loss == 2.0


@pytest.mark.slow
def test_epochs_from_the_next_one_on_leave_the_one_in_progress_alone(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.next_epoch()
    in_progress = arena.epoch().start_block
    validator = arena.validator()
    measure = validator.evaluator.base_loss

    def measure_until_the_next(**asked: Any) -> Measurement:
        if arena.epoch().start_block == in_progress:
            arena.next_epoch()
        return measure(**asked)

    validator.evaluator.base_loss = measure_until_the_next  # type: ignore[method-assign]
    assert run_epochs(validator, 1, from_next=True)
    assert validator.ledger.epoch(in_progress) is None
    assert len(validator.ledger.evaluations(arena.epoch().start_block)) == 1


@pytest.mark.slow
def test_epoch_seed_follows_from_the_start_blocks_hash(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    validator = arena.validator()
    epoch = arena.play_epoch(validator)
    stored = validator.ledger.epoch(epoch.start_block)
    assert stored is not None
    assert stored.seed == epoch_seed(arena.chain(None).block_hash(epoch.start_block), arena.subnet.netuid)
    [evaluation] = validator.ledger.evaluations(epoch.start_block)
    assert evaluation.measurement.provenance.seed == stored.seed


@pytest.mark.slow
def test_epoch_commitment_made_after_its_start_waits_for_the_next(arena: Arena) -> None:
    arena.next_epoch()
    arena.submit(0, "late", loss=1.0)
    validator = arena.validator()
    assert run_epochs(validator, 1)
    assert validator.ledger.evaluations(arena.epoch().start_block) == []
    assert arena.weights() == {0: 1.0}  # nobody has a score: burned at the owner's uid
    arena.play_epoch(validator)
    # The chain's consensus is still the burn, so only half of the weight may move away from it at once.
    assert arena.weights() == pytest.approx({0: 0.5, arena.uid(0): 0.5}, abs=1e-4)


@pytest.mark.slow
def test_epoch_recommitment_after_its_start_does_not_skip_the_turn(arena: Arena) -> None:
    first = arena.submit(0, "first", loss=1.0)
    validator = arena.validator()
    arena.play_epoch(validator)
    arena.next_epoch()
    arena.submit(0, "second", loss=1.5)
    assert run_epochs(validator, 1)
    [verdict] = validator.ledger.verdicts(arena.epoch().start_block)
    assert verdict.model_id == str(first)


@pytest.mark.slow
def test_epoch_interrupted_goes_on_without_repeating_an_evaluation(arena: Arena) -> None:
    for miner, topic in enumerate(("a", "b", "c")):
        arena.submit(miner, topic, loss=1.0 + miner / 10)
    arena.next_epoch()
    first = arena.validator()

    def stop_after_two(content: str, seed: int) -> float:
        if len(first.evaluator.evaluated) == 2:  # type: ignore[attr-defined]
            first.stop.set()
        return float(arena.losses[arena.contents[content]])  # type: ignore[arg-type]

    first.evaluator._loss_of = stop_after_two  # type: ignore[attr-defined]
    with pytest.raises(Interrupted):
        run_epochs(first, 1)
    assert arena.weights() == {}
    first.ledger.close()

    second = arena.validator()
    assert run_epochs(second, 1)
    epoch = arena.epoch()
    assert len(second.evaluator.evaluated) == 1  # type: ignore[attr-defined]
    assert len(second.ledger.evaluations(epoch.start_block)) == 3
    assert len(second.ledger.memory().scores) == 3
    assert arena.weights()[arena.uid(0)] == pytest.approx(0.8681, abs=1e-3)


@pytest.mark.slow
def test_epoch_entered_again_after_its_weights_changes_nothing(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    validator = arena.validator()
    epoch = arena.play_epoch(validator)
    scores, weights = validator.ledger.memory().scores, validator.ledger.last_weights()
    assert run_epochs(validator, 1)
    assert arena.epoch() == epoch
    assert validator.ledger.memory().scores == scores
    assert validator.ledger.last_weights() == weights


@pytest.mark.slow
def test_epoch_fault_of_the_worker_costs_the_miner_nothing(arena: Arena) -> None:
    arena.submit(0, "steady", loss=1.0)
    arena.submit(1, "unlucky", loss=1.1)
    validator = arena.validator()
    arena.play_epoch(validator)
    score = validator.ledger.memory().scores[arena.hotkey(1)]
    arena.losses["unlucky"] = EvaluationFault("The worker died.")
    epoch = arena.play_epoch(validator)
    verdict = by_uid(validator.ledger.verdicts(epoch.start_block))[arena.uid(1)]
    assert (verdict.standing, verdict.reason) == ("not_evaluated", None)
    assert validator.ledger.memory().scores[arena.hotkey(1)] == score


@pytest.mark.slow
def test_epoch_with_nothing_evaluated_sets_the_last_weights_again(arena: Arena) -> None:
    arena.submit(0, "a", loss=1.0)
    arena.submit(1, "b", loss=1.1)
    validator = arena.validator()
    arena.play_epoch(validator)
    before = arena.weights()
    for topic in ("a", "b"):
        arena.losses[topic] = EvaluationFault("No device.")
    epoch = arena.play_epoch(validator)
    assert arena.weights() == pytest.approx(before)
    stored = validator.ledger.weights_of_epoch(epoch.start_block)
    assert stored is not None and stored.block is not None and stored.block >= epoch.start_block


@pytest.mark.slow
def test_epoch_private_repo_is_waited_for_once_and_then_the_miners_fault(arena: Arena) -> None:
    arena.submit(0, "hidden", loss=1.0, publish=False)
    validator = arena.validator()
    first = arena.play_epoch(validator)
    [waiting] = validator.ledger.verdicts(first.start_block)
    assert (waiting.standing, waiting.reason) == ("not_evaluated", Reason.REPO_MISSING)
    second = arena.play_epoch(validator)
    [blamed] = validator.ledger.verdicts(second.start_block)
    assert (blamed.standing, blamed.reason) == ("at_fault", Reason.REPO_MISSING)


@pytest.mark.slow
def test_epoch_new_commitment_to_a_missing_repo_does_not_buy_a_second_wait(arena: Arena) -> None:
    arena.submit(0, "hidden", loss=1.0, publish=False)
    validator = arena.validator()
    arena.play_epoch(validator)
    arena.submit(0, "also-hidden", loss=1.0, publish=False)
    epoch = arena.play_epoch(validator)
    [verdict] = validator.ledger.verdicts(epoch.start_block)
    assert verdict.standing == "at_fault"


@pytest.mark.slow
def test_epoch_contaminated_dataset_is_the_miners_fault_with_lines(arena: Arena) -> None:
    rows = rows_about("cheat")
    for row in rows[:3]:
        row["conversations"][1]["content"] = EVALUATION_ANSWER.upper() + "!"
    arena.submit(0, "cheat", loss=0.1, rows=rows)
    validator = arena.validator()
    epoch = arena.play_epoch(validator)
    [verdict] = validator.ledger.verdicts(epoch.start_block)
    assert verdict.reason is Reason.CONTAMINATED
    assert "lines 1, 2, 3" in verdict.detail


def test_epoch_same_loss_later_committer_is_a_duplicate(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.25)
    arena.submit(1, "disguised", loss=1.25)
    validator = arena.validator()
    epoch = arena.play_epoch(validator)
    verdicts = by_uid(validator.ledger.verdicts(epoch.start_block))
    assert verdicts[arena.uid(0)].standing == "eligible"
    assert verdicts[arena.uid(1)].reason is Reason.SAME_LOSS
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
def test_epoch_copy_whose_owner_is_judged_after_it_is_still_the_duplicate(arena: Arena) -> None:
    arena.submit(0, "original", loss=1.0)
    arena.submit(1, "copied", rows=rows_about("original"))
    arena.next_epoch()
    validator = arena.validator()
    epoch = arena.epoch()
    copy_first = [
        commitment
        for miner in (1, 0)
        for commitment in commitments_on_chain(arena)
        if commitment.hotkey == arena.hotkey(miner)
    ]
    validator.ledger.record_commitments(copy_first)
    validator.ledger.begin_epoch(epoch, copy_first)
    assert run_epochs(validator, 1)
    verdicts = by_uid(validator.ledger.verdicts(epoch.start_block))
    assert verdicts[arena.uid(0)].standing == "eligible"
    assert verdicts[arena.uid(1)].reason is Reason.DUPLICATE
    assert len(validator.ledger.evaluations(epoch.start_block)) == 1
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
def test_epoch_withdrawn_commitment_loses_the_score(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "other", loss=1.2)
    validator = arena.validator()
    arena.play_epoch(validator)
    assert validator.ledger.memory().scores[arena.hotkey(0)] > 0
    arena.commit(0, "gone fishing")
    epoch = arena.play_epoch(validator)
    verdict = by_uid(validator.ledger.verdicts(epoch.start_block))[arena.uid(0)]
    assert verdict.reason is Reason.COMMITMENT_MALFORMED
    assert validator.ledger.memory().scores[arena.hotkey(0)] == 0


@pytest.mark.slow
def test_epoch_commitment_for_another_competition_is_left_alone(arena: Arena) -> None:
    arena.commit(0, f"a/b:other:{'0' * 40}")
    arena.submit(1, "good", loss=1.0)
    validator = arena.validator()
    epoch = arena.play_epoch(validator)
    assert list(by_uid(validator.ledger.verdicts(epoch.start_block))) == [arena.uid(1)]


@pytest.mark.slow
def test_epoch_ends_with_what_was_evaluated_by_the_threshold(arena: Arena) -> None:
    arena.submit(0, "quick", loss=1.0)
    arena.submit(1, "slow", loss=1.1)
    arena.next_epoch()
    epoch = arena.epoch()
    left = 200  # blocks for evaluating: far more than it takes to begin
    validator = arena.validator(block_threshold=epoch.blocks - left, clock_pause=0.0)

    def time_flies(content: str, seed: int) -> float:
        arena.node.advance(left)
        return float(arena.losses[arena.contents[content]])  # type: ignore[arg-type]

    validator.evaluator._loss_of = time_flies  # type: ignore[attr-defined]
    assert run_epochs(validator, 1)
    assert len(validator.ledger.evaluations(epoch.start_block)) == 1
    last = validator.ledger.last_weights()
    assert last is not None and last.block is not None and last.block < epoch.end_block


def test_epoch_shorter_than_the_threshold_is_a_usage_error(arena: Arena) -> None:
    with pytest.raises(UsageError, match="block_threshold"):
        run_epochs(arena.validator(block_threshold=2000), 1)


class LosingAnswers:
    """A chain on which weights land, but whose first answer to that is lost."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.lost = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
        receipt = self._chain.set_weights(weights, since=since)
        if self.lost:
            return receipt
        self.lost += 1
        raise ChainTransient("The connection was lost.")


@pytest.mark.slow
def test_weights_whose_answer_was_lost_are_found_on_chain_and_not_sent_again(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.next_epoch()
    validator = arena.validator()
    chain = LosingAnswers(validator.chain)
    sent = arena.node.requests["author_submitAndWatchExtrinsic"]
    assert run_epochs(replace(validator, chain=chain), 1)  # type: ignore[arg-type]
    assert chain.lost == 1
    assert arena.node.requests["author_submitAndWatchExtrinsic"] == sent + 1
    recorded = validator.ledger.last_weights()
    assert recorded is not None
    [validator_neuron] = [n for n in validator.chain.snapshot().neurons if n.hotkey == validator.chain.hotkey]
    assert recorded.block == validator_neuron.last_update


@pytest.mark.slow
def test_epoch_dataset_that_took_all_the_time_lets_others_go_first_in_the_next(
    arena: Arena,
) -> None:
    arena.submit(0, "endless", loss=1.0)
    arena.submit(1, "good", loss=1.1)
    arena.whole_epochs = True
    arena.next_epoch()
    left = 200  # blocks for evaluating
    validator = arena.validator(block_threshold=arena.epoch().blocks - left, clock_pause=0.0)

    class UntilTheTimeIsUp(StandInEvaluator):
        def evaluate(
            self, dataset: Path, content_hash: str, *given: Any, on_progress: OnProgress, **more: Any
        ) -> Measurement:
            if arena.contents[content_hash] != "endless":
                return super().evaluate(dataset, content_hash, *given, on_progress=on_progress, **more)
            on_progress(Progress("training", 1, 9, 3.0))
            arena.node.advance(left)
            raise EvaluationStopped("asked to stop")

    validator = replace(validator, evaluator=UntilTheTimeIsUp(lambda content, seed: 1.1))
    faults: list[dict[int, FaultKind | None]] = []
    for _ in range(2):
        start = arena.epoch().start_block
        run_epochs(validator, 1)
        told = by_uid(validator.ledger.verdicts(start))
        faults.append({miner: told[arena.uid(miner)].fault for miner in (0, 1) if arena.uid(miner) in told})
        arena.next_epoch()
    assert faults == [{0: FaultKind.TOO_SLOW}, {0: FaultKind.TOO_SLOW, 1: None}]
    assert arena.weights() == {arena.uid(1): 1.0}


@pytest.mark.slow
def test_weights_set_before_a_crash_could_record_them_are_not_sent_again(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.next_epoch()
    first = arena.validator()

    class Crash(Exception):
        pass

    class Crashing(LosingAnswers):
        def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
            self._chain.set_weights(weights, since=since)
            raise Crash

    with pytest.raises(Crash):
        run_epochs(replace(first, chain=Crashing(first.chain)), 1)  # type: ignore[arg-type]
    first.ledger.close()
    sent = arena.node.requests["author_submitAndWatchExtrinsic"]
    second = arena.validator()
    assert run_epochs(second, 1)
    assert arena.node.requests["author_submitAndWatchExtrinsic"] == sent
    assert second.ledger.last_weights() is not None


@pytest.mark.slow
def test_epoch_dataset_that_can_never_be_evaluated_does_not_hold_its_place(arena: Arena) -> None:
    arena.submit(0, "cursed", loss=EvaluationFault("The worker died."))
    validator = arena.validator()
    arena.next_epoch()
    assert not run_epochs(validator, 1)
    assert arena.hotkey(0) not in validator.ledger.memory().last_evaluated
    arena.next_epoch()
    assert not run_epochs(validator, 1)
    assert validator.ledger.memory().last_evaluated[arena.hotkey(0)] == arena.epoch().start_block
    assert arena.weights() == {}  # no weights rather than a burn that the miner would pay for


@pytest.mark.slow
@pytest.mark.parametrize("arena", [SHORT], indirect=True)
def test_epochs_one_after_the_other_are_waited_for_with_few_requests(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "other", loss=1.1)
    arena.next_epoch()
    validator = arena.validator(block_threshold=20)
    first = arena.epoch().start_block
    before = sum(arena.node.requests.values())
    assert run_epochs(validator, 2)
    spent = sum(arena.node.requests.values()) - before
    for start in (first, first + SHORT):
        weights = validator.ledger.weights_of_epoch(start)
        assert weights is not None and weights.block is not None
        assert start <= weights.block < start + SHORT
        assert len(validator.ledger.evaluations(start)) == 2
    assert spent < 2 * 120
    assert validator.ledger.memory().scores[arena.hotkey(0)] == pytest.approx(
        0.9866 * (1 - 0.8**2), abs=1e-4
    )  # its share, twice


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a/b:other:" + "0" * 40, "gone fishing"])
def test_epoch_commitment_of_nothing_in_its_start_block_skips_no_turn(arena: Arena, text: str) -> None:
    first = arena.submit(0, "good", loss=1.0)
    validator = arena.validator()
    arena.play_epoch(validator)
    arena.next_epoch()
    arena.commit(0, text)
    epoch = arena.epoch()
    snapshot = validator.chain.snapshot()
    raw = snapshot.commitments[arena.hotkey(0)]
    in_start_block = replace(epoch, start_block=raw.block)
    entries = enter(snapshot, in_start_block, validator.ledger.memory(raw.block, snapshot), "f127")
    assert [str(commitment.model_id) for commitment in entries.counting] == [str(first)]
    assert entries.verdicts == ()


@pytest.mark.slow
def test_epoch_that_could_not_be_closed_is_closed_before_the_next_begins(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "other", loss=1.1)
    arena.next_epoch()
    first = arena.validator()
    missed = arena.epoch()

    def stop_after_all(content: str, seed: int) -> float:
        if len(first.evaluator.evaluated) == 2:  # type: ignore[attr-defined]
            first.stop.set()
        return float(arena.losses[arena.contents[content]])  # type: ignore[arg-type]

    first.evaluator._loss_of = stop_after_all  # type: ignore[attr-defined]
    with pytest.raises(Interrupted):
        run_epochs(first, 1)
    assert not first.ledger.is_closed(missed.start_block)
    first.ledger.close()
    second = arena.validator()
    arena.play_epoch(second)
    assert second.ledger.is_closed(missed.start_block)
    assert second.ledger.memory().scores[arena.hotkey(0)] == pytest.approx(
        0.9866 * (1 - 0.8**2), abs=1e-4
    )  # its share, twice


@pytest.mark.slow
def test_weights_that_the_chain_refuses_are_tried_until_the_epoch_ends(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.next_epoch()
    validator = arena.validator()

    class Refusing(LosingAnswers):
        def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
            self.lost += 1
            if self.lost < 3:
                raise ChainFatal("The stake is too low.")
            return self._chain.set_weights(weights, since=since)

    chain = Refusing(validator.chain)
    assert run_epochs(replace(validator, chain=chain), 1)  # type: ignore[arg-type]
    assert chain.lost == 3
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
def test_epoch_is_closed_though_the_hub_asks_for_a_pause_that_outlasts_it(arena: Arena) -> None:
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "later", loss=1.1)
    later = f"/{arena.subnet.miners[1].name}/later"
    arena.hub.switches.rate_limit(seconds=36_000, times=math.inf, path=later)
    validator = arena.validator(retry_pauses=(0.0, 0.0))

    epoch = arena.play_epoch(validator)

    assert arena.epoch() == epoch  # and not because it was over
    verdicts = by_uid(validator.ledger.verdicts(epoch.start_block))
    assert verdicts[arena.uid(0)].standing == "eligible"
    assert verdicts[arena.uid(1)].standing == "not_evaluated"
    assert verdicts[arena.uid(1)].fault == FaultKind.HUB_TRANSIENT
    assert arena.weights() == {arena.uid(0): 1.0}


@pytest.mark.slow
def test_loss_that_is_not_a_number_costs_nobody_anything_and_is_in_no_score(arena: Arena) -> None:
    """As a worker tells it; the competition's arguments lead there, or a broken card."""
    arena.submit(0, "good", loss=1.0)
    arena.submit(1, "nan", loss=1.1)
    validator = arena.validator()
    arena.play_epoch(validator)
    before = validator.ledger.memory().scores[arena.hotkey(1)]
    arena.losses["nan"] = EvaluationFault("After training on this dataset the evaluation loss is nan.")

    epoch = arena.play_epoch(validator)

    verdict = by_uid(validator.ledger.verdicts(epoch.start_block))[arena.uid(1)]
    assert (verdict.standing, verdict.loss) == ("not_evaluated", None)
    scores = validator.ledger.memory().scores
    assert scores[arena.hotkey(1)] == before
    assert all(math.isfinite(score) for score in scores.values())
    arena.losses["good"] = arena.losses["nan"]  # now everybody's: the last weights are set again
    weights = arena.weights()
    arena.play_epoch(validator)
    assert arena.weights() == pytest.approx(weights, abs=1e-4)
    assert validator.ledger.memory().scores == scores
