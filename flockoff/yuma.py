"""Yuma consensus: one subnet epoch, from validators' weights to incentives, dividends and permits.

Subtensor's ``run_epoch`` in both of its versions: Yuma 3, which new subnets run, and the original. Liquid
alpha, off unless a subnet's owner turns it on, is not covered. Notation: n neurons, row i = validator,
column j = target, S = normalised active stake, W = masked and row-normalised weights.

    C_j = largest w with  sum of S_i over {i: W_ij >= w}  >=  kappa       consensus (weighted median)
    V_ij = min(W_ij, C_j)                                                clipped weights
    R_j = sum_i S_i V_ij          trust_j = R_j / sum_i S_i W_ij         validator_trust_i = sum_j V_ij
    I   = R / sum R                                                      incentive
    W'  = (1 - penalty) W + penalty V                                    weights for bonds

Yuma 3: a validator's bonds are its own, whatever its stake, which counts when dividends are paid.

    B   <- m B + (1 - m) W'                                              m = bonds_moving_average
    dividends_i ~ S_i sum_j N_ij I_j                                     N = column-normalised B

The original: bonds are shares of a column, and stake goes into them.

    D_ij = column-normalised S_i W'_ij                                   bonds delta
    B   <- column-normalised (m B + (1 - m) D)
    dividends_i ~ sum_j B_ij I_j
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.records import U16_MAX

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# The chain computes in fixed point with 32 fractional bits, so support within that of kappa reaches kappa.
_RESOLUTION = 2.0**-32


@dataclass(frozen=True, slots=True)
class YumaInputs:
    """A subnet's state before its epoch."""

    weights: Floats  # (n, n), row = validator, as submitted, any non-negative scale
    stake: Floats  # (n,), any scale
    last_update: Ints  # (n,), block of each validator's last weights
    registered_at: Ints  # (n,), block of registration of each uid's present holder
    active: Bools  # (n,), has updated within the activity cutoff
    validator_permit: Bools  # (n,), permits in force before this epoch
    bonds: Floats  # (n, n), from the last epoch
    kappa: float  # in (0, 1], share of active stake that must support a weight
    bonds_penalty: float  # 0..1
    bonds_moving_average: float  # 0..1, how much of the old bonds stays
    max_validators: int
    last_step: int  # block of the last epoch; bonds on whoever registered after it are dropped
    stake_threshold: float = 0.0  # on stake's scale; less counts as none, but for the owner
    owner_uid: int | None = None  # the subnet owner: its weight on itself counts (it burns), it has a permit
    committed: Ints | None = None  # (n,), block of each validator's first sealed weights still to be revealed
    yuma3: bool = True


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
    bonds: Floats  # (n, n), rows empty without a new permit; originally columns scaled to a maximum of 1


def run_epoch(inputs: YumaInputs) -> YumaResult:
    """One epoch. The inputs are not modified."""
    stake = _normalised(_counted_stake(inputs))
    active_stake = _fixed(_normalised(np.where(inputs.active & inputs.validator_permit, stake, 0.0)))
    weights = _counted_weights(inputs)
    consensus = _weighted_median(active_stake, weights, inputs.kappa)
    clipped = np.minimum(weights, consensus)
    ranks = active_stake @ clipped
    incentive = _normalised(ranks)

    for_bonds = (1.0 - inputs.bonds_penalty) * weights + inputs.bonds_penalty * clipped
    bonded = _bonds3 if inputs.yuma3 else _original_bonds
    bonds, dividends = bonded(inputs, for_bonds, active_stake, incentive)

    permit = _permits(stake, inputs)
    return YumaResult(
        consensus=consensus,
        incentive=incentive,
        dividends=dividends,
        trust=_ratio(ranks, active_stake @ weights),
        validator_trust=np.minimum(clipped.sum(axis=1), 1.0),
        rank=incentive,
        emission_share=_emission(incentive, dividends, active_stake, stake),
        validator_permit=permit,
        bonds=np.where(permit[:, None], bonds, 0.0),
    )


