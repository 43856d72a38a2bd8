"""What each named attack earns under the real rules."""

from dataclasses import replace

import pytest

from flockoff.simulate.game import play
from flockoff.simulate.outcome import Outcome, measure
from flockoff.simulate.population import Strategy
from flockoff.simulate.scenario import PRESETS


def outcome_of(preset: str, epochs: int = 25) -> Outcome:
    """Among 30 miners and before one validator; what comes late comes in epoch 10."""
    scenario = PRESETS[preset].resized(epochs=epochs, miners=30, validators=1)
    scenario = replace(scenario, miners=replace(scenario.miners, sleepers_turn=10))
    return measure(scenario, play(scenario, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "attacker"),
    [
        ("launderer", Strategy.LAUNDERED),
        ("format-squatter", Strategy.FORMAT_SQUATTER),
        ("update-thief", Strategy.UPDATE_THIEF),
        ("row-copier", Strategy.ROW_COPIER),
        ("evaluation-trainer-sealed", Strategy.CONTAMINATOR),
    ],
)
def test_attack_that_is_found_earns_nothing_and_leaves_its_victim_first(
    preset: str, attacker: Strategy
) -> None:
    outcome = outcome_of(preset)
    assert outcome.shares[attacker] < 0.001
    if Strategy.VICTIM in outcome.shares:
        assert outcome.shares[Strategy.VICTIM] > 0.15


def test_training_on_the_public_set_pays_where_nothing_is_sealed() -> None:
    assert outcome_of("evaluation-trainer").shares[Strategy.CONTAMINATOR] > 0.3


@pytest.mark.slow
def test_sleeper_thaws_also_where_validators_have_no_time_for_the_whole_queue() -> None:
    scenario = PRESETS["sleeper-slow"].resized(epochs=50, miners=30, validators=1)
    scenario = replace(scenario, miners=replace(scenario.miners, sleepers_turn=10))
    game = play(scenario, 0)
    [sleeper] = [place for place, miner in enumerate(game.miners) if miner.strategy is Strategy.SWAPPER]
    assert game.incentive[10, sleeper] > 0.1
    assert game.incentive[-1, sleeper] < 0.001


@pytest.mark.slow
def test_public_squatter_holds_its_users_up_only_until_its_claims_lapse() -> None:
    lapsed, listed = (outcome_of(name) for name in ("public-squatter", "public-squatter-listed"))
    assert lapsed.shares[Strategy.PUBLIC_SQUATTER] < 0.001
    assert lapsed.shares[Strategy.PUBLIC_USER] > 0.6 * listed.shares[Strategy.PUBLIC_USER]


def test_every_attack_of_the_security_page_is_a_scenario() -> None:
    named = {"slow", "token-sybils", "sleeper", "evaluation-trainer", "launderer", "format-squatter"}
    named |= {"public-squatter", "update-thief", "row-copier", "one-ahead", "four-ahead", "twenty-ahead"}
    assert named <= PRESETS.keys()
