"""What a validator remembers when an epoch begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flockoff.records import Commitment, Verdict, WeightsSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything from earlier epochs that bears on this one. By hotkey, unless stated otherwise."""

    # A missing score counts as 0.
    scores: Mapping[str, float] = field(default_factory=dict)
    # The start block of the epoch of its last turn.
    last_evaluated: Mapping[str, int] = field(default_factory=dict)
    # Consecutive turns that failed because of its dataset, while others were evaluated.
    missed: Mapping[str, int] = field(default_factory=dict)
    # Per pass, of the dataset it was last measured with.
    tokens: Mapping[str, int] = field(default_factory=dict)
    last_verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    # The block of its first commitment ever seen.
    first_blocks: Mapping[str, int] = field(default_factory=dict)
    # Its latest commitment seen that was made before the epoch, with the block in which it first made that
    # one.
    earlier: Mapping[str, Commitment] = field(default_factory=dict)
    # By (hotkey, ModelId as text): the lowest block in which it was ever seen to commit it.
    first_seen: Mapping[tuple[str, str], int] = field(default_factory=dict)
    last_weights: WeightsSet | None = None

    @property
    def measured(self) -> int:
        """How many eligible datasets the latest epoch had."""
        latest = max((verdict.epoch for verdict in self.last_verdicts.values()), default=None)
        verdicts = (each for each in self.last_verdicts.values() if each.epoch == latest)
        return sum(verdict.standing == "eligible" for verdict in verdicts)
