"""The measures compared with hand-computed values, and the mechanism with its promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.simulate.game import History, ValidatorRole, play
from flockoff.simulate.outcome import Outcome, epochs_until, kendall_tau, measure
from flockoff.simulate.population import Strategy
from flockoff.simulate.scenario import PRESETS, Data, Scenario
from flockoff.simulate.sweep import SWEPT, SWEPT_BY_PAY, sweep
from tests.support.small_games import miner, silent_game


def outcome_of(scenario: Scenario, seed: int) -> Outcome:
    return measure(scenario, play(scenario, seed))


def test_kendall_tau_counts_a_tie_against_the_mechanism() -> None:
    quality = np.array([1.0, 2.0, 3.0, 4.0])

    assert kendall_tau(quality, np.array([1.0, 2.0, 3.0, 4.0]), min_gap=0) == 1.0
    assert kendall_tau(quality, np.array([4.0, 3.0, 2.0, 1.0]), min_gap=0) == -1.0
    assert kendall_tau(quality, np.zeros(4), min_gap=0) == 0.0
    # Of 6 pairs 4 are in order, (1, 2) is tied and (3, 4) is out of order.
    assert kendall_tau(quality, np.array([1.0, 1.0, 3.0, 2.0]), min_gap=0) == pytest.approx(3 / 6)


def test_kendall_tau_leaves_out_pairs_that_are_close() -> None:
    quality = np.array([1.0, 1.5, 3.0])

    assert kendall_tau(quality, np.array([2.0, 1.0, 3.0]), min_gap=0.5) == 1.0
    assert kendall_tau(quality, np.array([2.0, 1.0, 3.0]), min_gap=2.5) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=20))
def test_kendall_tau_reversed_quality_turns_its_sign(pairs: list[tuple[int, int]]) -> None:
    quality, earned = np.array(pairs, dtype=np.float64).T

    tau, turned = (kendall_tau(sign * quality, earned, min_gap=1) for sign in (1, -1))

    assert (tau is None) == (turned is None) == (np.ptp(quality) <= 1)
    if tau is not None and turned is not None:
        assert -1 <= tau <= 1
        assert tau == pytest.approx(-turned)


def test_epochs_until_counts_from_one() -> None:
    series = np.array([0.0, 0.2, 0.5, 0.4])

    assert epochs_until(series, 0.5) == 3
    assert epochs_until(series, 0.0) == 1
    assert epochs_until(series, 0.6) is None


def test_measure_small_history_gives_the_hand_computed_outcome() -> None:
    """Two epochs, one validator: half of everything burned first, and a copier with a tenth of the rest."""
    miners = (
        miner("good", -0.06),
        miner("poor", -0.01),
        miner("copy", -0.06, strategy=Strategy.EXACT_COPIER),
    )
    history = History(
        miners,
        (ValidatorRole.HONEST,),
        incentive=np.array([[0.3, 0.15, 0.05], [0.6, 0.3, 0.1]]),
        burned=np.array([0.5, 0.0]),
        validator_trust=np.array([[0.5], [1.0]]),
        dividends=np.array([[1.0], [1.0]]),
    )

    outcome = measure(silent_game(2), history)

    assert outcome.shares == pytest.approx({Strategy.HONEST: 0.675, Strategy.EXACT_COPIER: 0.075})
    assert outcome.hotkeys == {Strategy.HONEST: 2, Strategy.EXACT_COPIER: 1}
    assert (outcome.burned, outcome.cheats, outcome.tau) == pytest.approx((0.25, 0.075, 1.0))
    assert (outcome.newcomer_share, outcome.newcomer_epochs) == (None, None)
    [validator] = outcome.validators
    assert (validator.trust, validator.low_trust) == pytest.approx((0.75, 0.525))
    assert list(outcome.promises.values()) == [False, True, None, False]


def test_measure_newcomer_is_timed_from_its_commitment() -> None:
    scenario = silent_game(90, pay="win_rate", consensus_blend=0.0, max_vtrust_loss=1.0)
    scenario = replace(scenario, miners=replace(scenario.miners, newcomers_come=40))
    miners = [miner("old", -0.04), miner("new", -0.06, epoch=40, strategy=Strategy.NEWCOMER)]

    outcome = measure(scenario, play(scenario, 0, miners=miners))

    assert outcome.newcomer_share == pytest.approx(1.0, abs=1e-3)
    assert outcome.newcomer_epochs == 4  # 1 - 0.8**3 = 0.488, 1 - 0.8**4 = 0.590


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mechanism_mixed_game_keeps_every_promise(seed: int) -> None:
    """Detected cheats of every kind, a copying, a dishonest and a flaky validator among five."""
    scenario = replace(PRESETS["mixed"], data=Data(copy_recall=1.0, contamination_recall=1.0))

    outcome = outcome_of(scenario, seed)

    assert set(outcome.promises.values()) == {True}
    assert outcome.cheats < 0.01
    assert outcome.tau is not None and outcome.tau >= 0.9
    assert outcome.newcomer_epochs is not None and outcome.newcomer_epochs <= 20


@pytest.mark.slow
def test_mechanism_best_of_256_gets_half_of_its_due_within_20_epochs() -> None:
    outcome = outcome_of(PRESETS["mixed"].resized(epochs=120, miners=256, validators=None), 1)

    assert outcome.newcomer_epochs is not None and outcome.newcomer_epochs <= 20
    assert outcome.newcomer_share is not None and outcome.newcomer_share > 0.2


@pytest.mark.slow
def test_mechanism_honest_validators_on_different_hardware_keep_their_trust() -> None:
    """All three differ, and any two of them outvote the third: with two, Yuma never clips either."""
    outcome = outcome_of(PRESETS["honest"].resized(epochs=120, miners=128, validators=3), 0)

    assert [validator.trust > 0.9 for validator in outcome.validators] == [True] * 3
    assert outcome.tau is not None and outcome.tau >= 0.9


@pytest.mark.slow
def test_mechanism_spammer_earns_no_more_than_an_equal_that_commits_once() -> None:
    outcome = outcome_of(PRESETS["mixed"], 0)

    each = outcome.shares[Strategy.SPAMMER] / outcome.hotkeys[Strategy.SPAMMER]
    assert each <= outcome.shares[Strategy.FIRST_SYBIL]  # of the same quality


@pytest.mark.slow
def test_mechanism_undetected_copies_earn_what_detection_must_keep_from_them() -> None:
    """Scoring alone does not stop a copy: an undetected one breaks the promise, and the outcome says so."""
    outcome = outcome_of(PRESETS["undetected"], 0)

    assert outcome.cheats > 0.1
    assert [promise for promise, holds in outcome.promises.items() if holds is False] == [
        "copiers, further sybils and contaminators earn under 1%"
    ]


@pytest.mark.slow
def test_sweep_tries_every_value_with_the_default_marked_once() -> None:
    scenario = PRESETS["honest"].resized(epochs=3, miners=8, validators=1)

    trials = list(sweep(scenario, 0, games=1))

    assert [trial.value for trial in trials] == [
        value for values in {**SWEPT_BY_PAY["distance"], **SWEPT}.values() for value in values
    ]
    assert [trial.value for trial in trials if trial.default] == [0.005, 1.47, 0.25, 0.5, 0.8, 0.2]
    # The same seeds, so the defaults are one and the same game.
    assert len({(trial.tau, trial.trust) for trial in trials if trial.default}) == 1
