"""The ledger holds exactly what was decided, and deciding again changes nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.epoch.memory import Memory
from flockoff.epoch.settle import remember
from flockoff.epoch.weights import Action, decide_weights
from flockoff.ledger import Ledger
from flockoff.records import SubnetSnapshot, WeightsSet
from tests.support.examples import examples
from tests.support.grown_ledger import grow
from tests.support.played_epochs import (
    BLOCKS,
    FAULTS,
    HOTKEYS,
    RULES,
    Played,
    decide,
    leave_early,
    play,
    require_replays,
)
from tests.support.subnets import OWNER, model_id, snapshot_of

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
            # Remembering without a ledger gives the same.
            memory = remember(memory, settlement)
            known = ledger.memory()
            assert (memory.scores, memory.last_evaluated) == (known.scores, known.last_evaluated)
            assert (memory.last_verdicts, memory.missed) == (known.last_verdicts, known.missed)
            weights = decide_weights(
                settlement.verdicts, known.scores, known.last_weights, shown, OWNER, RULES.scoring
            )
            if weights.action is not Action.HOLD:
                ledger.record_choice(epoch.start_block, weights.weights, weights.consensus)
                ledger.record_weights(WeightsSet(epoch.start_block, 1, "1-1", weights.weights))
        assert require_replays(ledger).last_evaluated == ledger.memory().last_evaluated


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("miners", [5, 40])
def test_any_recorded_ledger_replays(tmp_path: Path, miners: int) -> None:
    path = tmp_path / "ledger.sqlite"
    grow(path, miners=miners, epochs=12)
    with Ledger.look(path) as ledger:
        assert require_replays(ledger).last_evaluated == ledger.memory().last_evaluated
