"""The ledger holds exactly what was decided, and deciding again changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.competition import Competition
from flockoff.dataset import Borrowed, Claim, Sketcher
from flockoff.epoch.blame import blamed, eligible
from flockoff.epoch.contest import contest
from flockoff.epoch.entries import enter
from flockoff.epoch.memory import Memory
from flockoff.epoch.queue import form_queue
from flockoff.epoch.settle import Evidence, Settlement, settle
from flockoff.epoch.weights import Action, decide_weights
from flockoff.errors import EvaluationFault, EvaluationStopped, Fault, HubTransient, MinerFault, Reason
from flockoff.ledger import Ledger
from flockoff.records import Commitment, Epoch, Evaluation, SubnetSnapshot, WeightsSet
from flockoff.scoring import update_scores, weights_from_scores
from tests.support.examples import examples
from tests.support.grown_ledger import grow
from tests.support.ledger_records import measurement
from tests.support.subnets import OWNER, model_id, snapshot_of

RULES = Competition()
BLOCKS = 360
HOTKEYS = ("ann", "bob", "cyd", "dan")
FAULTS: dict[str, MinerFault | Fault] = {
    "format": MinerFault(Reason.NOT_JSON, "Line 3 is not JSON."),
    "gone": MinerFault(Reason.REPO_MISSING, "There is no such repo."),
    "hub": HubTransient("The hub answered 503."),
    "worker": EvaluationFault("The worker died."),
    "cut off": EvaluationStopped(""),
}


@dataclass(frozen=True)
class Played:
    """One epoch: who is registered, what each commits before it, and what becomes of each dataset."""

    registered: tuple[str, ...]
    committed: dict[str, str]  # by hotkey: a dataset's name, which is its content
    outcomes: dict[str, float | str]  # by hotkey: a loss, or a key of FAULTS


outcomes = st.one_of(st.sampled_from([1.0, 1.001, 1.25, 1.5]), st.sampled_from(sorted(FAULTS)))
epochs = st.lists(
    st.builds(
        Played,
        st.lists(st.sampled_from(HOTKEYS), unique=True).map(tuple),
        st.dictionaries(st.sampled_from(HOTKEYS), st.sampled_from(["x", "y", "z", "nonsense"])),
        st.fixed_dictionaries({hotkey: outcomes for hotkey in HOTKEYS}),
    ),
    min_size=1,
    max_size=6,
)


class Chain:
    """What the chain shows while the epochs are played: each hotkey's latest commitment."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, int]] = {}

    def snapshot(self, number: int, played: Played) -> SubnetSnapshot:
        start = BLOCKS * (number + 1)
        for place, (hotkey, name) in enumerate(sorted(played.committed.items())):
            text = name if name == "nonsense" else str(model_id(name))
            if self._shown.get(hotkey, ("", 0))[0] != text:
                self._shown[hotkey] = (text, start - 10 + place)
        shown = {hotkey: self._shown[hotkey] for hotkey in played.registered if hotkey in self._shown}
        return snapshot_of(played.registered, shown, block=start)


def play(ledger: Ledger, number: int, played: Played, shown: SubnetSnapshot) -> tuple[Epoch, Settlement]:
    """One epoch on a ledger, by the steps of flockoff.validate, entered anew before each of them."""
    epoch = Epoch(BLOCKS * (number + 1), BLOCKS * (number + 2), seed=number)
    memory = ledger.memory(epoch.start_block, shown)
    entries = enter(shown, epoch, memory, RULES.id)
    queue = form_queue(entries.counting, memory, RULES.queue, epoch)
    plan = ledger.begin_epoch(epoch, queue.places, entries.verdicts, entries.seen)
    assert tuple(plan) == queue.places
    for commitment in ledger.epoch_plan(epoch.start_block) or []:
        judge(ledger, epoch, commitment, played.outcomes[commitment.hotkey])
    settlement = decide(ledger, epoch, shown)
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


def decide(ledger: Ledger, epoch: Epoch, shown: SubnetSnapshot) -> Settlement:
    verdicts = ledger.verdicts(epoch.start_block)
    coldkeys = {neuron.hotkey: neuron.coldkey for neuron in shown.neurons}
    memory = ledger.memory(epoch.start_block)
    evidence: Evidence = ledger.evidence(verdicts, {})
    return settle(epoch.start_block, verdicts, memory, coldkeys, RULES, evidence)


