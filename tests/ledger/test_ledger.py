"""What the ledger remembers, on real SQLite files."""

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.errors import FaultKind, LedgerError, Reason
from flockoff.ledger import Ledger, Result
from flockoff.records import Epoch, ModelId, RawCommitment, SubnetSnapshot, Verdict, WeightsSet
from flockoff.scoring import Candidate
from tests.support.ledger_records import (
    COMPETITION,
    EPOCH,
    NETUID,
    begin,
    claim,
    commitment,
    eligible,
    evaluate,
    evaluation,
    judge,
    measurement,
    model_id,
    open_ledger,
    settlement,
)

START = EPOCH.start_block


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def snapshot(**commitments: ModelId) -> SubnetSnapshot:
    """A subnet of nothing but commitments."""
    raw = {hotkey: RawCommitment(hotkey, str(each), 900) for hotkey, each in commitments.items()}
    return SubnetSnapshot(NETUID, 1000, "owner", (), raw)


# --- commitments and ownership ---------------------------------------------------------------------------


def test_first_block_is_the_lowest_ever_seen(ledger: Ledger) -> None:
    ledger.record_commitments([commitment("ann", 200, commit="a"), commitment("bob", 250, commit="a")])
    ledger.record_commitments([commitment("ann", 300, commit="b")])
    ledger.record_commitments([commitment("ann", 400, commit="a")])
    shown = snapshot(ann=model_id("a"), bob=model_id("a"), cyd=model_id("b"))
    memory = ledger.memory(snapshot=shown)
    assert memory.first_seen == {("ann", str(model_id("a"))): 200, ("bob", str(model_id("a"))): 250}
    assert memory.first_blocks == {"ann": 200, "bob": 250}
    again = ledger.memory(snapshot=snapshot(ann=model_id("b")))
    assert again.first_seen == {("ann", str(model_id("b"))): 300}


def test_commitment_before_is_what_the_hotkey_had_then(ledger: Ledger) -> None:
    for block, commit in [(200, "a"), (300, "b"), (400, "a")]:
        ledger.record_commitments([commitment("ann", block, commit=commit)])
    assert ledger.memory(200).earlier.get("ann") is None
    assert ledger.memory(201).earlier.get("ann") == commitment("ann", 200, commit="a")
    assert ledger.memory(400).earlier.get("ann") == commitment("ann", 300, commit="b")
    assert ledger.memory(9999).earlier.get("ann") == commitment("ann", 200, commit="a")  # since when
    assert ledger.memory(9999).earlier.get("bob") is None


def test_commitments_seen_again_on_another_uid_are_not_doubled(ledger: Ledger) -> None:
    ledger.record_commitments([commitment("ann", 200, uid=1)])
    ledger.record_commitments([commitment("ann", 200, uid=5)])
    assert ledger.memory(201).earlier.get("ann") == commitment("ann", 200, uid=5)


def test_recommitting_does_not_move_a_hotkey_in_the_queue(ledger: Ledger) -> None:
    def candidate() -> Candidate:
        evaluated = ledger.memory().last_evaluated.get("ann")
        return Candidate("ann", ledger.memory().scores["ann"], ledger.memory().first_blocks["ann"], evaluated)

    ledger.record_commitments([commitment("ann", 200, commit="a")])
    begin(ledger)
    ledger.close_epoch(settlement(START, scores={"ann": 0.2}, evaluated=["ann"]), block=1000)
    before = candidate()
    ledger.record_commitments([commitment("ann", 900, commit="b")])
    assert candidate() == before == Candidate("ann", 0.2, 200, START)


claims = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8
)


@pytest.mark.slow
@given(claims)
def test_owner_is_the_lowest_block_then_uid_in_any_order_of_claims(made: list[tuple[str, int, int]]) -> None:
    with Ledger.open(":memory:", netuid=NETUID, competition=COMPETITION) as ledger:
        begin(ledger)
        for hotkey, block, uid in made:
            claim(ledger, "hash", hotkey, block, uid)
        owner = ledger.owner("hash")
    assert owner is not None
    lowest = min((block, uid) for _, block, uid in made)
    first = next(hotkey for hotkey, block, uid in made if (block, uid) == lowest)
    assert (owner.block, owner.order, owner.hotkey) == (*lowest, first)


def test_owner_stays_when_the_content_is_committed_again(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger, "hash", "ann", 100, 5)
    owner = ledger.owner("hash")
    claim(ledger, "hash", "ann", 900, 1)
    claim(ledger, "hash", "bob", 100, 6)
    claim(ledger, "hash", "bob", 101, 0)
    assert ledger.owner("hash") == owner
    assert ledger.owner("another hash") is None


# --- an epoch --------------------------------------------------------------------------------------------


