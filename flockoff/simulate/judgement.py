"""What one validator knows, and what it makes of an epoch: the validator's own functions without the I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from flockoff.competition import Queue, Scoring
from flockoff.dataset import Claim, owner_of, same_loss_copies
from flockoff.scoring import Candidate, plan_epoch, shares, update_scores, win_matrix, win_rates
from flockoff.simulate.population import Dataset


@dataclass(frozen=True, slots=True)
class Entry:
    """A hotkey's commitment that counts in an epoch. Blocks as in ``Candidate``."""

    hotkey: str
    uid: int
    dataset: Dataset
    block: int
    first_block: int


@dataclass(slots=True)
class Memory:
    """What a validator's ledger holds of the past."""

    scores: dict[str, float] = field(default_factory=dict)
    last_evaluated: dict[str, int] = field(default_factory=dict)  # start block, by hotkey
    owners: dict[str, Claim] = field(default_factory=dict)  # by content, of all that was ever evaluated


def judge_epoch(
    memory: Memory,
    entries: Mapping[str, Entry],
    losses: Mapping[str, float],
    *,
    start_block: int,
    seed: int,
    queue: Queue,
    scoring: Scoring,
) -> None:
    """Plan, evaluate and score one epoch, as ``flockoff.validate`` does, and remember what came of it.

    ``entries``: by hotkey, all that are registered. ``losses``: by dataset name, as this validator measures
    them under the epoch's seed.
    """
    candidates = [
        Candidate(
            entry.hotkey,
            memory.scores.get(entry.hotkey, 0.0),
            entry.first_block,
            memory.last_evaluated.get(entry.hotkey),
        )
        for entry in entries.values()
    ]
    evaluated = [entries[hotkey] for hotkey in plan_epoch(candidates, queue, seed)]
    eligible = _eligible(memory, evaluated, losses, scoring.same_loss_tolerance)
    won = shares(
        win_rates(
            win_matrix(
                np.array([losses[entry.dataset.name] for entry in eligible], dtype=np.float64),
                np.array([entry.block for entry in eligible], dtype=np.int64),
                scoring.timestamp_epsilon,
            )
        ),
        scoring.temperature,
    )
    share = dict(zip((entry.hotkey for entry in eligible), won.tolist(), strict=True))
    at_fault = {entry.hotkey for entry in evaluated} - share.keys()
    memory.scores = update_scores(memory.scores, share, at_fault, entries.keys(), scoring.score_decay)
    memory.last_evaluated.update((entry.hotkey, start_block) for entry in evaluated)


def _eligible(
    memory: Memory, evaluated: Iterable[Entry], losses: Mapping[str, float], tolerance: float
) -> list[Entry]:
    """Who competes: neither contaminated, nor a copy of what was or is evaluated, in hotkey order."""
    clean = [entry for entry in evaluated if not entry.dataset.contaminated]
    claims = {
        entry.hotkey: Claim(entry.dataset.content, entry.hotkey, entry.block, entry.uid) for entry in clean
    }
    for claim in claims.values():
        known = memory.owners.get(claim.content_hash, claim)
        memory.owners[claim.content_hash] = owner_of((claim, known))
    own = [entry for entry in clean if memory.owners[entry.dataset.content].hotkey == entry.hotkey]
    copies = same_loss_copies({entry.hotkey: losses[entry.dataset.name] for entry in own}, claims, tolerance)
    return sorted((entry for entry in own if entry.hotkey not in copies), key=lambda entry: entry.hotkey)
