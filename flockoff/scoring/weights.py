"""From scores to the weights that go on chain, kept within reach of the other validators' consensus."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Scoring

Vector = NDArray[np.float64]


def weights_from_scores(
    scores: Mapping[str, float],
    hotkeys: Mapping[int, str],
    consensus: Mapping[int, float],
    rules: Scoring,
) -> dict[int, float] | None:
    """Positive weights by uid, summing to 1; None where nobody has any (all is then burned).

    ``scores``: by hotkey, not negative. ``hotkeys``: by uid; uids may have gaps, and scores of unregistered
    hotkeys are ignored. ``consensus``: the chain's consensus weights by uid (a missing one counts as 0), not
    normalised.

    Normalised scores are blended with the normalised consensus, then moved towards it by
    ``limit_vtrust_loss``, both only if there is a consensus. Weights under ``rules.min_weight`` are then cut
    and the others scaled up to sum to 1. The cut comes last because the chain would make it anyway; it can
    exceed the vtrust bound by at most the weight cut.
    Raises ValueError for a score or consensus that is negative or not finite.
    """
    uids = sorted(hotkeys)
    steps = weight_steps(
        np.array([scores.get(hotkeys[uid], 0.0) for uid in uids]),
        np.array([consensus.get(uid, 0.0) for uid in uids]),
        rules,
    )
    if steps is None or not steps.final.any():
        return None
    return {uid: float(weight) for uid, weight in zip(uids, steps.final, strict=True) if weight > 0}


@dataclass(frozen=True, slots=True)
class WeightSteps:
    """How scores become weights, step by step; each (n,), by uid in order."""

    normalised: Vector  # the scores, summing to 1
    blended: Vector  # with the consensus
    limited: Vector  # moved towards the consensus to keep vtrust
    final: Vector  # without the smallest, summing to 1; all 0 if none is left


def weight_steps(scores: Vector, consensus: Vector, rules: Scoring) -> WeightSteps | None:
    """The steps of ``weights_from_scores``, for ``scores`` and ``consensus`` of shape (n,).

    None where nobody has a score. Raises ValueError as ``weights_from_scores`` does.
    """
    for name, values in (("scores", scores), ("consensus", consensus)):
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"{name} must be finite and not negative")
    if not scores.any():
        return None
    normalised: Vector = scores / scores.sum()
    blended = limited = normalised
    if consensus.sum() > 0:
        blend = rules.consensus_blend
        blended = (1 - blend) * normalised + blend * consensus / consensus.sum()
        limited = limit_vtrust_loss(blended, consensus, rules)
    final = np.where(limited < rules.min_weight, 0.0, limited)
    if final.any():
        final = final / final.sum()
    return WeightSteps(normalised, blended, limited, final)


def vtrust_loss(weights: Vector, consensus: Vector) -> float:
    """The part of ``weights`` that Yuma consensus clips away: sum of max(0, w - C) over uids.

    A validator's vtrust is the sum of min(w, C), which is 1 less this loss for weights that sum to 1.
    """
    return float(np.maximum(0.0, weights - consensus).sum())


def limit_vtrust_loss(weights: Vector, consensus: Vector, rules: Scoring) -> Vector:
    """``weights``, moved towards the normalised consensus by the smallest step that keeps vtrust.

    With c = C / ΣC, a step t in [0, 1] leads to (1 - t)·w + t·c, whose vtrust loss is f(t). No weights lose
    less than c, since Σ max(0, w - C) >= max(0, 1 - ΣC) = f(1). The target is ``rules.max_vtrust_loss``, or
    ``rules.vtrust_slack`` * f(1) where f(1) is above that; t is the smallest with f(t) <= target.

    The solution is exact: f is convex with its minimum at 1, so it never rises on [0, 1], and it is linear
    between the points where one of its terms crosses zero. Bisection over these points finds the segment that
    crosses the target, and linear interpolation the point on it.

    ``weights``: (n,), sums to 1. ``consensus``: (n,), not normalised, with a positive sum.
    """
    goal = consensus / consensus.sum()

    def at(t: float) -> Vector:
        moved: Vector = (1 - t) * weights + t * goal
        return moved

    def loss(t: float) -> float:
        return vtrust_loss(at(t), consensus)

    least = loss(1.0)
    target = rules.max_vtrust_loss if least <= rules.max_vtrust_loss else rules.vtrust_slack * least
    if loss(0.0) <= target:
        return weights
    slope = goal - weights
    moving = slope != 0
    crossings = (consensus[moving] - weights[moving]) / slope[moving]
    knots = [0.0, *np.sort(crossings[(crossings > 0) & (crossings < 1)]).tolist(), 1.0]
    after = bisect_left(knots, -target, key=lambda t: -loss(t))  # the first knot with f <= target
    left, right = knots[after - 1], knots[after]
    t = left + (right - left) * (loss(left) - target) / (loss(left) - loss(right))
    return at(min(t, right))  # rounding could exceed 1 and make weights negative