def test_begin_epoch_twice_keeps_the_first_plan(ledger: Ledger) -> None:
    plan = [commitment("bob", 110, uid=2), commitment("ann", 100)]
    assert ledger.epoch_plan(START) is None
    assert ledger.begin_epoch(EPOCH, plan) == plan
    assert ledger.begin_epoch(EPOCH, [commitment("cyd", 120)]) == plan
    assert ledger.epoch_plan(START) == plan
    assert ledger.epoch(START) == EPOCH


def test_begin_epoch_with_nobody_is_an_empty_plan(ledger: Ledger) -> None:
    assert ledger.begin_epoch(EPOCH, []) == []
    assert ledger.epoch_plan(START) == []


def test_begin_epoch_with_another_seed_is_another_chain(ledger: Ledger) -> None:
    begin(ledger)
    with pytest.raises(LedgerError, match="another chain"):
        ledger.begin_epoch(Epoch(START, EPOCH.end_block, 1), [])


def test_begin_epoch_with_a_hotkey_twice_stores_nothing(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="contradicts"):
        ledger.begin_epoch(EPOCH, [commitment("ann", 100), commitment("ann", 200)])
    assert ledger.epoch(START) is None


def test_begin_epoch_stores_its_verdicts_with_the_plan(ledger: Ledger) -> None:
    verdict = Verdict(START, "cyd", 9, "junk", 50, "at_fault", Reason.COMMITMENT_MALFORMED, "It is junk.")
    ledger.begin_epoch(EPOCH, [commitment("ann", 100)], [verdict])
    assert ledger.verdicts(START) == [verdict]


def test_evaluations_come_back_as_they_were(ledger: Ledger) -> None:
    begin(ledger)
    made = [evaluation("bob", 1.25), evaluation("ann", 1 / 3)]
    assert len({evaluate(ledger, each) for each in made}) == 2
    assert ledger.evaluations(START) == made
    assert ledger.find_evaluation(START, made[1].content_hash) == made[1]
    assert ledger.find_evaluation(START, "another") is None
    assert ledger.find_evaluation(START + 360, made[1].content_hash) is None


def test_record_evaluation_second_of_a_hotkey_is_refused(ledger: Ledger) -> None:
    begin(ledger)
    evaluate(ledger, evaluation("ann", 1.5))
    with pytest.raises(LedgerError, match="contradicts"):
        evaluate(ledger, evaluation("ann", 1.4))
    assert ledger.evaluations(START) == [evaluation("ann", 1.5)]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -1.0])
def test_record_evaluation_without_a_real_loss_is_refused(ledger: Ledger, loss: float) -> None:
    begin(ledger)
    with pytest.raises(LedgerError, match="contradicts"):
        evaluate(ledger, evaluation("ann", loss))
    assert ledger.evaluations(START) == []


def test_record_in_an_epoch_not_begun_or_closed_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="was not begun"):
        evaluate(ledger, evaluation("ann"))
    with pytest.raises(LedgerError, match="was not begun"):
        ledger.close_epoch(settlement(START, scores={}), block=1000)
    begin(ledger)
    ledger.close_epoch(settlement(START, scores={}), block=1000)
    with pytest.raises(LedgerError, match="is closed"):
        evaluate(ledger, evaluation("ann"))
    with pytest.raises(LedgerError, match="is closed"):
        judge(ledger, eligible("ann"))


def test_verdicts_are_replaced_and_sorted_by_uid(ledger: Ledger) -> None:
    begin(ledger)
    copy = replace(
        eligible("ann", uid=3),
        model_id="ann/data 😀",
        standing="at_fault",
        reason=Reason.DUPLICATE,
        detail="Same rows as bob.",
        copied=("bob",),
    )
    for verdict in (eligible("ann", uid=3), eligible("bob", uid=1), copy):
        judge(ledger, verdict)
    assert ledger.verdicts(START) == [eligible("bob", uid=1), copy]


def test_last_verdict_is_the_latest_before_a_block(ledger: Ledger) -> None:
    for start in (360, 720):
        begin(ledger, epoch=Epoch(start, start + 360, 1))
        judge(ledger, eligible("ann", epoch=start))
    assert ledger.memory(720).last_verdicts.get("ann") == eligible("ann", epoch=360)
    assert ledger.memory(721).last_verdicts.get("ann") == eligible("ann", epoch=720)
    assert ledger.memory(360).last_verdicts.get("ann") is None
    assert ledger.memory(721).last_verdicts.get("bob") is None


