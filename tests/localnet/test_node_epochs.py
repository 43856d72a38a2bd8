"""Epochs: when they run, and what they make of the weights."""

from typing import Any

import bittensor
import pytest

from tests.support.local_chain import RAO, TEMPO, Subnet, add_stake, block_of, calls, error_of, must, register


def weigh(subnet: Subnet, weights: dict[int, float]) -> None:
    """Set the validator's weights and go to the epoch that counts them."""
    must(subnet.client.execute(bittensor.SetWeights(netuid=1, weights=weights), subnet.validator))
    subnet.next_epoch()


def neuron(subnet: Subnet, uid: int) -> Any:
    """A neuron as the metagraph shows it."""
    return subnet.client.subnets.metagraph(1).neurons[uid]


def test_epoch_starts_a_tempo_after_the_last_one(subnet: Subnet) -> None:
    first = subnet.next_epoch()
    status = subnet.client.epochs.epoch_status(1)

    assert status["last_epoch_block"] == first
    assert status["next_epoch_start_block"] == first + TEMPO
    assert status["blocks_since_last_step"] == status["block"] - first


def test_epoch_gives_the_staked_validator_a_permit(subnet: Subnet) -> None:
    subnet.next_epoch()

    assert neuron(subnet, 1).validator_permit
    assert not neuron(subnet, 2).validator_permit


def test_epoch_turns_weights_into_incentive_dividends_and_stake(subnet: Subnet) -> None:
    subnet.next_epoch()
    stake_before = neuron(subnet, 2).alpha_stake.rao
    weigh(subnet, {2: 1.0})

    miner, validator = neuron(subnet, 2), neuron(subnet, 1)
    assert (miner.incentive, miner.consensus, validator.dividends) == (1.0, 1.0, 1.0)
    assert miner.emission.rao == pytest.approx(TEMPO * RAO * 0.82 / 2, rel=1e-4)
    assert miner.alpha_stake.rao > stake_before


def test_epoch_follows_changed_weights(subnet: Subnet) -> None:
    subnet.next_epoch()
    weigh(subnet, {2: 1.0})
    weigh(subnet, {0: 0.75, 2: 0.25})

    assert neuron(subnet, 0).incentive == pytest.approx(0.75, abs=1e-3)
    assert neuron(subnet, 2).incentive == pytest.approx(0.25, abs=1e-3)


def test_epoch_clips_a_minority_that_weighs_otherwise(subnet: Subnet, wallet_of: Any) -> None:
    """A validator with a fifth of the stake cannot lift a miner that the others do not weigh."""
    minority = wallet_of("minority")
    subnet.fund(minority)
    subnet.batch([register(minority), add_stake(minority, 250)], minority)
    subnet.next_epoch()
    must(subnet.client.execute(bittensor.SetWeights(netuid=1, weights={3: 1.0}), minority))
    weigh(subnet, {2: 1.0})

    assert neuron(subnet, 3).consensus == 0
    assert neuron(subnet, 2).incentive == 1


def test_epoch_burns_the_incentive_of_the_owners_hotkey(subnet: Subnet) -> None:
    subnet.next_epoch()
    weigh(subnet, {0: 1.0})
    before = neuron(subnet, 0).alpha_stake.rao
    subnet.next_epoch()

    owner_cut = TEMPO * RAO * 11796 // 65535
    assert neuron(subnet, 0).incentive == 1
    assert neuron(subnet, 0).alpha_stake.rao - before == pytest.approx(owner_cut, abs=2)


def test_tempo_changed_by_sudo_starts_a_new_cycle(subnet: Subnet) -> None:
    changed = must(subnet.sudo(calls.AdminUtils.sudo_set_tempo(netuid=1, tempo=80)))

    assert subnet.client.epochs.epoch_status(1)["next_epoch_start_block"] == block_of(changed) + 80


def test_hyperparameter_owner_may_change_some_and_not_others(subnet: Subnet) -> None:
    mine = calls.AdminUtils.sudo_set_immunity_period(netuid=1, immunity_period=7)
    roots = calls.AdminUtils.sudo_set_weights_set_rate_limit(netuid=1, weights_set_rate_limit=7)

    must(subnet.submit(mine, subnet.owner))
    assert error_of(subnet.submit(roots, subnet.owner)) == "BadOrigin"
    assert error_of(subnet.submit(mine, subnet.miner)) == "BadOrigin"
    assert subnet.client.subnets.subnet_hyperparameters(1)["immunity_period"] == 7
