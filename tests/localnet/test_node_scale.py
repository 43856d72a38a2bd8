"""A full subnet: 256 neurons, 256 commitments."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bittensor_core
import pytest

from flockoff.localnet.node import Node, NodeSettings
from tests.support.local_chain import (
    FAST,
    RAO,
    TEMPO,
    Bench,
    Subnet,
    calls,
    commitment,
    connected,
    disconnect,
    must,
    register,
)
from tests.support.local_subnet import SOON, enter_next_epoch

# An epoch comes where a test says so: filling takes long enough on a busy machine for one to come by itself.
STILL = replace(FAST, tempo=20_000)
NEURONS = 256
NO_WAIT = {"wait_for_inclusion": False, "wait_for_finalization": False, "period": None}


KEYS = [bittensor_core.Keypair.create_from_uri(f"//miner{number}") for number in range(NEURONS - 3)]


@pytest.fixture(scope="module")
def filled(prepared_of: Callable[[NodeSettings], Subnet]) -> Subnet:
    """A full subnet whose miners have all committed, on a node that has been stopped."""
    prepared = prepared_of(STILL)
    with Node(STILL, fork_of=prepared.node) as node:
        bench = connected(node)
        subnet = replace(prepared, node=node, client=bench.client)
        must(subnet.sudo(calls.AdminUtils.sudo_set_max_burn(netuid=1, max_burn=RAO)))  # else each costs 100
        pallet = calls.SubtensorModule
        registrations = [pallet.burned_register(netuid=1, hotkey=key.ss58_address) for key in KEYS]
        subnet.batch(registrations, subnet.miner)
        for number, key in enumerate(KEYS):
            must(subnet.submit(commitment(f"dataset {number}".encode()), key, **NO_WAIT))
        node.advance(2)
        disconnect(bench)
    return subnet


@pytest.fixture
def full(filled: Subnet, bench_of: Callable[..., Bench]) -> Subnet:
    bench = bench_of(STILL, filled.node)
    return replace(filled, node=bench.node, client=bench.client)


@pytest.mark.slow
def test_metagraph_full_subnet_takes_as_many_requests_as_a_small_one(subnet: Subnet, full: Subnet) -> None:
    metagraph = full.client.subnets.metagraph(1)

    assert len(metagraph) == NEURONS
    assert metagraph.commitments[NEURONS - 1].value == f"dataset {len(KEYS) - 1}"
    assert requests_of(full) - requests_of(subnet) <= 6  # pages of a hundred commitments


@pytest.mark.slow
def test_epoch_full_subnet_keeps_the_rhythm(full: Subnet) -> None:
    left = full.client.epochs.epoch_status(1)["next_epoch_start_block"] - full.node.block
    start = time.process_time()
    full.node.advance(TEMPO - SOON)
    enter_next_epoch(full.node, 1, left)

    assert time.process_time() - start < 5  # a hundred blocks and one epoch over 256 neurons


@pytest.mark.slow
def test_registration_on_a_full_subnet_evicts_the_weakest(full: Subnet, wallet_of: Any) -> None:
    must(full.submit(register(wallet_of("new")), full.owner))

    metagraph = full.client.subnets.metagraph(1)
    assert len(metagraph) == NEURONS
    assert metagraph.by_hotkey(full.validator.hotkey.ss58_address) is None  # earliest of the equally weak
    assert metagraph.by_hotkey(KEYS[0].ss58_address) is not None


def requests_of(subnet: Subnet) -> int:
    """The number of requests that one metagraph with its commitments takes."""
    before = sum(subnet.node.requests.values())
    subnet.client.subnets.metagraph(1)
    return sum(subnet.node.requests.values()) - before