@settings(max_examples=examples(60))
@given(epochs)
def test_replayed_epochs_decide_what_the_ledger_holds(history: Sequence[Played]) -> None:
    chain, memory = Chain(), Memory()
    with Ledger.open(":memory:", netuid=1, competition=RULES.id) as ledger:
        for number, played in enumerate(history):
            shown = chain.snapshot(number, played)
            epoch, settlement = play(ledger, number, played, shown)
            assert ledger.verdicts(epoch.start_block) == list(settlement.verdicts)
            assert ledger.memory().scores == settlement.scores
            assert decide(ledger, epoch, shown).win_rates == settlement.win_rates
            # Remembering without a ledger comes to the same.
            memory = memory.after(settlement)
            known = ledger.memory()
            assert (memory.scores, memory.last_evaluated) == (known.scores, known.last_evaluated)
            assert memory.last_verdicts == known.last_verdicts
            weights = decide_weights(
                settlement.verdicts, known.scores, known.last_weights, shown, OWNER, RULES.scoring
            )
            if weights.action is not Action.HOLD:
                ledger.record_choice(epoch.start_block, weights.weights, weights.consensus)
                ledger.record_weights(WeightsSet(epoch.start_block, 1, "1-1", weights.weights))
        require_replays(ledger)


@settings(max_examples=examples(25))
@given(epochs, st.data())
def test_epoch_left_at_any_step_and_entered_again_decides_the_same(
    history: Sequence[Played], data: st.DataObject
) -> None:
    outcomes = []
    for interrupted in (False, True):
        chain = Chain()
        with Ledger.open(":memory:", netuid=1, competition=RULES.id) as ledger:
            for number, played in enumerate(history[:-1]):
                play(ledger, number, played, chain.snapshot(number, played))
            last = history[-1]
            shown = chain.snapshot(len(history) - 1, last)
            if interrupted:
                leave_early(ledger, len(history) - 1, last, shown, data.draw(st.integers(0, 5)))
            outcomes.append(play(ledger, len(history) - 1, last, shown))
    assert outcomes[0] == outcomes[1]


def leave_early(ledger: Ledger, number: int, played: Played, shown: SubnetSnapshot, steps: int) -> None:
    """The beginning of an epoch: ``steps`` 0 stops after the queue, more after so many datasets."""
    epoch = Epoch(BLOCKS * (number + 1), BLOCKS * (number + 2), seed=number)
    memory = ledger.memory(epoch.start_block, shown)
    entries = enter(shown, epoch, memory, RULES.id)
    queue = form_queue(entries.counting, memory, RULES.queue, epoch)
    ledger.begin_epoch(epoch, queue.places, entries.verdicts, entries.seen)
    for commitment in queue.places[:steps]:
        judge(ledger, epoch, commitment, played.outcomes[commitment.hotkey])


@pytest.mark.parametrize("miners", [5, 40])
def test_any_recorded_ledger_replays(tmp_path: Path, miners: int) -> None:
    path = tmp_path / "ledger.sqlite"
    grow(path, miners=miners, epochs=12)
    with Ledger.look(path) as ledger:
        require_replays(ledger)


def require_replays(ledger: Ledger) -> None:
    """Every closed epoch's stored verdicts lead to its stored rates, shares, scores and weights."""
    before: dict[str, float] = {}
    rules = RULES.scoring
    for summary in reversed(ledger.views.epochs(1000)):
        if summary.closed_at is None:
            continue
        start = summary.start_block
        verdicts = ledger.verdicts(start)
        found = {row.hotkey: row for row in ledger.views.leaderboard(start)}
        outcome = contest(verdicts, rules)
        assert outcome.rates_by_hotkey == {
            hotkey: row.win_rate for hotkey, row in found.items() if row.win_rate is not None
        }
        assert outcome.shares_by_hotkey == {
            hotkey: row.share for hotkey, row in found.items() if row.share is not None
        }
        at_fault = [verdict.hotkey for verdict in verdicts if verdict.standing == "at_fault"]
        scores = {hotkey: row.score for hotkey, row in found.items() if row.score is not None}
        registered = [*scores, *(hotkey for hotkey in before if hotkey in scores)]
        assert (
            update_scores(before, outcome.shares_by_hotkey, at_fault, registered, rules.score_decay) == scores
        )
        before = scores
        consensus = ledger.views.consensus(start)
        if consensus is not None:
            hotkeys = dict(enumerate(sorted({*scores, *consensus})))
            target = {uid: consensus.get(hotkey, 0.0) for uid, hotkey in hotkeys.items()}
            weights = weights_from_scores(scores, hotkeys, target, rules) or {}
            set_then = ledger.weights_of_epoch(start)
            assert set_then is not None
            assert {hotkeys[uid]: weight for uid, weight in weights.items()} == pytest.approx(
                set_then.weights
            )
