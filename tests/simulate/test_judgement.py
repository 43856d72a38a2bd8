"""The simulated validator and the real one, given the same epochs, keep the same scores."""

from collections.abc import Sequence

import numpy as np
import pytest

from flockoff.competition import Competition, Queue
from flockoff.errors import Reason
from flockoff.ledger import Ledger
from flockoff.records import Epoch, ModelId, Neuron, Standing, SubnetSnapshot, Verdict
from flockoff.simulate.judgement import Entry, Memory, judge_epoch
from flockoff.simulate.population import Dataset
from flockoff.validate.settle import settle

RULES = Competition()
EVERYBODY = Queue(best=8, drawn=16, waiting=40)
COMMIT = "a" * 40


def field() -> list[Entry]:
    """Twelve miners, among them a contaminated one, a copy, a copy of a copy, and one with an equal loss."""
    entries = []
    for number in range(12):
        name = f"miner-{number:02}"
        content = {3: "miner-01", 7: "miner-01", 9: "miner-05"}.get(number, name)
        dataset = Dataset(name, 0.0, content, contaminated=number == 4)
        block = 100 - number if number == 9 else 100 + number  # 9 committed before 5, whose content it has
        entries.append(Entry(name, number, dataset, block, block))
    return entries


def losses_of(entries: Sequence[Entry], rng: np.random.Generator) -> dict[str, float]:
    drawn = (2 + rng.random(len(entries))).tolist()
    losses = dict(zip((entry.dataset.name for entry in entries), drawn, strict=True))
    return losses | {"miner-11": losses["miner-10"]}


def real_scores(
    ledger: Ledger, entries: Sequence[Entry], losses: dict[str, float], start_block: int
) -> dict[str, float]:
    """One epoch by the real ledger and the real settlement; what is at fault was found by evaluating."""
    verdicts = []
    for entry in entries:
        standing: Standing = "eligible"
        model_id = ModelId(f"{entry.hotkey}/data", RULES.id, COMMIT)
        if entry.dataset.contaminated:
            standing = "at_fault"
        else:
            ledger.claim_content(entry.dataset.content, entry.hotkey, model_id, entry.block, entry.uid)
            owner = ledger.owner(entry.dataset.content)
            standing = "eligible" if owner is not None and owner.hotkey == entry.hotkey else "at_fault"
        verdicts.append(
            Verdict(
                start_block,
                entry.hotkey,
                entry.uid,
                str(model_id),
                entry.block,
                standing,
                Reason.DUPLICATE if standing == "at_fault" else None,
                "",
                entry.dataset.content,
                losses[entry.dataset.name],
            )
        )
    neurons = tuple(Neuron(e.uid, e.hotkey, e.hotkey, 0.0, False, 0, 0.0, 0.0, 0.0) for e in entries)
    snapshot = SubnetSnapshot(1, start_block + 300, entries[0].hotkey, neurons, {})
    settlement = settle(verdicts, ledger, snapshot, RULES)
    ledger.begin_epoch(Epoch(start_block, start_block + 360, 7), [])
    ledger.close_epoch(
        start_block,
        block=start_block + 300,
        scores=settlement.scores,
        evaluated=[entry.hotkey for entry in entries],
        win_rates=settlement.win_rates,
        shares=settlement.shares,
    )
    return dict(settlement.scores)


@pytest.mark.parametrize("seed", range(3))
def test_judge_epoch_keeps_the_scores_that_the_validator_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries, memory = field(), Memory()
    with Ledger.open(":memory:", netuid=1, competition=RULES.id, hotkey="validator") as ledger:
        for number in range(1, 5):
            # Two owners come only after their copiers were evaluated.
            present = [entry for entry in entries if number > 1 or entry.uid not in (1, 9)]
            losses = losses_of(present, rng)
            judge_epoch(
                memory,
                {entry.hotkey: entry for entry in present},
                losses,
                start_block=360 * number,
                seed=number,
                queue=EVERYBODY,
                scoring=RULES.scoring,
            )

            expected = real_scores(ledger, present, losses, 360 * number)

            assert {hotkey: score for hotkey, score in memory.scores.items() if score} == pytest.approx(
                {hotkey: score for hotkey, score in expected.items() if score}, rel=1e-12
            )
    assert memory.scores["miner-03"] == memory.scores["miner-04"] == memory.scores["miner-05"] == 0
    assert memory.scores["miner-11"] == 0  # its loss is that of miner-10, who committed earlier
    assert memory.scores["miner-01"] > 0 and memory.scores["miner-09"] > 0