def as_u16(proportions: Floats) -> Ints:
    """Proportions in 0..1 as the chain stores them: in 65535ths, truncated."""
    return np.floor(np.clip(proportions, 0.0, 1.0) * U16_MAX + U16_MAX * _RESOLUTION).astype(np.int64)


def _counted_stake(inputs: YumaInputs) -> Floats:
    counted = inputs.stake >= inputs.stake_threshold
    if inputs.owner_uid is not None:
        counted[inputs.owner_uid] = True
    return np.where(counted, inputs.stake, 0.0)


def _counted_weights(inputs: YumaInputs) -> Floats:
    """Weights that count, rows summing to 1 (or to 0 where none is left).

    Dropped: rows without a permit, self-weights other than the owner's, and weights set, or committed
    unrevealed, before their target held its uid.
    """
    self_weight = np.eye(len(inputs.stake), dtype=bool)
    if inputs.owner_uid is not None:
        self_weight[inputs.owner_uid, inputs.owner_uid] = False
    outdated = inputs.last_update[:, None] <= inputs.registered_at[None, :]
    if inputs.committed is not None:
        outdated |= inputs.committed[:, None] < inputs.registered_at[None, :]
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
    pivot = np.argmax(support >= kappa - len(active_stake) * _RESOLUTION, axis=0)
    ordered = np.take_along_axis(weights[voters], descending, axis=0)
    median: Floats = np.take_along_axis(ordered, pivot[None, :], axis=0)[0]
    return median


def _bonds3(
    inputs: YumaInputs, for_bonds: Floats, active_stake: Floats, incentive: Floats
) -> tuple[Floats, Floats]:
    """Bonds and dividends of Yuma 3."""
    keep = inputs.bonds_moving_average
    bonds = keep * _kept_bonds(inputs) + (1.0 - keep) * for_bonds
    return bonds, _normalised(active_stake * (_column_normalised(bonds) @ incentive))


def _original_bonds(
    inputs: YumaInputs, for_bonds: Floats, active_stake: Floats, incentive: Floats
) -> tuple[Floats, Floats]:
    """Bonds, with columns scaled to a maximum of 1, and dividends of the original Yuma."""
    keep = inputs.bonds_moving_average
    delta = _column_normalised(_fixed(active_stake[:, None] * for_bonds))
    bonds = _column_normalised(keep * _column_normalised(_kept_bonds(inputs)) + (1.0 - keep) * delta)
    return _ratio(bonds, bonds.max(axis=0, initial=0.0)), _normalised(bonds @ incentive)


def _kept_bonds(inputs: YumaInputs) -> Floats:
    """The old bonds without those on a uid's former holder."""
    return np.where((inputs.registered_at > inputs.last_step)[None, :], 0.0, inputs.bonds)


def _permits(stake: Floats, inputs: YumaInputs) -> Bools:
    """The ``max_validators`` largest non-zero stakes (ties go to the higher uid), and always the owner."""
    ascending = np.argsort(stake, kind="stable")
    permit = stake > 0.0
    permit[ascending[: max(0, len(stake) - inputs.max_validators)]] = False
    if inputs.owner_uid is not None:
        permit[inputs.owner_uid] = True
    return permit


def _emission(incentive: Floats, dividends: Floats, active_stake: Floats, stake: Floats) -> Floats:
    """Incentive and dividends by halves; where no weights counted, active stake, or else all stake."""
    for share in (incentive + dividends, active_stake):
        if share.any():
            return _normalised(share)
    return stake


def _fixed(values: Floats) -> Floats:
    """Values truncated to the chain's resolution, a loss that later divisions reveal."""
    return np.floor(values / _RESOLUTION) * _RESOLUTION


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise (broadcast) division where x / 0 is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator != 0.0)


def _normalised(vector: Floats) -> Floats:
    return _ratio(vector, vector.sum(keepdims=True))


def _column_normalised(matrix: Floats) -> Floats:
    return _ratio(matrix, matrix.sum(axis=0, keepdims=True))
