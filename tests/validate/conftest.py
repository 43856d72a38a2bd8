from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from arena import BLOCK_SECONDS, Arena

from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import SubnetPlan, prepare_subnet

MINERS = 4
TEMPO = 2000  # long: tests go on to the next epoch by Arena.next_epoch


@pytest.fixture
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    """``indirect`` parameters give another tempo."""
    with ExitStack() as stack:
        node = stack.enter_context(Node(NodeSettings(port=0, block_seconds=BLOCK_SECONDS)))
        hub = stack.enter_context(HubServer(HubSettings(state_dir=tmp_path / "hub")))
        plan = SubnetPlan(
            endpoint=node.endpoint,
            wallet_path=tmp_path / "wallets",
            miners=MINERS,
            tempo=getattr(request, "param", TEMPO),
            weights_rate_limit=5,
        )
        subnet = prepare_subnet(plan, on_progress=lambda _: None)
        yield Arena(tmp_path, node, hub, subnet, stack)
