"""What repeated measurements show about noise: how far the seed moves losses, and who wins by it.

Losses are compared by the logarithm of their ratio, which is their relative difference as long as that is
small. A dataset's own part of the noise and of that logarithm are taken to be normal.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Scoring
from flockoff.scoring import shares

Array = NDArray[np.float64]

EPOCHS = 10  # of averaging
EPSILONS = (0.0, 0.0025, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Pair:
    """Two datasets under the same seeds, ``better`` having the lower mean loss.

    ``gap`` and ``deviation`` are of ln(worse's loss / better's loss) over the seeds.
    """

    better: str
    worse: str
    gap: float
    deviation: float
    correlation: float  # of the two losses
    wins_of_worse: int  # seeds under which its loss was the lower one
    seeds: int

    def worse_wins(self, lead: float) -> float:
        """How often the worse one wins an epoch if ``lead`` is added to its loss's logarithm."""
        return NormalDist(self.gap + lead, self.deviation).cdf(0.0)


def changes_by_dataset(results: Iterable[Mapping[str, object]]) -> dict[str, Array]:
    """ln(loss / base loss) by dataset, (n_seeds,): of the seeds under which all were measured, in order.

    Raises ValueError for results of more than one setup, which cannot be compared.
    """
    found: dict[str, dict[int, float]] = {}
    setups = set()
    for result in results:
        loss, base = float(str(result["loss"])), float(str(result["base"]))
        found.setdefault(str(result["dataset"]), {})[int(str(result["seed"]))] = math.log(loss / base)
        setups.add(result["setup"])
    if len(setups) > 1:
        raise ValueError(f"results of {len(setups)} setups: {sorted(map(str, setups))}")
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in found.values())))
    return {name: np.array([by_seed[seed] for seed in seeds]) for name, by_seed in found.items()}


def pairs_of(changes: Mapping[str, Array]) -> list[Pair]:
    """All pairs, the best datasets first."""
    ranked = sorted(changes, key=lambda name: float(changes[name].mean()))
    return [
        _pair(better, worse, changes[better], changes[worse])
        for better, worse in itertools.combinations(ranked, 2)
    ]


def _pair(better: str, worse: str, of_better: Array, of_worse: Array) -> Pair:
    gaps = of_worse - of_better
    return Pair(
        better,
        worse,
        float(gaps.mean()),
        float(gaps.std(ddof=1)),
        float(np.corrcoef(of_better, of_worse)[0, 1]),
        int((gaps < 0).sum()),
        len(gaps),
    )


def lead_of_the_earlier(epsilon: float) -> float:
    """What ``epsilon`` takes off the logarithm of the earlier one's loss."""
    return -math.log1p(-epsilon)


def ahead_after(epochs: int, wins: float, scoring: Scoring) -> float:
    """How often who wins an epoch with probability ``wins`` has the higher score after ``epochs`` epochs.

    Of two alone, starting without scores, by s <- decay * s + (1 - decay) * share. Exact: over all sequences
    of wins.
    """
    of_loser, of_winner = shares(np.array([0.0, 1.0]), scoring.temperature)
    won = np.array(list(itertools.product((0, 1), repeat=epochs)))  # (2^epochs, epochs)
    age = np.arange(epochs)[::-1]
    score = (np.where(won, of_winner, of_loser) * scoring.score_decay**age).sum(axis=1)
    opponent = (np.where(won, of_loser, of_winner) * scoring.score_decay**age).sum(axis=1)
    chance = np.where(won, wins, 1.0 - wins).prod(axis=1)
    return float(chance[score > opponent].sum())


def told(results: Sequence[Mapping[str, object]], scoring: Scoring) -> Iterator[str]:
    """The tables of .github/docs/noise.md, line by line."""
    changes = changes_by_dataset(results)
    seeds = len(next(iter(changes.values())))
    if seeds < 2:
        yield "Two seeds at least must have been measured with every dataset."
        return
    pairs = pairs_of(changes)
    helpful = [name for name, values in changes.items() if values.mean() < 0]
    among_helpful = [pair for pair in pairs if {pair.better, pair.worse} <= set(helpful)]
    yield f"{len(changes)} datasets, {seeds} seeds of each. Of the base model's loss:"
    yield from _datasets(changes)
    yield from _model(changes, helpful, among_helpful)
    yield "Pairs; how often the worse one wins:"
    yield from _pairs(pairs, scoring)
    yield "Other values of epsilon; means over the neighbours among the datasets that help:"
    yield from _epsilons(among_helpful, helpful, scoring)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(cells)} |" for cells in rows)
    yield ""


