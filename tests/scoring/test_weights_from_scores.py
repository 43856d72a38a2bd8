import math
from random import Random

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flockoff.competition import Scoring
from flockoff.scoring import weights_from_scores
from flockoff.scoring.weights import limit_vtrust_loss, vtrust_loss

RULES = Scoring()
HOTKEYS = {0: "ann", 1: "bob"}


def test_weights_without_consensus_are_the_normalised_scores() -> None:
    weights = weights_from_scores({"ann": 0.15, "bob": 0.05}, HOTKEYS, {0: 0.0, 1: 0.0}, RULES)
    assert weights == pytest.approx({0: 0.75, 1: 0.25})


def test_weights_consensus_within_reach_is_only_blended() -> None:
    # 0.8 · (0.75, 0.25) + 0.2 · (0.5, 0.5); consensus is normalised for the blend: (0.4, 0.4) / 0.8
    weights = weights_from_scores({"ann": 0.15, "bob": 0.05}, HOTKEYS, {0: 0.4, 1: 0.4}, RULES)
    assert weights == pytest.approx({0: 0.7, 1: 0.3})


def test_weights_consensus_elsewhere_are_moved_until_half_is_kept() -> None:
    # Blended (0.8, 0.2) against C = (0, 1) would lose 0.8 - 0; at (0.5, 0.5) it loses 0.5.
    assert weights_from_scores({"ann": 1.0}, HOTKEYS, {0: 0.0, 1: 1.0}, RULES) == pytest.approx(
        {0: 0.5, 1: 0.5}
    )


def test_weights_consensus_that_itself_loses_more_are_moved_to_the_slack() -> None:
    # c = (0, 1) loses 1 - 0.3 = 0.7, so the target is 0.735. Blended (0.8, 0.2) loses 0.8; moved by t it
    # loses 0.8 · (1 - t) as long as the second stays under 0.3, so t = 0.08125.
    assert weights_from_scores({"ann": 1.0}, HOTKEYS, {1: 0.3}, RULES) == pytest.approx({0: 0.735, 1: 0.265})


def test_weights_consensus_that_itself_loses_just_the_bound_gets_no_slack() -> None:
    assert weights_from_scores({"ann": 1.0}, HOTKEYS, {1: 0.5}, RULES) == pytest.approx({0: 0.5, 1: 0.5})


def test_weights_within_the_slack_of_a_low_consensus_stay() -> None:
    assert weights_from_scores({"ann": 1.0}, HOTKEYS, {0: 0.3}, RULES) == {0: 1.0}


def test_weights_kink_on_the_way_is_followed() -> None:
    # w = (0.6, 0.4, 0), C = (0.1, 0.3, 0.6), bound 0.3: f(t) = 0.5·(1-t) + max(0, 0.4 - 0.1·t - 0.3), and the
    # second term is 0.1·(1-t): f = 0.6·(1-t) = 0.3 at t = 1/2.
    moved = limit_vtrust_loss(
        np.array([0.6, 0.4, 0.0]), np.array([0.1, 0.3, 0.6]), Scoring(max_vtrust_loss=0.3)
    )
    assert moved == pytest.approx([0.35, 0.35, 0.3])
    # With C = (0.1, 0.5, 0.9), ΣC = 1.5, c = (1/15, 1/3, 3/5): only the first loses, 0.6 - 8/15·t - 0.1, down
    # to 0.3 at t = 3/8. Its kink, where it would lose nothing, is at t = 15/16.
    moved = limit_vtrust_loss(
        np.array([0.6, 0.4, 0.0]), np.array([0.1, 0.5, 0.9]), Scoring(max_vtrust_loss=0.3)
    )
    assert moved == pytest.approx([0.4, 0.375, 0.225])
    # With C = (0.48, 0.1, 0.9), ΣC = 1.48, the first loses nothing from t = 0.1139 on, with f = 0.3508. From
    # there only the second does, 0.4 - (0.5 - 0.1 / 1.48)·t, down to 0.3 at t = 0.23125.
    moved = limit_vtrust_loss(
        np.array([0.5, 0.5, 0.0]), np.array([0.48, 0.1, 0.9]), Scoring(max_vtrust_loss=0.3)
    )
    assert moved == pytest.approx([0.459375, 0.4, 0.140625])


def test_weights_nobody_has_a_score_are_none() -> None:
    assert weights_from_scores({}, HOTKEYS, {0: 1.0}, RULES) is None
    assert weights_from_scores({"ann": 0.0}, HOTKEYS, {0: 1.0}, RULES) is None
    assert weights_from_scores({"somebody who left": 1.0}, HOTKEYS, {0: 1.0}, RULES) is None
    assert weights_from_scores({"ann": 1.0}, {}, {}, RULES) is None


