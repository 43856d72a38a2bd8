"""Weights: the chain's checks, in the clear and under commit-reveal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bittensor
import bittensor_core
import pytest

from flockoff.localnet.node import NodeSettings
from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.timelock import due_rounds, round_time, store_pulse, unseal
from tests.support.local_chain import FAST, RAO, Subnet, block_of, calls, error_of, must
from tests.support.sealed_weights import NEVER, PULSE, ROUND, publish_pulse, seal, sealed_for_round

SEALED = replace(FAST, commit_reveal=True)


def set_weights(subnet: Subnet, weights: dict[int, int], *, version_key: int = 0, by: Any = None) -> Any:
    """Submit integer weights as they are, without the SDK's own checks."""
    call = calls.SubtensorModule.set_mechanism_weights(
        netuid=1, mecid=0, dests=list(weights), weights=list(weights.values()), version_key=version_key
    )
    return subnet.submit(call, by or subnet.validator, signer="hotkey")


def permitted(subnet: Subnet) -> Subnet:
    """The subnet after an epoch has given the validator its permit."""
    subnet.next_epoch()
    return subnet


def neuron(subnet: Subnet, uid: int) -> Any:
    """A neuron as the metagraph shows it."""
    return subnet.client.subnets.metagraph(1).neurons[uid]


def stored(subnet: Subnet, uid: int, *, block: int | None = None) -> dict[int, int]:
    """A uid's weights as the chain has them, now or at a block."""
    view = subnet.client if block is None else subnet.client.at(block)
    return dict(view.query(bittensor.storage.SubtensorModule.Weights, [1, uid]))


def test_weights_of_the_sdk_are_stored_upscaled(subnet: Subnet) -> None:
    permitted(subnet)

    intent = bittensor.SetWeights(netuid=1, weights={0: 0.25, 2: 0.75})
    result = must(subnet.client.execute(intent, subnet.validator))

    assert stored(subnet, 1) == {0: 21845, 2: 65535}
    assert subnet.client.subnets.metagraph(1).neurons[1].last_update == block_of(result)


def test_weights_without_permit_are_refused(subnet: Subnet) -> None:
    assert error_of(set_weights(subnet, {2: 1})) == "NeuronNoValidatorPermit"


def test_weights_of_the_owner_or_on_oneself_need_no_permit(subnet: Subnet) -> None:
    must(set_weights(subnet, {2: 1}, by=subnet.owner))
    must(set_weights(subnet, {2: 1}, by=subnet.miner))


def test_weights_are_scaled_to_the_nearest_and_keep_their_zeros(subnet: Subnet) -> None:
    permitted(subnet)

    must(set_weights(subnet, {0: 1, 1: 0, 2: 2}))

    assert stored(subnet, 1) == {0: 32768, 1: 0, 2: 65535}


def test_weights_too_early_are_refused_by_sdk_and_by_pool(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = subnet_of(replace(FAST, weights_rate_limit=200))

    with pytest.raises(bittensor.ChainError, match="rate limit is 200 blocks"):
        subnet.client.execute(bittensor.SetWeights(netuid=1, weights={2: 1.0}), subnet.validator)
    assert error_of(set_weights(subnet, {2: 1})) == "RateLimitExceeded"


def test_weights_of_an_unregistered_hotkey_are_refused(subnet: Subnet, wallet_of: Any) -> None:
    stranger = wallet_of("stranger")
    with pytest.raises(bittensor.ChainError, match="not registered"):
        subnet.client.execute(bittensor.SetWeights(netuid=1, weights={2: 1.0}), stranger)

    assert error_of(set_weights(subnet, {2: 1}, by=subnet.alice)) == "HotKeyNotRegisteredInSubNet"


def test_weights_with_too_little_stake_are_refused(subnet: Subnet) -> None:
    must(subnet.sudo(calls.AdminUtils.sudo_set_stake_threshold(min_stake=10_000 * RAO)))

    assert error_of(set_weights(permitted(subnet), {2: 1})) == "StakeAmountTooLow"
    must(set_weights(subnet, {2: 1}, by=subnet.owner))  # who needs none


def test_weights_with_an_old_version_key_are_refused(subnet: Subnet) -> None:
    must(subnet.sudo(calls.AdminUtils.sudo_set_weights_version_key(netuid=1, weights_version_key=7)))
    permitted(subnet)

    assert error_of(set_weights(subnet, {2: 1}, version_key=6)) == "IncorrectWeightVersionKey"
    must(set_weights(subnet, {2: 1}, version_key=7))


def test_weights_shape_is_checked(subnet: Subnet) -> None:
    permitted(subnet)

    def submit(dests: list[int], weights: list[int], by: Any = subnet.validator) -> str:
        call = calls.SubtensorModule.set_weights(netuid=1, dests=dests, weights=weights, version_key=0)
        return error_of(subnet.submit(call, by, signer="hotkey"))

    assert submit([0, 2], [1]) == "WeightVecNotEqualSize"
    assert submit([2, 2], [1, 1]) == "DuplicateUids"
    assert submit([9], [1]) == "UidVecContainInvalidOne"
    assert submit([0, 1, 2, 3], [1, 1, 1, 1]) == "UidsLengthExceedUidsInSubNet"
    assert submit([0, 1, 2, 3], [1, 1, 1, 1], by=subnet.alice) == "UidsLengthExceedUidsInSubNet"


def test_weights_have_a_least_number_and_no_limit_of_size(subnet: Subnet) -> None:
    must(subnet.sudo(calls.AdminUtils.sudo_set_min_allowed_weights(netuid=1, min_allowed_weights=2)))
    permitted(subnet)
    assert error_of(set_weights(subnet, {2: 1})) == "WeightVecLengthIsLow"

    # The chain's MaxWeightsLimit is a constant; what an older runtime has stored under the name is nothing.
    key = subnet.node._chain.runtime.key("SubtensorModule", "MaxWeightsLimit", 1)
    must(subnet.sudo(calls.System.set_storage(items=[(key, (32768).to_bytes(2, "little"))])))
    must(set_weights(subnet, {0: 1, 2: 3}))
    assert subnet.client.subnets.subnet_hyperparameters(1)["max_weights_limit"] == 65535


@pytest.mark.slow
def test_weights_in_the_clear_are_refused_where_they_have_to_be_sealed(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))

    assert error_of(set_weights(subnet, {2: 1})) == "CommitRevealEnabled"