@pytest.mark.parametrize(
    ("history", "faults"),
    [
        ("", 0),
        ("f", 1),
        ("ffs", 3),  # failed, failed, too slow
        ("fef", 1),
        ("fe", 0),
        ("f-f", 2),  # had no place in between
        ("hfh", 1),  # a hub fault says nothing about the worker
    ],
)
def test_evaluation_faults_are_counted_since_the_last_evaluation(
    ledger: Ledger, history: str, faults: int
) -> None:
    kinds = {"f": FaultKind.EVALUATION, "s": FaultKind.TOO_SLOW, "h": FaultKind.HUB_TRANSIENT}
    for number, what in enumerate(history):
        epoch = Epoch(360 * number + 360, 360 * number + 720, number)
        begin(ledger, epoch=epoch)
        verdict = eligible("ann", epoch=epoch.start_block)
        if what in kinds:
            verdict = replace(verdict, standing="not_evaluated", loss=None, fault=kinds[what])
        if what != "-":
            judge(ledger, verdict)
            assert ledger.verdicts(epoch.start_block) == [verdict]
    after = 360 * len(history) + 360
    assert ledger.evaluation_faults("hash of ann", before=after) == faults
    assert ledger.evaluation_faults("hash of bob", before=after) == 0
    assert ledger.evaluation_faults("hash of ann", before=360) == 0


def test_evaluations_of_one_setup_share_its_row(ledger: Ledger) -> None:
    one = measurement()
    libraries = dict(reversed(list(one.provenance.libraries.items())))
    for each in (one, replace(one, provenance=replace(one.provenance, libraries=libraries, seed=5))):
        ledger.record_base_loss(each)
    assert ledger.base_loss() == each
    assert len(ledger._database.read("SELECT * FROM setups")) == 1


def test_base_loss_is_the_latest(ledger: Ledger) -> None:
    assert ledger.base_loss() is None
    for each in (measurement(2.5), measurement(2.4, device="cuda")):
        ledger.record_base_loss(each)
    assert ledger.base_loss() == measurement(2.4, device="cuda")


# --- closing an epoch ------------------------------------------------------------------------------------


def test_close_epoch_stores_scores_and_turns_once(ledger: Ledger) -> None:
    begin(ledger)
    assert not ledger.is_closed(START)
    ledger.close_epoch(
        settlement(START, scores={"ann": 0.2, "bob": 0.0}, evaluated=["ann", "bob"], win_rates={"ann": 1.0}),
        block=1000,
    )
    ledger.close_epoch(settlement(START, scores={"ann": 0.9}, evaluated=["cyd"]), block=1000)
    assert ledger.is_closed(START)
    assert ledger.memory().scores == {"ann": 0.2, "bob": 0.0}
    assert ledger.memory().last_evaluated == {"ann": START, "bob": START}


def test_close_epoch_replaces_all_scores_and_moves_turns_only_of_the_evaluated(ledger: Ledger) -> None:
    begin(ledger)
    ledger.close_epoch(
        settlement(START, scores={"ann": 0.2, "bob": 0.1}, evaluated=["ann", "bob"]), block=1000
    )
    begin(ledger, epoch=Epoch(720, 1080, 5))
    ledger.close_epoch(settlement(720, scores={"ann": 0.3}, evaluated=["ann"]), block=1000)
    assert ledger.memory().scores == {"ann": 0.3}
    assert ledger.memory().last_evaluated == {"ann": 720, "bob": START}


def test_close_epoch_that_fails_changes_nothing(ledger: Ledger) -> None:
    begin(ledger)
    ledger.close_epoch(settlement(START, scores={"ann": 0.2}, evaluated=["ann"]), block=1000)
    begin(ledger, epoch=Epoch(720, 1080, 5))
    with pytest.raises(LedgerError, match="contradicts"):
        ledger.close_epoch(
            settlement(720, scores={"ann": 0.3, "bob": math.nan}, evaluated=["bob"]), block=1000
        )
    assert ledger.memory().scores == {"ann": 0.2}
    assert ledger.memory().last_evaluated == {"ann": START}
    assert not ledger.is_closed(720)


def test_weights_latest_counts(ledger: Ledger) -> None:
    assert ledger.last_weights() is None
    begin(ledger)
    begin(ledger, epoch=Epoch(720, 1080, 5))
    first = WeightsSet(START, 700, "0x01", {"ann": 0.75, "bob": 0.25})
    again = WeightsSet(START, None, "", {"ann": 1.0})
    later = WeightsSet(720, 1000, "0x02", {"bob": 1.0})
    for each in (first, again, later):
        ledger.record_weights(each)
    assert ledger.weights_of_epoch(START) == again
    assert ledger.last_weights() == ledger.weights_of_epoch(720) == later
    assert ledger.weights_of_epoch(1080) is None


def test_weights_chosen_are_known_until_they_are_set(ledger: Ledger) -> None:
    begin(ledger)
    assert ledger.chosen_weights(START) is None
    ledger.record_choice(START, {"ann": 1.0})
    ledger.record_choice(START, {"ann": 0.75, "bob": 0.25})
    assert ledger.chosen_weights(START) == {"ann": 0.75, "bob": 0.25}
    assert ledger.last_weights() is None
    ledger.record_weights(WeightsSet(START, 700, "0x01", {"ann": 0.75, "bob": 0.25}))
    assert ledger.chosen_weights(START) is None


