"""Fixtures of a local node, alone or with a subnet on it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import bittensor
import pytest

from flockoff.localnet.node import Node, NodeSettings
from tests.support.local_chain import FAST, Bench, Subnet, connected, disconnect, prepare_subnet


def make_wallet(folder: Path, name: str) -> Any:
    wallet = bittensor.Wallet(name, "hot", path=str(folder))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(suppress=True)
    return wallet


@pytest.fixture
def run_node() -> Iterator[Callable[..., Node]]:
    """Start nodes that stop with the test."""
    nodes: list[Node] = []

    def run(settings: NodeSettings, fork_of: Node | None = None) -> Node:
        node = Node(settings, fork_of=fork_of)
        node.start()
        nodes.append(node)
        return node

    yield run
    for node in nodes:
        node.stop()


@pytest.fixture
def wallet_of(tmp_path: Path) -> Callable[[str], Any]:
    """Make a wallet on disk."""

    return partial(make_wallet, tmp_path / "wallets")


@pytest.fixture
def bench_of(run_node: Callable[..., Node]) -> Iterator[Callable[..., Bench]]:
    """Start a node and connect the SDK to it."""
    benches: list[Bench] = []

    def make(settings: NodeSettings, fork_of: Node | None = None) -> Bench:
        benches.append(connected(run_node(settings, fork_of)))
        return benches[-1]

    yield make
    for bench in benches:
        disconnect(bench)


@pytest.fixture(scope="session")
def prepared_of(
    isolated_home: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[NodeSettings], Subnet]:
    """Prepare a subnet on a node that then stops; each of its kind is prepared once."""

    @cache
    def prepare(kind: NodeSettings) -> Subnet:
        wallets = tmp_path_factory.mktemp("wallets")
        with Node(replace(kind, block_seconds=0.02, instant=True)) as node:
            bench = connected(node)
            names = ("owner", "validator", "miner")
            subnet = prepare_subnet(bench, *(make_wallet(wallets, name) for name in names))
            disconnect(bench)
        return subnet

    return prepare


@pytest.fixture
def subnet_of(
    bench_of: Callable[..., Bench], prepared_of: Callable[[NodeSettings], Subnet]
) -> Callable[[NodeSettings], Subnet]:
    """Start a node that continues from a prepared subnet. Its wallets are shared."""

    def make(settings: NodeSettings) -> Subnet:
        prepared = prepared_of(settings)
        bench = bench_of(settings, prepared.node)
        return replace(prepared, node=bench.node, client=bench.client)

    return make


@pytest.fixture
def subnet(subnet_of: Callable[[NodeSettings], Subnet]) -> Subnet:
    """A prepared subnet with fast blocks, short epochs and no rate limit."""
    return subnet_of(FAST)


@pytest.fixture
def bench(bench_of: Callable[[NodeSettings], Bench]) -> Bench:
    """A fresh chain with fast blocks."""
    return bench_of(FAST)
