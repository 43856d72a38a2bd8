"""Epochs played on a ledger by the steps of flockoff.validate, and replayed from what it holds."""

from dataclasses import dataclass, replace

import pytest

from flockoff.competition import Competition
from flockoff.dataset import Borrowed, Claim, Sketcher
from flockoff.epoch.blame import blamed, eligible
from flockoff.epoch.entries import enter
from flockoff.epoch.memory import Memory
from flockoff.epoch.queue import form_queue
from flockoff.epoch.settle import Evidence, Settlement, remember, settle
from flockoff.errors import (
    EvaluationFault,
    EvaluationStopped,
    EvaluationTooSlow,
    Fault,
    HubTransient,
    MinerFault,
    Reason,
)
from flockoff.ledger import Ledger
from flockoff.records import Commitment, Epoch, Evaluation, SubnetSnapshot
from flockoff.scoring import weights_from_scores
from tests.support.ledger_records import measurement

RULES = Competition()
BLOCKS = 360
HOTKEYS = ("ann", "bob", "cyd", "dan")
FAULTS: dict[str, MinerFault | Fault] = {
    "format": MinerFault(Reason.NOT_JSON, "Line 3 is not JSON."),
    "gone": MinerFault(Reason.REPO_MISSING, "There is no such repo."),
    "hub": HubTransient("The hub answered 503."),
    "worker": EvaluationFault("The worker died."),
    "slow": EvaluationTooSlow("It took too long."),
    "cut off": EvaluationStopped(""),
}


@dataclass(frozen=True)
class Played:
    """One epoch: who is registered, what each commits before it, and what becomes of each dataset."""

    registered: tuple[str, ...]
    committed: dict[str, str]  # by hotkey: a dataset's name, which is its content
    outcomes: dict[str, float | str]  # by hotkey: a loss, or a key of FAULTS


def play(
    ledger: Ledger, number: int, played: Played, shown: SubnetSnapshot, rules: Competition = RULES
) -> tuple[Epoch, Settlement]:
    """One epoch on a ledger, by the steps of flockoff.validate, entered anew before each of them."""
    epoch = Epoch(BLOCKS * (number + 1), BLOCKS * (number + 2), seed=number)
    memory = ledger.memory(epoch.start_block, shown)
    entries = enter(shown, epoch, memory, RULES.id)
    queue = form_queue(entries.counting, memory, RULES.queue, epoch)
    plan = ledger.begin_epoch(epoch, queue.places, entries.verdicts, entries.seen)
    assert tuple(plan) == queue.places
    for commitment in ledger.epoch_plan(epoch.start_block) or []:
        judge(ledger, epoch, commitment, played.outcomes[commitment.hotkey])
    settlement = decide(ledger, epoch, shown, rules)
    ledger.close_epoch(settlement, block=shown.block)
    return epoch, settlement


def judge(ledger: Ledger, epoch: Epoch, commitment: Commitment, outcome: float | str) -> None:
    content = commitment.model_id.commit
    last = ledger.memory(epoch.start_block).last_verdicts.get(commitment.hotkey)
    if isinstance(outcome, str):
        fault = FAULTS[outcome]
        ledger.record_verdict(blamed(epoch, commitment, fault, content_hash=content, last=last, final=True))
        return
    claim = Claim(content, commitment.hotkey, commitment.block, commitment.uid)
    empty = Sketcher(ledger.sketches.key).sketch()
    ledger.remember_dataset(claim, commitment.model_id, empty, epoch.start_block, Borrowed(0))
    stored = ledger.find_evaluation(epoch.start_block, content)
    loss = stored.measurement.loss if stored else outcome
    made = Evaluation(epoch.start_block, commitment.hotkey, commitment.model_id, content, measurement(loss))
    verdict = eligible(epoch, commitment, content, loss, block=commitment.block)
    ledger.record_verdict(verdict, None if stored else made)


def decide(ledger: Ledger, epoch: Epoch, shown: SubnetSnapshot, rules: Competition = RULES) -> Settlement:
    verdicts = ledger.verdicts(epoch.start_block)
    coldkeys = {neuron.hotkey: neuron.coldkey for neuron in shown.neurons}
    memory = ledger.memory(epoch.start_block)
    evidence: Evidence = ledger.evidence(verdicts, {})
    return settle(epoch.start_block, verdicts, memory, coldkeys, rules, evidence)


def leave_early(ledger: Ledger, number: int, played: Played, shown: SubnetSnapshot, steps: int) -> None:
    """The beginning of an epoch: ``steps`` 0 stops after the queue, more after so many datasets."""
    epoch = Epoch(BLOCKS * (number + 1), BLOCKS * (number + 2), seed=number)
    memory = ledger.memory(epoch.start_block, shown)
    entries = enter(shown, epoch, memory, RULES.id)
    queue = form_queue(entries.counting, memory, RULES.queue, epoch)
    ledger.begin_epoch(epoch, queue.places, entries.verdicts, entries.seen)
    for commitment in queue.places[:steps]:
        judge(ledger, epoch, commitment, played.outcomes[commitment.hotkey])


def require_replays(ledger: Ledger, rules: Competition = RULES) -> Memory:
    """Every closed epoch's stored verdicts, settled anew one after the other, lead to its stored rates,
    shares, scores and weights; returns what is remembered of them all.
    """
    memory = Memory()
    for summary in reversed(ledger.views.epochs(1000)):
        if summary.closed_at is None:
            continue
        start = summary.start_block
        verdicts = ledger.verdicts(start)
        stored = {row.hotkey: row for row in ledger.views.leaderboard(start)}
        scores = {hotkey: row.score for hotkey, row in stored.items() if row.score is not None}
        registered = dict.fromkeys(scores, "") | {each.hotkey: "" for each in verdicts}
        found = settle(start, verdicts, memory, registered, rules, Evidence())
        assert list(found.verdicts) == verdicts
        assert found.win_rates == {
            hotkey: row.win_rate for hotkey, row in stored.items() if row.win_rate is not None
        }
        assert found.shares == {hotkey: row.share for hotkey, row in stored.items() if row.share is not None}
        assert {hotkey: score for hotkey, score in found.scores.items() if hotkey in scores} == scores
        memory = replace(remember(memory, found), scores=scores)
        consensus = ledger.views.consensus(start)
        if consensus is not None:
            hotkeys = dict(enumerate(sorted({*scores, *consensus})))
            target = {uid: consensus.get(hotkey, 0.0) for uid, hotkey in hotkeys.items()}
            weights = weights_from_scores(scores, hotkeys, target, rules.scoring) or {}
            set_then = ledger.weights_of_epoch(start)
            assert set_then is not None
            assert {hotkeys[uid]: weight for uid, weight in weights.items()} == pytest.approx(
                set_then.weights
            )
    assert memory.scores == ledger.memory().scores
    return memory
