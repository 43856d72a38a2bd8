"""What a validator remembers when an epoch begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flockoff.records import Commitment, Verdict, WeightsSet

if TYPE_CHECKING:
    from flockoff.epoch.settle import Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything of the epochs before that bears on this one. By hotkey, unless stated otherwise."""

    # Missing: none, which counts as 0.
    scores: Mapping[str, float] = field(default_factory=dict)
    # The start block of the epoch in which it last had its turn.
    last_evaluated: Mapping[str, int] = field(default_factory=dict)
    # Turns in a row that came to nothing because of its dataset, while others were evaluated.
    missed: Mapping[str, int] = field(default_factory=dict)
    # Of one pass over the dataset it was last measured with.
    tokens: Mapping[str, int] = field(default_factory=dict)
    last_verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    # The block of its first commitment ever seen.
    first_blocks: Mapping[str, int] = field(default_factory=dict)
    # Its latest commitment made before the epoch, as far as it was seen, with the block in which it first
    # made that one.
    earlier: Mapping[str, Commitment] = field(default_factory=dict)
    # By (hotkey, ModelId as text): the lowest block in which it was ever seen to commit that.
    first_seen: Mapping[tuple[str, str], int] = field(default_factory=dict)
    last_weights: WeightsSet | None = None

    def after(self, settlement: "Settlement") -> "Memory":
        """What is remembered once ``settlement`` is stored, commitments and weights aside."""
        turns = dict.fromkeys(settlement.turns, settlement.epoch)
        verdicts = {verdict.hotkey: verdict for verdict in settlement.verdicts}
        return replace(
            self,
            scores=settlement.scores,
            missed=settlement.missed,
            last_evaluated={**self.last_evaluated, **turns},
            last_verdicts={**self.last_verdicts, **verdicts},
        )
