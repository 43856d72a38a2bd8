"""A subnet on the chain under test: the node double, or the Subtensor of ``--subtensor URL``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flockoff.chain import SubtensorChain, WalletRef, open_chain
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet, SubnetPlan, prepare_subnet

OpenChain = Callable[..., SubtensorChain]


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest, isolated_home: None) -> Iterator[str]:
    given: str | None = request.config.getoption("--subtensor")
    if given:
        yield given
        return
    with Node(NodeSettings(port=0, block_seconds=0.05)) as node:
        yield node.endpoint


@pytest.fixture(scope="session")
def plan(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> SubnetPlan:
    """Three miners and a validator, short epochs, plain weights every few blocks."""
    wallets = tmp_path_factory.mktemp("wallets")
    return SubnetPlan(endpoint, wallets, miners=3, tempo=20, weights_rate_limit=10)


@pytest.fixture(scope="session")
def subnet(plan: SubnetPlan) -> PreparedSubnet:
    return prepare_subnet(plan, on_progress=lambda _: None)


@pytest.fixture
def opened(subnet: PreparedSubnet) -> Iterator[OpenChain]:
    """``opened(wallet, …)``: the subnet through a wallet, closed when the test is over."""
    with ExitStack() as stack:

        def open_with(wallet: WalletRef | None = None, **changes: object) -> SubtensorChain:
            arguments = {"endpoint": subnet.endpoint, "netuid": subnet.netuid, "wallet": wallet, **changes}
            chain = open_chain(**arguments)  # type: ignore[arg-type]
            stack.callback(chain.close)
            return chain

        yield open_with


@pytest.fixture
def double_only(request: pytest.FixtureRequest, isolated_home: None) -> None:
    """For tests that start their own node doubles, with switches that a real node lacks."""
    if request.config.getoption("--subtensor"):
        pytest.skip("tests the node double's own switches")


@pytest.fixture
def new_wallet(tmp_path: Path) -> Callable[[str], WalletRef]:
    """Makes an unencrypted wallet that the chain has never heard of."""

    def make(name: str) -> WalletRef:
        from bittensor import Wallet

        wallet = Wallet(name, "default", path=str(tmp_path))
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(suppress=True)
        return WalletRef(name, "default", tmp_path)

    return make
