"""A validator's health, judging by its ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from flockoff.ledger.views import EpochSummary

_RECENT = 20  # epochs
_SILENT_EPOCHS = 2.0  # without a sign of life: too long
_SILENT_SECONDS = 3 * 3600.0  # the same while an epoch's duration is unknown

State = Literal["well", "troubled", "starting"]


@dataclass(frozen=True, slots=True)
class Health:
    """``headline``: the one thing to know. ``silent_after``: UTC seconds after which silence is a bad
    sign."""

    state: State
    headline: str
    remedy: str
    last_sign: float | None  # when an epoch last changed
    silent_after: float | None
    weights_set_at: float | None
    epochs: int  # recent closed ones …
    epochs_with_weights: int  # … and those of them whose weights were set


def health_of(summaries: Sequence[EpochSummary], now: float) -> Health:
    """The health shown by these epochs, latest first. ``now``: UTC seconds."""
    closed = [summary for summary in summaries if summary.closed_at is not None]
    recent = closed[:_RECENT]
    signs = [
        moment
        for each in summaries[:2]
        for moment in (each.begun_at, each.closed_at, each.weights_set_at)
        if moment is not None
    ]
    last_sign = max(signs, default=None)
    silent_after = None if last_sign is None else last_sign + _patience(summaries)
    state, headline, remedy = _judged(summaries, closed, silent_after, now)
    return Health(
        state=state,
        headline=headline,
        remedy=remedy,
        last_sign=last_sign,
        silent_after=silent_after,
        weights_set_at=max((each.weights_set_at for each in summaries if each.weights_set_at), default=None),
        epochs=len(recent),
        epochs_with_weights=sum(each.weights_set_at is not None for each in recent),
    )


def _patience(summaries: Sequence[EpochSummary]) -> float:
    """How long the ledger may stay unchanged before that is a bad sign: seconds."""
    lengths = [later.begun_at - earlier.begun_at for later, earlier in pairwise(summaries[:_RECENT])]
    return _SILENT_EPOCHS * median(lengths) if lengths else _SILENT_SECONDS


def _judged(
    summaries: Sequence[EpochSummary], closed: Sequence[EpochSummary], silent_after: float | None, now: float
) -> tuple[State, str, str]:
    if silent_after is None:
        return "starting", "No epoch has begun yet", "The first one begins with the subnet's next epoch."
    if now > silent_after:
        return (
            "troubled",
            "Nothing has happened for a long time",
            "Check that the validator still runs, and the end of its log.",
        )
    if not closed:
        return "starting", "The first epoch is in progress", "Its weights are set when it ends."
    last = closed[0]
    # Weights are set right after the close, but the chain may be slow: the next epoch is the time to worry.
    if last.weights_set_at is None and last is not summaries[0]:
        return (
            "troubled",
            f"The weights of epoch {last.start_block:,} were not set",
            "The validator's log says why, next to WEIGHTS NOT SET.",
        )
    if last.places and 2 * last.not_evaluated > last.places:
        return (
            "troubled",
            "Most datasets could not be evaluated",
            "The leaderboard has the reasons; they are not the miners'.",
        )
    return "well", "Healthy", ""
