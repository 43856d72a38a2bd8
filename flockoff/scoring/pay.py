"""What each dataset of an epoch earns: by win rate, or by distance, under which a crowd shares one prize.

All functions take the n eligible datasets of one epoch in any order; the result follows that order.
"""

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Scoring
from flockoff.scoring.win_rate import shares, win_matrix, win_rates

Vector = NDArray[np.float64]


def epoch_pay(losses: Vector, blocks: NDArray[np.int64], rules: Scoring) -> Vector:
    """Each dataset's share of the epoch, by the rule that ``rules.pay`` names. (n,), summing to 1.

    ``losses`` and ``blocks`` as for ``win_matrix``; n may be 0. Raises ValueError as it does.
    """
    wins = win_matrix(losses, blocks, rules.timestamp_epsilon)
    if rules.pay == "distance":
        return _by_distance(losses, blocks, wins, rules)
    return shares(win_rates(wins), rules.temperature)


def behind(losses: Vector, epsilon: float) -> Vector:
    """How far each dataset is behind the best, in clear wins; 0 for the best. (n,)"""
    order = np.argsort(losses, kind="stable")
    result = np.empty(len(losses))
    result[order] = distances(losses[order], epsilon)
    return result


def distances(ranked: Vector, epsilon: float) -> Vector:
    """How far each of ``ranked``, losses from best to worst, is behind the best, in clear wins. (n,)

    Each is behind the one before it by the gap between them, where g clear wins count as g up to one and as
    3 - 4 / (g + 1) beyond: however far ahead a dataset is, it counts as three at most. This bends smoothly
    because with a sharp bend at one, whoever has a wide gap below could move down into it and gain.
    """
    before, worse = ranked[:-1], ranked[1:]
    ratio = np.divide(before, worse, out=np.ones_like(worse), where=worse > 0)  # 1 for two losses of 0
    gaps = (1 - ratio) / epsilon
    counted = np.where(gaps <= 1, gaps, 3 - 4 / (gaps + 1))
    return np.concatenate([np.zeros(min(len(ranked), 1)), np.cumsum(counted)])


def records(wins: NDArray[np.bool_], blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each dataset beats all that were committed before it. (n,)

    Making a dataset worse makes no record of it.
    """
    earlier = blocks[None, :] < blocks[:, None]  # [i, j]: j was before i
    record: NDArray[np.bool_] = np.all(wins | ~earlier, axis=1)
    return record


def _by_distance(
    losses: Vector, blocks: NDArray[np.int64], wins: NDArray[np.bool_], rules: Scoring
) -> Vector:
    """The README's formula: prizes over distances, each for those at least that good.

    Sums of weights are kept as logarithms, since a weight grows exponentially with its distance.
    """
    first = records(wins, blocks)
    order = np.lexsort((~first, losses))
    n = len(order)
    if n == 0:
        return np.zeros(0)
    distance = distances(losses[order], rules.timestamp_epsilon)
    levels = np.append(distance, distance[-1] + rules.crowd_scale)
    prizes = -np.diff(np.exp(-levels / rules.prize_scale))  # (n,): prize r is for the ranks 0 to r
    prizes /= prizes.sum()
    weight = distance / rules.crowd_scale + np.log1p(rules.head_start * first[order])
    crowd = np.logaddexp.accumulate(weight)  # [r]: of the ranks 0 to r
    with np.errstate(divide="ignore"):  # a prize between equal distances is 0
        per_weight = np.log(prizes[:-1]) - crowd[:-1]
    # What one unit of weight gets of all prizes from rank i on, but of the last, which all share alike.
    gets = np.append(np.logaddexp.accumulate(per_weight[::-1])[::-1], -np.inf)
    ranked = _never_rising(np.exp(weight + gets) + prizes[-1] / n)
    result = np.empty(n)
    result[order] = ranked / ranked.sum()
    return result


def _never_rising(pay: Vector) -> Vector:
    """``pay``, from best to worst, where any that would get more than a better one shares with it.

    The sum is kept. It is the least-squares non-increasing fit (pool adjacent violators: Ayer et al., "An
    empirical distribution function for sampling with incomplete information", 1955).
    """
    pools: list[tuple[float, int]] = []  # mean and size
    for mean in pay.tolist():
        size = 1
        while pools and pools[-1][0] < mean:
            above, count = pools.pop()
            mean, size = (mean * size + above * count) / (size + count), size + count
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])
