"""Epochs: when they run, and their effect on weights."""

from typing import Any

import bittensor
import pytest

from flockoff.localnet.node.subnets import stake_of
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


@pytest.mark.slow
def test_epoch_follows_changed_weights(subnet: Subnet) -> None:
    subnet.next_epoch()
    weigh(subnet, {2: 1.0})
    weigh(subnet, {0: 0.75, 2: 0.25})

    assert neuron(subnet, 0).incentive == pytest.approx(0.75, abs=1e-3)
    assert neuron(subnet, 2).incentive == pytest.approx(0.25, abs=1e-3)


@pytest.mark.slow
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


@pytest.mark.slow
def test_epoch_burns_the_incentive_of_the_owners_hotkey(subnet: Subnet) -> None:
    subnet.next_epoch()
    weigh(subnet, {0: 1.0})
    before = neuron(subnet, 0).alpha_stake.rao
    subnet.next_epoch()

    owner_cut = TEMPO * RAO * 11796 // 65535
    assert neuron(subnet, 0).incentive == 1
    assert neuron(subnet, 0).alpha_stake.rao - before == pytest.approx(owner_cut, abs=2)


@pytest.mark.slow
def test_epoch_burns_the_incentive_of_every_hotkey_of_the_owners_coldkey(
    subnet: Subnet, wallet_of: Any
) -> None:
    spare = wallet_of("spare")
    must(subnet.submit(register(spare), subnet.owner))
    subnet.next_epoch()
    weigh(subnet, {2: 0.5, 3: 0.5})

    assert neuron(subnet, 3).incentive == pytest.approx(0.5, abs=1e-4)
    assert neuron(subnet, 3).emission.rao > 0
    assert neuron(subnet, 3).alpha_stake.rao == 0
    assert neuron(subnet, 2).alpha_stake.rao > 0


def test_epoch_pays_a_validator_a_take_of_what_its_stakers_get(subnet: Subnet) -> None:
    delegator = subnet.miner
    must(subnet.submit(add_stake(subnet.validator, 1000), delegator))
    subnet.next_epoch()
    hotkey = subnet.validator.hotkey.ss58_address

    def stakes() -> list[int]:
        state = subnet.node._chain.state
        coldkeys = (subnet.validator.coldkeypub.ss58_address, delegator.coldkeypub.ss58_address)
        return [stake_of(state, hotkey, coldkey, 1) for coldkey in coldkeys]

    before = stakes()
    weigh(subnet, {2: 1.0})
    own, delegated = (after - earlier for after, earlier in zip(stakes(), before, strict=True))

    paid = neuron(subnet, 1).emission.rao
    assert own + delegated == pytest.approx(paid, abs=10)
    assert delegated == pytest.approx(paid * (1 - 11796 / 65535) * before[1] / sum(before), rel=0.01)


def test_epochs_due_in_one_block_are_as_many_as_the_chain_lets(subnet: Subnet, wallet_of: Any) -> None:
    other = wallet_of("other")
    subnet.fund(other)
    must(subnet.sudo(calls.AdminUtils.sudo_set_network_rate_limit(rate_limit=0)))
    must(subnet.client.execute(bittensor.RegisterSubnet(), other))
    subnet.batch_as_root(
        [
            calls.AdminUtils.sudo_set_max_epochs_per_block(max_epochs_per_block=1),
            calls.AdminUtils.sudo_set_tempo(netuid=1, tempo=60),
            calls.AdminUtils.sudo_set_tempo(netuid=2, tempo=60),
        ]
    )
    start = subnet.next_epoch(after=1)

    assert subnet.client.epochs.epoch_status(1)["last_epoch_block"] == start
    assert subnet.client.epochs.epoch_status(2)["last_epoch_block"] == start + 1


def test_new_subnet_starts_as_on_the_chain(subnet: Subnet) -> None:
    def value(item: str) -> Any:
        return subnet.client.query(("SubtensorModule", item), [1])

    assert value("Yuma3On")
    assert value("MaxAllowedValidators") == 64
    assert value("ImmunityPeriod") == 5000
    assert value("MechanismCountCurrent") == 1


@pytest.mark.slow
def test_epoch_bonds_are_kept_apart_under_yuma3_and_shares_of_a_column_before(subnet: Subnet) -> None:
    subnet.next_epoch()
    weigh(subnet, {2: 1.0})

    def bonds() -> dict[int, int]:
        return dict(subnet.client.query(("SubtensorModule", "Bonds"), [1, 1]))

    assert bonds() == {2: 6553}  # a tenth of the way
    must(subnet.submit(calls.AdminUtils.sudo_set_yuma3_enabled(netuid=1, enabled=False), subnet.owner))
    weigh(subnet, {2: 1.0})
    assert bonds() == {2: 65535}


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
