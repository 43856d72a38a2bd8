"""Small games compared with hand-computed numbers, and invariants of every game."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flockoff.simulate.game import ValidatorRole, play
from flockoff.simulate.population import USUAL_TOKENS, GameDataset, Miner, Move, Strategy, populate
from flockoff.simulate.scenario import PRESETS, Data, Miners, Scenario, Validators
from tests.support.examples import examples
from tests.support.small_games import earned, honest_validators, miner, silent_game


def small(preset: str, seed: int = 0) -> tuple[Scenario, list[Miner]]:
    scenario = PRESETS[preset].resized(epochs=12, miners=44, validators=None)
    return scenario, populate(scenario, seed)


def test_game_three_miners_earn_the_hand_computed_shares() -> None:
    miners = [miner("worst", -0.02, offset=3), miner("best", -0.06, offset=1), miner("next", -0.04, offset=2)]

    history = play(silent_game(1, pay="win_rate"), 0, miners=miners)

    # Win rates 1, 1/2 and 0; shares in proportion to 1, exp(-6.25) = 0.00193 and exp(-12.5) = 0.0000037.
    # Of 65535 these are 65535, 126.5 -> 127 and 0.24 -> 0.
    second = 127 / (65535 + 127)
    assert earned(miners, history.incentive[0]) == pytest.approx(
        {"best": 1 - second, "next": second, "worst": 0.0}
    )
    assert history.burned.tolist() == [0.0]
    assert history.validator_trust.tolist() == [[1.0]]


def test_game_newcomer_grows_by_the_moving_average() -> None:
    """With the whole share from its first evaluation, n evaluations make its score 1 - 0.8**n."""
    miners = [miner("old", -0.04), miner("new", -0.06, epoch=60)]

    history = play(
        silent_game(70, pay="win_rate", consensus_blend=0.0, max_vtrust_loss=1.0), 0, miners=miners
    )

    assert history.incentive[59, 1] == 0.0  # committed in epoch 60, and counts from 61 on
    np.testing.assert_allclose(history.incentive[60:66, 1], 1 - 0.8 ** np.arange(1, 7), atol=1e-4)


def test_game_better_by_less_than_epsilon_loses_to_the_earlier() -> None:
    miners = [miner("later", -0.063, offset=9), miner("earlier", -0.06, offset=1)]

    history = play(silent_game(1, pay="win_rate"), 0, miners=miners)

    assert earned(miners, history.incentive[0])["earlier"] == 1.0


def test_game_by_distance_the_worse_of_two_gets_half_of_the_last_prize() -> None:
    """It is four clear wins behind, which count as 3 - 4 / (4 + 1) = 2.2."""
    miners = [miner("best", -0.06), miner("worse", -0.0408163265)]  # 0.94 / 0.9592 = 1 - 4 * 0.005
    history = play(silent_game(1), 0, miners=miners)
    level, end = math.exp(-2.2 / 1.47), math.exp(-2.45 / 1.47)
    last = (level - end) / (1 - end)  # the prize beyond the worse, which both share evenly
    assert earned(miners, history.incentive[0]) == pytest.approx(
        {"best": 1 - last / 2, "worse": last / 2}, abs=1e-4
    )


@pytest.mark.parametrize("content", ["victim", "copy"])
def test_game_copy_of_the_same_loss_or_content_earns_nothing(content: str) -> None:
    miners = [miner("copy", -0.06, epoch=1, content=content), miner("victim", -0.06), miner("other", -0.05)]

    history = play(silent_game(30), 0, miners=miners)

    assert history.incentive[:, 0].max() == 0.0


def test_game_copy_committed_before_its_original_was_evaluated_loses_what_it_won() -> None:
    """The queue may come to the copy first; the original's earlier commitment then makes it a duplicate."""
    others = [miner(f"other-{number}", -0.01, offset=number) for number in range(60)]
    original = miner("original", -0.06, offset=200)
    copy = miner("copy", -0.06, offset=201, content="original")

    history = play(silent_game(40), 0, miners=[copy, original, *others])

    assert history.incentive[-1, 0] == 0.0
    assert history.incentive[-1, 1] > 0.2


def test_game_contaminated_dataset_that_is_found_out_earns_nothing() -> None:
    cheat = GameDataset("cheat", -0.5, "cheat", contaminated=True)
    miners = [Miner("cheat", Strategy.CONTAMINATOR, (Move(0, 0, cheat),)), miner("fair", -0.01)]

    history = play(silent_game(5), 0, miners=miners)

    assert history.incentive[-1].tolist() == [0.0, 1.0]


def test_game_without_any_dataset_burns_everything() -> None:
    history = play(silent_game(3), 0, miners=[miner("late", -0.06, epoch=10)])

    assert history.burned.tolist() == [1.0, 1.0, 1.0]
    assert history.incentive.sum() == 0.0


def test_game_dishonest_minority_buys_its_friend_nothing() -> None:
    validators = Validators(total=3, weight_copiers=0, dishonest=1, flaky=0, favour=0.5)
    miners = [miner("good", -0.06), miner("friend", 0.05, strategy=Strategy.FRIEND)]

    history = play(silent_game(10, validators, pay="win_rate"), 0, miners=miners)

    assert history.incentive[-1].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(history.validator_trust[-1], [1.0, 1.0, 0.5], atol=1e-4)


def test_game_weight_copier_follows_one_epoch_behind() -> None:
    validators = Validators(total=3, weight_copiers=1, dishonest=0, flaky=0)
    miners = [miner("old", -0.04), miner("new", -0.06, epoch=60)]

    history = play(
        silent_game(61, validators, pay="win_rate", consensus_blend=0.0, max_vtrust_loss=1.0),
        0,
        miners=miners,
    )

    assert history.roles == (ValidatorRole.HONEST, ValidatorRole.HONEST, ValidatorRole.WEIGHT_COPIER)
    # The others moved .2 from the old to the new one; the copier still has all on the old one.
    np.testing.assert_allclose(history.validator_trust[60], [1.0, 1.0, 0.8], atol=1e-4)


