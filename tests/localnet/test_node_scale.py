"""A full subnet: 256 neurons, 256 commitments."""

import time
from typing import Any

import bittensor_core

from tests.support.local_chain import RAO, Subnet, calls, commitment, must, register

NEURONS = 256
NO_WAIT = {"wait_for_inclusion": False, "wait_for_finalization": False, "period": None}


def fill(subnet: Subnet) -> list[Any]:
    """Register hotkeys until the subnet is full; gives those hotkeys' keypairs."""
    keys = [bittensor_core.Keypair.create_from_uri(f"//miner{number}") for number in range(NEURONS - 3)]
    must(subnet.sudo(calls.AdminUtils.sudo_set_max_burn(netuid=1, max_burn=RAO)))  # else a uid costs 100 TAO
    registrations = [calls.SubtensorModule.burned_register(netuid=1, hotkey=key.ss58_address) for key in keys]
    subnet.batch(registrations, subnet.miner)
    return keys


def test_metagraph_full_subnet_is_fast_and_takes_as_many_requests_as_a_small_one(subnet: Subnet) -> None:
    small = requests_of(subnet)
    keys = fill(subnet)
    for number, key in enumerate(keys):
        must(subnet.submit(commitment(f"dataset {number}".encode()), key, **NO_WAIT))
    subnet.node.advance(2)

    full = requests_of(subnet)
    start = time.perf_counter()
    metagraph = subnet.client.subnets.metagraph(1)
    seconds = time.perf_counter() - start

    assert len(metagraph) == NEURONS
    assert metagraph.commitments[NEURONS - 1].value == f"dataset {len(keys) - 1}"
    assert seconds < 1
    assert full - small <= 6  # pages of a hundred commitments


def test_epoch_full_subnet_keeps_the_rhythm(subnet: Subnet) -> None:
    fill(subnet)
    start = time.perf_counter()
    subnet.next_epoch()

    assert time.perf_counter() - start < 5  # a hundred blocks and one epoch over 256 neurons


def test_registration_on_a_full_subnet_evicts_the_weakest(subnet: Subnet, wallet_of: Any) -> None:
    keys = fill(subnet)

    must(subnet.submit(register(wallet_of("new")), subnet.owner))

    metagraph = subnet.client.subnets.metagraph(1)
    assert len(metagraph) == NEURONS
    assert metagraph.by_hotkey(subnet.validator.hotkey.ss58_address) is None  # earliest of the equally weak
    assert metagraph.by_hotkey(keys[0].ss58_address) is not None


def requests_of(subnet: Subnet) -> int:
    """The number of requests that one metagraph with its commitments takes."""
    before = sum(subnet.node.requests.values())
    subnet.client.subnets.metagraph(1)
    return sum(subnet.node.requests.values()) - before