def test_weights_sealed_by_the_sdk_wait_under_their_epoch(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))

    intent = bittensor.SetWeights(netuid=1, weights={2: 1.0})
    result = must(subnet.client.execute(intent, subnet.validator))

    epoch = subnet.client.epochs.epoch_status(1)["epoch_index"]
    queue = subnet.client.query(bittensor.storage.SubtensorModule.TimelockedWeightCommits, [1, epoch])
    ((hotkey, _block, _sealed, reveal_round),) = queue
    assert hotkey == subnet.validator.hotkey.ss58_address
    assert reveal_round == result.data["reveal_round"]
    assert stored(subnet, 1) == {}


@pytest.mark.slow
def test_weights_sealed_are_opened_before_the_next_epoch_is_decided(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))
    publish_pulse(subnet)

    must(_commit(subnet, _sealed(bytes(subnet.validator.hotkey.public_key), [2], [5])))
    start = subnet.next_epoch(after=1)

    assert stored(subnet, 1, block=start - 1) == {}
    assert stored(subnet, 1, block=start) == {2: 65535}
    assert subnet.client.at(start).subnets.metagraph(1).neurons[2].incentive == 1
    assert subnet.client.query(bittensor.storage.SubtensorModule.TimelockedWeightCommits, [1, 1]) == []


@pytest.mark.slow
def test_weights_sealed_before_a_newcomer_came_do_not_pay_it(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))
    publish_pulse(subnet)
    sealed = _sealed(bytes(subnet.validator.hotkey.public_key), [0, 2], [1, 1])
    must(_commit(subnet, sealed))
    subnet.next_epoch(after=1)
    assert neuron(subnet, 2).incentive == pytest.approx(0.5, abs=1e-4)

    must(_commit(subnet, b"never to be opened", reveal_round=NEVER))  # uid 2 changes hands with it under way
    newcomer = bittensor_core.Keypair.create_from_uri("//Newcomer").ss58_address
    subnet.node.faults.replace(netuid=1, uid=2, hotkey=newcomer)
    subnet.next_epoch(after=1)

    assert stored(subnet, 1) == {0: 65535, 2: 0}
    assert neuron(subnet, 2).incentive == 0


def test_weights_sealed_for_another_hotkey_or_as_garbage_are_void(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))
    publish_pulse(subnet)

    must(_commit(subnet, _sealed(bytes(subnet.miner.hotkey.public_key), [2], [5])))
    must(_commit(subnet, b"garbage"))
    subnet.next_epoch(after=1)

    assert stored(subnet, 1) == {}


@pytest.mark.slow
def test_weights_sealed_expire_when_their_pulse_never_comes(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = permitted(subnet_of(SEALED))
    epoch = subnet.client.epochs.epoch_status(1)["epoch_index"]
    must(_commit(subnet, b"sealed for ever", reveal_round=NEVER))

    def waiting() -> list[Any]:
        item = bittensor.storage.SubtensorModule.TimelockedWeightCommits
        return list(subnet.client.query(item, [1, epoch]))

    subnet.next_epoch(after=1)  # its own: the pulse may still come
    assert len(waiting()) == 1
    subnet.next_epoch()

    assert waiting() == []
    assert stored(subnet, 1) == {}


def test_commit_with_another_version_or_where_disabled_is_refused(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = subnet_of(FAST)
    assert error_of(_commit(subnet, b"x")) == "CommitRevealDisabled"
    must(subnet.sudo(calls.AdminUtils.sudo_set_commit_reveal_weights_enabled(netuid=1, enabled=True)))
    assert error_of(_commit(subnet, b"x", version=3)) == "IncorrectCommitRevealVersion"


def test_due_rounds_names_what_is_published_waited_for_and_unknown() -> None:
    state = LocalChain(NodeSettings(block_seconds=0)).state
    hotkey = bittensor_core.Keypair.create_from_uri("//Alice").ss58_address
    state.put("NetworksAdded", 1, True)
    state.put("TimelockedWeightCommits", 1, 0, [(hotkey, 1, b"sealed", ROUND)])

    assert due_rounds(state, round_time(ROUND) - 1) == []
    assert due_rounds(state, round_time(ROUND)) == [ROUND]
    store_pulse(state, ROUND, PULSE)
    assert due_rounds(state, round_time(ROUND)) == []


def test_unseal_gives_what_the_sdk_sealed() -> None:
    wallet = bittensor_core.Keypair.create_from_uri("//Alice")
    sealed = _sealed(bytes(wallet.public_key), [1, 2], [3, 65535], version_key=9)

    assert unseal(sealed, ROUND, PULSE, wallet.ss58_address) == ([1, 2], [3, 65535], 9)


def _commit(subnet: Subnet, sealed: bytes, *, reveal_round: int = ROUND, version: int = 4) -> Any:
    return seal(subnet, subnet.validator, (sealed, reveal_round), version=version)


def _sealed(hotkey: bytes, uids: list[int], values: list[int], *, version_key: int = 0) -> bytes:
    return sealed_for_round(hotkey, uids, values, version_key=version_key)[0]
