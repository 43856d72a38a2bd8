"""Long histories, thinned for charts, so that the page stays small however old the ledger."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from flockoff.ledger.views import EpochSummary, Views

POINTS = 160  # epochs in a chart; more would be closer than a phone's pixels
LARGEST = 9  # hotkeys shown separately in the weights chart


@dataclass(frozen=True, slots=True)
class LossSpread:
    """The losses of one epoch's eligible datasets, in nats per assistant token."""

    best: float
    median: float
    worst: float


@dataclass(frozen=True, slots=True)
class Trends:
    """Values over epochs, oldest first; every tuple has one value for each of ``epochs``.

    None: no value. ``weights`` has the hotkeys with the most total weight, most first, ``other_weights`` the
    sums of the others'.
    """

    epochs: tuple[int, ...]  # start blocks
    begun_at: tuple[float, ...]  # UTC seconds
    of: int  # the number of epochs before thinning
    scores: Mapping[str, tuple[float | None, ...]]
    weights: Mapping[str, tuple[float | None, ...]]
    other_weights: tuple[float | None, ...]
    losses: tuple[LossSpread | None, ...]


def read_trends(views: Views, closed: Sequence[EpochSummary]) -> Trends:
    """The trends over these epochs, given latest first."""
    shown = thinned(list(reversed(closed)), POINTS)
    starts = [summary.start_block for summary in shown]
    set_at_all = [summary.weights_set_at is not None for summary in shown]
    weights = {
        hotkey: tuple(
            (value or 0.0) if there else None for value, there in zip(values, set_at_all, strict=True)
        )
        for hotkey, values in _by_hotkey(views.weights(starts), starts).items()
    }
    ranked = sorted(weights, key=lambda hotkey: -sum(value or 0.0 for value in weights[hotkey]))
    others = [weights[hotkey] for hotkey in ranked[LARGEST:]]
    return Trends(
        epochs=tuple(starts),
        begun_at=tuple(summary.begun_at for summary in shown),
        of=len(closed),
        scores=_by_hotkey(views.scores(starts), starts),
        weights={hotkey: weights[hotkey] for hotkey in ranked[:LARGEST]},
        other_weights=tuple(
            sum(each[place] or 0.0 for each in others) if there else None
            for place, there in enumerate(set_at_all)
        ),
        losses=_spreads(views.losses(starts), starts),
    )


def thinned(epochs: Sequence[EpochSummary], most: int) -> list[EpochSummary]:
    """At most ``most`` (at least 2) of ``epochs``, evenly spaced, including the first and the last."""
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[round(place * (len(epochs) - 1) / (most - 1))] for place in range(most)]


def _by_hotkey(
    rows: Iterable[tuple[int, str, float]], starts: Sequence[int]
) -> dict[str, tuple[float | None, ...]]:
    place = {start: number for number, start in enumerate(starts)}
    found: dict[str, list[float | None]] = defaultdict(lambda: [None] * len(starts))
    for epoch, hotkey, value in rows:
        found[hotkey][place[epoch]] = value
    return {hotkey: tuple(values) for hotkey, values in found.items()}


def _spreads(rows: Iterable[tuple[int, float]], starts: Sequence[int]) -> tuple[LossSpread | None, ...]:
    by_epoch: dict[int, list[float]] = defaultdict(list)
    for epoch, loss in rows:
        by_epoch[epoch].append(loss)
    return tuple(
        LossSpread(min(losses), median(losses), max(losses)) if (losses := by_epoch.get(start)) else None
        for start in starts
    )
