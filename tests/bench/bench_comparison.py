"""Which comparison of two datasets best separates a real difference from training noise?

``python -m tests.bench comparison RESULTS.jsonl``, of which every line is one evaluation:
``{"dataset": NAME, "seed": NUMBER, "row_nll": [nats of each evaluation row, ...]}`` and possibly more.

Each way to compare two datasets makes one number of their rows' losses under one seed, positive where the
first is better:

- difference of means: what epsilon is a bound for, relative to the loss;
- paired t: the mean difference of a row, divided by its standard error over the rows;
- signed ranks: Wilcoxon's statistic of the rows' differences, standardised;
- rows won: the share of rows with a lower loss, less one half.

A way decides well if its number varies little from seed to seed relative to its distance from zero. So for
each pair of datasets: d' = |mean over the seeds| / standard deviation over the seeds. And over all pairs,
after a threshold that lets a dataset beat its equal in 5 % of comparisons: how often the better one, being
the later, beats the worse one. Equals are the same pairs under the same seeds, the worse one's rows scaled
to the same mean loss. "se, rows" is what the spread of the rows under one seed makes of the error of the
mean difference: a paired test takes it for the noise, of which "sd, seeds" is the real size, and "alone"
what that would be if each row moved on its own.
"""

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FALSE_WINS = 0.05


def difference_of_means(first: Array, second: Array) -> float:
    return float((second.sum() - first.sum()) / (second.sum() + first.sum()) * 2)


def paired_t(first: Array, second: Array) -> float:
    better = second - first
    return float(better.mean() / (better.std(ddof=1) / np.sqrt(len(better))))


def signed_ranks(first: Array, second: Array) -> float:
    better = second - first
    ranks = np.argsort(np.argsort(np.abs(better))) + 1.0
    return float((np.sign(better) * ranks).sum() / np.sqrt((ranks**2).sum()))


def rows_won(first: Array, second: Array) -> float:
    return float((first < second).mean() - 0.5)


WAYS: dict[str, Callable[[Array, Array], float]] = {
    "difference of means": difference_of_means,
    "paired t": paired_t,
    "signed ranks": signed_ranks,
    "rows won": rows_won,
}


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def read(file: Path) -> dict[str, Array]:
    """By dataset, (n_seeds, n_rows): the seeds under which all datasets were evaluated, in order."""
    rows: defaultdict[str, dict[int, list[float]]] = defaultdict(dict)
    for line in file.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        rows[result["dataset"]][result["seed"]] = result["row_nll"]
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in rows.values())))
    return {name: np.array([by_seed[seed] for seed in seeds]) for name, by_seed in rows.items()}


def over_seeds(way: Callable[[Array, Array], float], first: Array, second: Array) -> Array:
    """``first``, ``second``: (n_seeds, n_rows). Returns (n_seeds,)."""
    return np.array([way(one, other) for one, other in zip(first, second, strict=True)])


def made_equal(first: Array, second: Array) -> Array:
    """``second`` with every row's loss scaled alike, so that both have the same mean loss."""
    equal: Array = second * (first.sum() / second.sum())
    return equal


def separation(values: Array) -> float:
    return float(abs(values.mean()) / values.std(ddof=1))


def power(way: Callable[[Array, Array], float], pairs: Sequence[tuple[Array, Array]]) -> float:
    """How often the better of a pair wins, at a threshold that an equal passes ``FALSE_WINS`` of the time."""
    equal = np.concatenate([over_seeds(way, first, made_equal(first, second)) for first, second in pairs])
    threshold = np.quantile(np.concatenate([equal, -equal]), 1 - FALSE_WINS)
    better = np.concatenate([over_seeds(way, first, second) for first, second in pairs])
    return float((better > threshold).mean())


def deviation_of_independent_rows(first: Array, second: Array) -> float:
    """Over the seeds, of the mean loss's relative difference, if every row's noise were its own."""
    by_row = (second - first).std(axis=0, ddof=1)
    return float(np.sqrt((by_row**2).sum()) / first.sum(axis=1).mean())


def standard_error(first: Array, second: Array) -> float:
    """Of the mean loss's relative difference under one seed, as the spread of the rows would have it."""
    better = second - first
    errors = better.std(axis=1, ddof=1) * np.sqrt(better.shape[1]) / first.sum(axis=1)
    return float(errors.mean())


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("file", type=Path)
    nats = read(parser.parse_args().file)
    n_seeds, n_rows = next(iter(nats.values())).shape
    say(f"{len(nats)} datasets, {n_seeds} seeds, {n_rows} evaluation rows")
    pairs = []
    say(
        f"{'better, worse':28} {'differ':>8} {'sd, seeds':>10} {'alone':>8} {'se, rows':>9}   d' of "
        + ", ".join(WAYS)
    )
    for one, other in itertools.combinations(nats, 2):
        better, worse = sorted((one, other), key=lambda name: float(nats[name].sum()))
        first, second = nats[better], nats[worse]
        pairs.append((first, second))
        means = over_seeds(difference_of_means, first, second)
        separations = "  ".join(f"{separation(over_seeds(way, first, second)):6.2f}" for way in WAYS.values())
        alone, error = deviation_of_independent_rows(first, second), standard_error(first, second)
        say(
            f"{better + ', ' + worse:28} {means.mean():8.3%} {means.std(ddof=1):10.3%} {alone:8.3%} "
            f"{error:9.3%}   {separations}"
        )
    say(f"\nThe better one, when later, wins (at {FALSE_WINS:.0%} false wins over its equal):")
    for name, way in WAYS.items():
        say(f"  {name:22} {power(way, pairs):.0%}")


if __name__ == "__main__":
    main()