@pytest.mark.slow
def test_game_flaky_validator_that_was_away_recovers() -> None:
    validators = Validators(total=4, weight_copiers=0, dishonest=0, flaky=1)
    miners = [miner("good", -0.06), miner("fair", -0.04)]

    history = play(silent_game(60, validators), 0, miners=miners)

    assert history.roles[-1] is ValidatorRole.FLAKY
    assert history.validator_trust[-1, -1] > 0.99


@settings(max_examples=examples(8))
@given(seed=st.integers(0, 2**32), preset=st.sampled_from(sorted(PRESETS.keys() - {"token-sybils"})))
def test_game_incentive_and_burn_sum_to_one_in_every_epoch(seed: int, preset: str) -> None:
    scenario, miners = small(preset, seed)

    history = play(replace(scenario, epochs=4), seed, miners=miners)

    np.testing.assert_allclose(history.incentive.sum(axis=1) + history.burned, 1.0)
    np.testing.assert_allclose(history.dividends.sum(axis=1), 1.0)
    assert (history.validator_trust >= 0).all() and (history.validator_trust <= 1).all()


@pytest.mark.slow
@settings(max_examples=examples(6))
@given(order=st.permutations(range(44)))
def test_game_order_of_the_miners_changes_nothing(order: list[int]) -> None:
    scenario, miners = small("mixed")
    shuffled = [miners[index] for index in order]

    before, after = play(scenario, 5, miners=miners), play(scenario, 5, miners=shuffled)

    # Sums in another order differ in the last bit, which the chain's rounding can make one step of 1/65535.
    np.testing.assert_allclose(before.incentive[:, order], after.incentive, atol=1e-4)
    np.testing.assert_allclose(before.validator_trust, after.validator_trust, atol=1e-3)


def test_game_same_seed_is_the_same_game() -> None:
    scenario, _ = small("mixed")

    one, same, other = play(scenario, 1), play(scenario, 1), play(scenario, 2)

    np.testing.assert_array_equal(one.incentive, same.incentive)
    assert (one.incentive != other.incentive).any()


def test_game_identical_hardware_makes_identical_validators() -> None:
    scenario = silent_game(10, honest_validators(3))
    miners = [miner(f"m{number}", -0.01 * number, offset=number) for number in range(6)]

    history = play(scenario, 0, miners=miners)

    np.testing.assert_allclose(history.validator_trust, 1.0)


def test_game_calls_back_before_every_epoch() -> None:
    calls: list[int] = []

    play(silent_game(7), 0, miners=[miner("one", -0.05)], between_epochs=lambda: calls.append(1))

    assert len(calls) == 7


def test_populate_counts_are_the_scenarios() -> None:
    scenario = Scenario()

    miners = populate(scenario, 0)
    strategies = [each.strategy for each in miners]

    assert len({each.hotkey for each in miners}) == len(miners) == scenario.miners.total
    assert strategies.count(Strategy.FIRST_SYBIL) == 1
    assert strategies.count(Strategy.SYBIL) == scenario.miners.sybils - 1
    assert strategies.count(Strategy.HONEST) == scenario.miners.honest - 1  # one is the validator's friend


def test_populate_copies_come_after_what_they_copy() -> None:
    miners = populate(PRESETS["copiers"], 0)
    first = {
        submission.dataset.content: (submission.epoch, submission.offset)
        for each in miners
        if each.strategy in (Strategy.HONEST, Strategy.NEWCOMER)
        for submission in each.submissions
    }
    copiers = [each for each in miners if each.strategy is Strategy.EXACT_COPIER]

    assert len(copiers) == 16
    for copier in copiers:
        assert [copy.epoch for copy in copier.submissions] == [1, 51]  # of the best at first, of the newcomer
        assert all((copy.epoch, copy.offset) > first[copy.dataset.content] for copy in copier.submissions)


@pytest.mark.parametrize(("recall", "found"), [(0.0, 0), (1.0, 3)])
def test_populate_recall_decides_what_is_found_out(recall: float, found: int) -> None:
    scenario = replace(
        Scenario(), data=Data(contamination_recall=recall), miners=Miners(total=64, contaminators=3)
    )

    datasets = [each.submissions[0].dataset for each in populate(scenario, 0)]

    assert sum(dataset.contaminated for dataset in datasets) == found


def test_game_slow_validators_come_to_everyone_in_turn() -> None:
    """Time for 2 of 12 datasets an epoch, of which the best are last in line."""
    miners = [miner(f"m{number}", -0.04 - 0.01 * number, offset=number) for number in range(12)]
    scenario = silent_game(9, replace(honest_validators(1), capacity=2 * USUAL_TOKENS))  # 1.5 rounds

    history = play(scenario, 0, miners=miners)

    assert (history.incentive[-1, 6:] > 0).all()


def test_game_swapper_keeps_its_score_only_where_nothing_thaws() -> None:
    other = miner("other", -0.04)
    good = GameDataset("good", -0.06, "good")
    swapper = Miner(
        "swapper",
        Strategy.SWAPPER,
        (Move(0, 0, good), Move(5, 0, replace(good, name="x", content="x", endless=True))),
    )

    frozen, thawed = (
        play(silent_game(30, thaw_after=after), 0, miners=[swapper, other]).incentive[:, 0]
        for after in (1000, 3)
    )

    assert (frozen[:7] == thawed[:7]).all()  # up to the second turn that it makes a worker miss
    assert frozen[-1] > 0.3 and thawed[-1] < 0.02
