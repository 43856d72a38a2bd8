"""Who beats whom, how often, and what share of an epoch that is worth.

All functions take the n eligible datasets of one epoch in any order; the result follows that order.
"""

import numpy as np
from numpy.typing import NDArray


def effective_losses(
    losses: NDArray[np.float64], blocks: NDArray[np.int64], epsilon: float
) -> NDArray[np.float64]:
    """``[i, j]``: i's loss as it counts against j: 1 - epsilon times where i was committed earlier.

    Arguments as of ``win_matrix``. Returns (n, n), nats per token; the transpose has j's losses.
    """
    earlier = blocks[:, None] < blocks[None, :]  # (n, n): i was before j
    effective: NDArray[np.float64] = np.where(earlier, losses[:, None] * (1 - epsilon), losses[:, None])
    return effective


def win_matrix(losses: NDArray[np.float64], blocks: NDArray[np.int64], epsilon: float) -> NDArray[np.bool_]:
    """``wins[i, j]``: whether dataset i beats dataset j. The diagonal is False; a tie is won by nobody.

    i beats j when e_i < e_j, where e is the loss, and that of the one committed earlier counts
    ``1 - epsilon`` times: the later one must be better by more than that. Equal blocks have no advantage.

    ``losses``: (n,), nats per token, finite and not negative. ``blocks``: (n,), first block of each
    commitment. ``epsilon``: in [0, 1). Returns (n, n). Raises ValueError for anything else.
    """
    if losses.ndim != 1 or blocks.shape != losses.shape:
        raise ValueError(f"losses {losses.shape} and blocks {blocks.shape} must be (n,) both")
    if not np.isfinite(losses).all() or (losses < 0).any():
        raise ValueError("losses must be finite and not negative: leave the others out before")
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon {epsilon} is not in [0, 1)")
    effective = effective_losses(losses, blocks, epsilon)
    wins: NDArray[np.bool_] = effective < effective.T
    return wins


def win_rates(wins: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The part of its n - 1 comparisons that each dataset wins, in [0, 1]; 1 for a single dataset.

    ``wins``: (n, n) as of ``win_matrix``. Returns (n,).
    """
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1]:
        raise ValueError(f"wins {wins.shape} must be (n, n)")
    if len(wins) == 1:
        return np.ones(1)
    rates: NDArray[np.float64] = wins.sum(axis=1) / max(len(wins) - 1, 1)
    return rates


def shares(win_rates: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Each dataset's share of the epoch: softmax(win rate / ``temperature``). (n,), summing to 1; n may be 0.

    Raises ValueError for rates outside of [0, 1], a NaN, or a temperature that is not positive.
    """
    if win_rates.ndim != 1 or not ((win_rates >= 0) & (win_rates <= 1)).all():
        raise ValueError("win rates must be (n,), each in [0, 1]")
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not positive")
    # The highest exponent is 0, so nothing overflows.
    powers: NDArray[np.float64] = np.exp((win_rates - win_rates.max(initial=0.0)) / temperature)
    powers /= powers.sum()
    return powers
