"""Yuma consensus: what one epoch of a subnet makes of its validators' weights.

The original Yuma of Subtensor's ``run_epoch``: its Yuma 3 and liquid-alpha variants, off by default on
chain, are not covered. Notation: n neurons, row i = validator, column j = target, S = normalised active
stake, W = masked and row-normalised weights.

    C_j = largest w with  sum of S_i over {i: W_ij >= w}  >=  kappa       consensus (weighted median)
    V_ij = min(W_ij, C_j)                                                clipped weights
    R_j = sum_i S_i V_ij          trust_j = R_j / sum_i S_i W_ij         validator_trust_i = sum_j V_ij
    I   = R / sum R                                                      incentive
    D_ij = column-normalised S_i ((1 - penalty) W_ij + penalty V_ij)     bonds delta
    B   <- column-normalised (m B + (1 - m) D)                           m = bonds_moving_average
    dividends = B I / sum(B I)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# The chain computes in fixed point with 32 fractional bits, so support within that of kappa reaches kappa.
_RESOLUTION = 2.0**-32


@dataclass(frozen=True, slots=True)
class YumaInputs:
    """A subnet's state before its epoch."""

    weights: Floats  # (n, n), row = validator, as submitted, any non-negative scale
    stake: Floats  # (n,), any scale, zero where it is under the chain's stake threshold
    last_update: Ints  # (n,), block of each validator's last weights
    registered_at: Ints  # (n,), block of registration of each uid's present holder
    active: Bools  # (n,), has updated within the activity cutoff
    validator_permit: Bools  # (n,), permits in force before this epoch
    block: int
    bonds: Floats  # (n, n), as the last epoch left them: columns scaled to a maximum of 1
    kappa: float  # in (0, 1], share of active stake that must support a weight
    bonds_penalty: float  # 0..1
    bonds_moving_average: float  # 0..1, how much of the old bonds stays
    max_validators: int
    owner_uid: int | None = None  # the subnet owner's own weight on itself counts (it burns)
    tempo: int = 360  # blocks; bonds on whoever registered within the last tempo are dropped


@dataclass(frozen=True, slots=True)
class YumaResult:
    """What the epoch decides. Vectors are (n,) in 0..1; all zero where nothing was decided."""

    consensus: Floats
    incentive: Floats  # sums to 1
    dividends: Floats  # sums to 1
    trust: Floats
    validator_trust: Floats
    rank: Floats  # equal to incentive, as on chain
    emission_share: Floats  # half incentive, half dividends; stake where there are neither; sums to 1
    validator_permit: Bools  # permits for the next epoch
    bonds: Floats  # (n, n), columns scaled to a maximum of 1, rows empty without a new permit


def run_epoch(inputs: YumaInputs) -> YumaResult:
    """One epoch. Pure: the inputs are left as they are."""
    stake = _normalised(inputs.stake)
    active_stake = _normalised(np.where(inputs.active & inputs.validator_permit, stake, 0.0))
    weights = _counted_weights(inputs)
    consensus = _weighted_median(active_stake, weights, inputs.kappa)
    clipped = np.minimum(weights, consensus)
    ranks = active_stake @ clipped
    incentive = _normalised(ranks)

    for_bonds = (1.0 - inputs.bonds_penalty) * weights + inputs.bonds_penalty * clipped
    bonds = _moved_bonds(inputs, _column_normalised(active_stake[:, None] * for_bonds))
    dividends = _normalised(bonds @ incentive)

    permit = _permits(stake, inputs.max_validators)
    return YumaResult(
        consensus=consensus,
        incentive=incentive,
        dividends=dividends,
        trust=_ratio(ranks, active_stake @ weights),
        validator_trust=np.minimum(clipped.sum(axis=1), 1.0),
        rank=incentive,
        emission_share=_emission(incentive, dividends, active_stake, stake),
        validator_permit=permit,
        bonds=np.where(permit[:, None], _ratio(bonds, bonds.max(axis=0, initial=0.0)), 0.0),
    )


def _counted_weights(inputs: YumaInputs) -> Floats:
    """Weights that count, rows summing to 1 (or to 0 where none is left).

    Dropped: rows without a permit, weights on oneself unless one owns the subnet, and weights that were
    set before their target held its uid.
    """
    self_weight = np.eye(len(inputs.stake), dtype=bool)
    if inputs.owner_uid is not None:
        self_weight[inputs.owner_uid, inputs.owner_uid] = False
    outdated = inputs.last_update[:, None] <= inputs.registered_at[None, :]
    counted = inputs.validator_permit[:, None] & ~self_weight & ~outdated
    weights = np.where(counted, inputs.weights, 0.0)
    return _ratio(weights, weights.sum(axis=1, keepdims=True))


def _weighted_median(active_stake: Floats, weights: Floats, kappa: float) -> Floats:
    """Per column the largest weight that at least ``kappa`` of the active stake supports; 0 without stake."""
    voters = active_stake > 0.0
    if not voters.any():
        return np.zeros(weights.shape[1])
    descending = np.argsort(-weights[voters], axis=0, kind="stable")
    support = np.cumsum(active_stake[voters][descending], axis=0)
    pivot = np.argmax(support >= kappa - _RESOLUTION, axis=0)
    ordered = np.take_along_axis(weights[voters], descending, axis=0)
    median: Floats = np.take_along_axis(ordered, pivot[None, :], axis=0)[0]
    return median


def _moved_bonds(inputs: YumaInputs, delta: Floats) -> Floats:
    """The bonds' moving average, columns summing to 1; what bound a uid's former holder is forgotten."""
    recent = inputs.registered_at >= max(0, inputs.block - inputs.tempo)
    kept = _column_normalised(np.where(recent[None, :], 0.0, inputs.bonds))
    keep = inputs.bonds_moving_average
    return _column_normalised(keep * kept + (1.0 - keep) * delta)


def _permits(stake: Floats, max_validators: int) -> Bools:
    """The ``max_validators`` largest non-zero stakes; of equal ones the higher uid, as on chain."""
    ascending = np.argsort(stake, kind="stable")
    permit = stake > 0.0
    permit[ascending[: max(0, len(stake) - max_validators)]] = False
    return permit


def _emission(incentive: Floats, dividends: Floats, active_stake: Floats, stake: Floats) -> Floats:
    """Incentive and dividends by halves; where no weights counted, active stake, or else all stake."""
    for share in (incentive + dividends, active_stake):
        if share.any():
            return _normalised(share)
    return stake


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise (broadcast) division where x / 0 is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator != 0.0)


def _normalised(vector: Floats) -> Floats:
    return _ratio(vector, vector.sum(keepdims=True))


def _column_normalised(matrix: Floats) -> Floats:
    return _ratio(matrix, matrix.sum(axis=0, keepdims=True))
