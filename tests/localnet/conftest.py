"""Fixtures of a local node, alone or with a subnet on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bittensor
import bittensor_core
import pytest

from flockoff.localnet.node import Node, NodeSettings
from tests.support.local_chain import FAST, Bench, Subnet, close_client, prepare_subnet


@pytest.fixture
def run_node() -> Iterator[Callable[[NodeSettings], Node]]:
    """Start nodes that stop with the test."""
    nodes: list[Node] = []

    def run(settings: NodeSettings) -> Node:
        node = Node(settings)
        node.start()
        nodes.append(node)
        return node

    yield run
    for node in nodes:
        node.stop()


@pytest.fixture
def wallet_of(tmp_path: Path) -> Callable[[str], Any]:
    """Make a wallet on disk."""

    def make(name: str) -> Any:
        wallet = bittensor.Wallet(name, "hot", path=str(tmp_path / "wallets"))
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(suppress=True)
        return wallet

    return make


@pytest.fixture
def bench_of(run_node: Callable[[NodeSettings], Node]) -> Iterator[Callable[[NodeSettings], Bench]]:
    """Start a node and connect the SDK to it."""
    benches: list[Bench] = []

    def make(settings: NodeSettings) -> Bench:
        node = run_node(settings)
        client = bittensor.Subtensor(node.endpoint)
        benches.append(Bench(node, client, bittensor_core.Keypair.create_from_uri("//Alice")))
        return benches[-1]

    yield make
    for bench in benches:
        bench.node.stop()  # first, because the SDK's close can hang while answers still arrive
        close_client(bench.client)


@pytest.fixture
def subnet_of(
    bench_of: Callable[[NodeSettings], Bench], wallet_of: Callable[[str], Any]
) -> Callable[[NodeSettings], Subnet]:
    """Start a node and prepare a subnet on it."""

    def make(settings: NodeSettings) -> Subnet:
        return prepare_subnet(
            bench_of(settings), wallet_of("owner"), wallet_of("validator"), wallet_of("miner")
        )

    return make


@pytest.fixture
def subnet(subnet_of: Callable[[NodeSettings], Subnet]) -> Subnet:
    """A prepared subnet with fast blocks, short epochs and no rate limit."""
    return subnet_of(FAST)


@pytest.fixture
def bench(bench_of: Callable[[NodeSettings], Bench]) -> Bench:
    """A fresh chain with fast blocks."""
    return bench_of(FAST)