def test_weights_swapped_hotkey_inherits_nothing() -> None:
    scores = {"ann": 0.4, "bob": 0.1}
    assert weights_from_scores(scores, {0: "new", 1: "bob"}, {}, RULES) == {1: 1.0}
    assert weights_from_scores(scores, {0: "bob", 1: "ann"}, {}, RULES) == pytest.approx({0: 0.2, 1: 0.8})


def test_weights_gap_in_the_uids_is_no_uid() -> None:
    weights = weights_from_scores({"ann": 1.0, "bob": 1.0}, {3: "ann", 250: "bob"}, {}, RULES)
    assert weights == pytest.approx({3: 0.5, 250: 0.5})


def test_weights_too_small_are_cut_and_the_rest_is_one() -> None:
    assert weights_from_scores({"ann": 1.0, "bob": 1e-7}, HOTKEYS, {}, RULES) == {0: 1.0}
    assert weights_from_scores({"ann": 1.0, "bob": 1.0}, HOTKEYS, {}, Scoring(min_weight=0.6)) is None
    assert weights_from_scores({"ann": 1.0, "bob": 1.0}, HOTKEYS, {}, Scoring(min_weight=0.5)) == {
        0: 0.5,
        1: 0.5,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_weights_bad_score_or_consensus_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="scores"):
        weights_from_scores({"ann": value}, HOTKEYS, {}, RULES)
    with pytest.raises(ValueError, match="consensus"):
        weights_from_scores({"ann": 1.0}, HOTKEYS, {1: value}, RULES)


parts = st.one_of(st.just(0.0), st.floats(1e-9, 1.0))
neurons = st.lists(st.tuples(parts, parts), min_size=1, max_size=12)
bounds = st.floats(0.0, 1.0)


@given(neurons, st.randoms())
def test_weights_are_positive_parts_of_one_in_any_order(
    rows: list[tuple[float, float]], random: Random
) -> None:
    scores = {f"hotkey {uid}": score for uid, (score, _) in enumerate(rows)}
    order = list(range(len(rows)))
    random.shuffle(order)
    hotkeys = {uid: f"hotkey {uid}" for uid in order}
    consensus = {uid: rows[uid][1] for uid in order}
    weights = weights_from_scores(scores, hotkeys, consensus, RULES)
    assert weights == weights_from_scores(
        scores, dict(sorted(hotkeys.items())), dict(sorted(consensus.items())), RULES
    )
    if weights is None:
        assert not any(scores.values())
        return
    assert all(0 < weight <= 1 for weight in weights.values())
    assert math.isclose(sum(weights.values()), 1.0)


@example([(0.0, 0.9999999999999999), (0.75, 0.750617556868327), (0.22574594553925487, 0.0)], 0.0)
@given(neurons, bounds)
def test_limit_vtrust_loss_reaches_its_target_and_goes_no_further(
    rows: list[tuple[float, float]], bound: float
) -> None:
    scores, consensus = (np.array(column) for column in zip(*rows, strict=True))
    assume(scores.sum() > 0 and consensus.sum() > 0)
    weights = scores / scores.sum()
    rules = Scoring(max_vtrust_loss=bound)
    goal = consensus / consensus.sum()
    least = vtrust_loss(goal, consensus)
    assert least == pytest.approx(max(0.0, 1 - consensus.sum()), abs=1e-12)

    target = bound if least <= bound else rules.vtrust_slack * least
    moved = limit_vtrust_loss(weights, consensus, rules)

    before, after = vtrust_loss(weights, consensus), vtrust_loss(moved, consensus)
    assert moved.sum() == pytest.approx(1.0)
    assert (moved >= 0).all()
    if before <= target:
        assert (moved == weights).all()
    else:  # The loss is continuous and never rises on the way, so the smallest step has the target itself.
        assert after == pytest.approx(target, abs=1e-12)
        widest = np.argmax(np.abs(goal - weights))
        step = (moved - weights)[widest] / (goal - weights)[widest]
        assert moved == pytest.approx((1 - step) * weights + step * goal, abs=1e-9)
        for smaller in np.linspace(0, step, 7)[:-1]:
            assert vtrust_loss((1 - smaller) * weights + smaller * goal, consensus) >= target - 1e-12


@given(neurons)
def test_weights_lose_no_more_vtrust_than_the_bound(rows: list[tuple[float, float]]) -> None:
    scores = {f"hotkey {uid}": score for uid, (score, _) in enumerate(rows)}
    consensus = {uid: value for uid, (_, value) in enumerate(rows)}
    total = sum(consensus.values())
    assume(total > 0)
    weights = weights_from_scores(scores, {uid: f"hotkey {uid}" for uid in consensus}, consensus, RULES)
    assume(weights is not None)
    assert weights is not None
    lost = sum(max(0.0, weight - consensus[uid]) for uid, weight in weights.items())
    bound = RULES.max_vtrust_loss if 1 - total <= RULES.max_vtrust_loss else RULES.vtrust_slack * (1 - total)
    assert lost <= bound + len(rows) * RULES.min_weight + 1e-12