def test_choose_weights_for_an_epoch_not_begun_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="contradicts"):
        ledger.record_choice(START, {"ann": 1.0})
    assert ledger.chosen_weights(START) is None


def test_record_weights_of_an_epoch_not_begun_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="contradicts"):
        ledger.record_weights(WeightsSet(START, 700, "0x01", {"ann": 1.0}))
    assert ledger.last_weights() is None


def of_verdict(verdict: Verdict) -> Result:
    return Result(**asdict(verdict))


# --- the leaderboard -------------------------------------------------------------------------------------


def test_leaderboard_shows_everybody_with_a_verdict_a_score_or_a_weight(ledger: Ledger) -> None:
    ledger.record_commitments([commitment("old", 90, uid=8, commit="c"), commitment("old", 80, uid=8)])
    begin(ledger)
    bob, ann = eligible("bob", 1.25, uid=2), eligible("ann", 1.5, uid=1)
    cyd = Verdict(START, "cyd", 3, "junk", 90, "at_fault", Reason.NOT_JSON, "Line 3.")
    for verdict in (bob, ann, cyd):
        judge(ledger, verdict)
    ledger.close_epoch(
        settlement(
            START,
            scores={"ann": 0.01, "bob": 0.19, "cyd": 0.0, "old": 0.05},
            evaluated=["ann", "bob", "cyd"],
            win_rates={"ann": 0.0, "bob": 1.0},
            shares={"ann": 0.05, "bob": 0.95},
        ),
        block=1000,
    )
    ledger.record_weights(WeightsSet(START, 700, "0x01", {"bob": 0.76, "old": 0.2, "ann": 0.04}))
    old = str(model_id("c"))
    expected = [
        replace(of_verdict(bob), win_rate=1.0, share=0.95, score=0.19, weight=0.76),
        Result(START, "old", 8, old, None, score=0.05, weight=0.2),
        replace(of_verdict(ann), win_rate=0.0, share=0.05, score=0.01, weight=0.04),
        replace(of_verdict(cyd), score=0.0),
    ]
    assert ledger.views.leaderboard(START) == ledger.views.leaderboard() == expected


def test_leaderboard_is_of_the_last_closed_epoch_or_the_running_first(ledger: Ledger) -> None:
    assert ledger.views.leaderboard() == []
    begin(ledger)
    judge(ledger, eligible("ann"))
    assert [row.hotkey for row in ledger.views.leaderboard()] == ["ann"]
    ledger.close_epoch(settlement(START, scores={"ann": 0.2}, evaluated=["ann"]), block=1000)
    begin(ledger, epoch=Epoch(720, 1080, 5))
    judge(ledger, eligible("bob", epoch=720))
    assert [row.hotkey for row in ledger.views.leaderboard()] == ["ann"]
    assert [row.hotkey for row in ledger.views.leaderboard(720)] == ["bob"]
    assert ledger.views.leaderboard(1080) == []


# --- what the queue and the scores go by -------------------------------------------------------------------


def test_missed_turns_are_those_since_the_last_result_while_others_competed(ledger: Ledger) -> None:
    """Once a result, then failed on, cut off, twice too slow for anybody else to compete, which counts the
    first time, since somebody did in the epoch before, and failed on again with and without others."""
    stories = [
        (eligible("ann"), True),
        (failed(FaultKind.EVALUATION), True),
        (failed(FaultKind.STOPPED), True),
        (failed(FaultKind.TOO_SLOW), False),
        (failed(FaultKind.TOO_SLOW), False),
        (failed(FaultKind.EVALUATION), True),
        (failed(FaultKind.EVALUATION), False),
    ]
    for number, (verdict, others) in enumerate(stories):
        start = START + 360 * number
        begin(ledger, epoch=replace(EPOCH, start_block=start, end_block=start + 360))
        judge(ledger, replace(verdict, epoch=start))
        if others:
            judge(ledger, eligible("bob", epoch=start))
    missed = [ledger.memory(START + 360 * number).missed.get("ann", 0) for number in range(8)]
    assert missed == [0, 0, 1, 1, 2, 2, 3, 3]


def failed(kind: FaultKind) -> Verdict:
    return replace(eligible("ann"), standing="not_evaluated", loss=None, fault=kind)


def test_tokens_are_those_of_the_latest_measurement(ledger: Ledger) -> None:
    begin(ledger)
    evaluate(ledger, evaluation("ann"))
    assert ledger.memory().tokens == {"ann": measurement().train_tokens}
    assert ledger.memory(START).tokens == {}