def _datasets(changes: Mapping[str, Array]) -> Iterator[str]:
    ranked = sorted(changes.items(), key=lambda item: float(item[1].mean()))
    rows = []
    for name, of in ranked:
        least, mean, most = (f"{np.expm1(value):+.2%}" for value in (of.min(), of.mean(), of.max()))
        rows.append((name, mean, f"{of.std(ddof=1):.3%}", least, most))
    return _table(("dataset", "mean change", "sd over seeds", "least", "most"), rows)


def _model(changes: Mapping[str, Array], helpful: Sequence[str], pairs: Sequence[Pair]) -> Iterator[str]:
    """The constants of ``flockoff.simulate.noise.NoiseModel``."""
    if not pairs:
        return
    variances = [float(changes[name].var(ddof=1)) for name in helpful]
    covariances = [float(np.cov(changes[pair.better], changes[pair.worse])[0, 1]) for pair in pairs]
    seed, common = math.sqrt(np.mean(variances)), float(np.mean(covariances) / np.mean(variances))
    yield f"Datasets that help: sd {seed:.3%}, of whose variance {common:.2f} is common to all of them;"
    yield f"sd of the difference of two {_pooled(pairs):.3%}."
    for name in sorted(changes.keys() - set(helpful)):
        harm = (float(changes[name].std(ddof=1)) - seed) / float(np.expm1(changes[name].mean()))
        yield f"{name}: sd above that, per unit of its mean change: {harm:.2f}."
    yield ""


def _pooled(pairs: Sequence[Pair]) -> float:
    """Standard deviation of the logarithm of two losses' ratio, over pairs."""
    return math.sqrt(np.mean([pair.deviation**2 for pair in pairs]))


def _pairs(pairs: Sequence[Pair], scoring: Scoring) -> Iterator[str]:
    lead = lead_of_the_earlier(scoring.timestamp_epsilon)
    head = ("better, worse", "gap", "sd", "correlation", "seen", "equal blocks", "worse later")
    return _table(
        (*head, "worse earlier", *(f"{name}, {EPOCHS} epochs" for name in ("equal", "later", "earlier"))),
        (
            (
                f"{pair.better}, {pair.worse}",
                f"{pair.gap:.2%}",
                f"{pair.deviation:.3%}",
                f"{pair.correlation:+.2f}",
                f"{pair.wins_of_worse} of {pair.seeds}",
                *_odds([pair], (0.0, lead, -lead), scoring),
            )
            for pair in pairs
        ),
    )


def _odds(pairs: Sequence[Pair], leads: Sequence[float], scoring: Scoring) -> tuple[str, ...]:
    """How often the worse one wins, on average, with these leads of the better: in one epoch, and later."""
    once = [[pair.worse_wins(lead) for pair in pairs] for lead in leads]
    averaged = [[ahead_after(EPOCHS, chance, scoring) for chance in chances] for chances in once]
    return tuple(f"{np.mean(chances):.1%}" for chances in (*once, *averaged))


def _epsilons(pairs: Sequence[Pair], helpful: Sequence[str], scoring: Scoring) -> Iterator[str]:
    """Neighbours in quality, and an equal: a copy whose noise is its own."""
    if not pairs:
        return iter(())
    order = list(dict.fromkeys(name for pair in pairs for name in (pair.better, pair.worse)))
    neighbours = [pair for pair in pairs if order.index(pair.worse) == order.index(pair.better) + 1]
    equal = Pair("one", "its copy", 0.0, _pooled(pairs), 0.0, 0, 0)
    rows = []
    for epsilon in EPSILONS:
        lead = lead_of_the_earlier(epsilon)
        # Nine of ten: 1.28 standard deviations.
        sure = lead + NormalDist().inv_cdf(0.9) * equal.deviation
        cells = (*_odds(neighbours, (lead, -lead), scoring), *_odds([equal], (lead,), scoring))
        rows.append((f"{epsilon:g}", *cells, f"{sure:.2%}"))
    return _table(
        (
            "epsilon",
            "worse later",
            "worse earlier",
            f"later, {EPOCHS} epochs",
            f"earlier, {EPOCHS} epochs",
            "a later equal",
            f"equal, {EPOCHS} epochs",
            "later wins 9 of 10 with a gap of",
        ),
        rows,
    )
