"""The node double's faults themselves; the adapter's handling is tested with the adapter."""

from collections.abc import Callable

import pytest

from flockoff.errors import LocalnetError, UsageError
from flockoff.localnet.node import FAULTS, Node, NodeSettings
from flockoff.localnet.node.faults import NodeFaults
from tests.support.local_chain import TEMPO, Subnet


@pytest.fixture
def node(run_node: Callable[[NodeSettings], Node]) -> Node:
    """It makes blocks on demand."""
    return run_node(NodeSettings(port=0, block_seconds=0))


def test_faults_are_the_methods() -> None:
    methods = {name for name in vars(NodeFaults) if not name.startswith("_")} - {"inject"}

    assert {name.replace("-", "_") for name in FAULTS} == methods


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("flood", {}, "no fault 'flood'"),
        ("tempo", {"blocks": "3"}, "netuid is missing"),
        ("stall", {"minutes": "3"}, "there is no minutes"),
        ("stall", {"seconds": "soon"}, "could not convert"),
        ("reject", {"error": "bad"}, "error is one of"),
        ("permit", {"netuid": "0", "uid": "7"}, "has no uid 7"),
    ],
)
def test_inject_misuse_is_a_usage_error(
    node: Node, name: str, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        node.faults.inject(name, arguments)


def test_inject_says_what_is_on(node: Node) -> None:
    assert node.faults.inject("leave-out", {"blocks": "4"}) == "node: the next 4 blocks hold no transactions"


def test_fault_node_not_running_is_told() -> None:
    with pytest.raises(LocalnetError, match="does not run"):
        Node().faults.drop()


def test_roll_back_lagging_blocks_are_replaced_by_others(node: Node) -> None:
    node.faults.lag(blocks=10)
    node.advance(4)

    node.faults.roll_back(blocks=3)

    assert node.block == 1
    node.advance(5)
    assert node.block == 6


def test_roll_back_of_a_final_block_is_refused(node: Node) -> None:
    node.faults.lag(blocks=2)
    node.advance(5)

    with pytest.raises(UsageError, match="block 3 is final"):
        node.faults.inject("roll-back", {"blocks": "3"})
    node.faults.heal()
    node.advance()
    with pytest.raises(UsageError, match="block 6 is final"):
        node.faults.inject("roll-back", {"blocks": "1"})


def test_epoch_that_begins_early_is_as_long_as_any(subnet: Subnet) -> None:
    before = subnet.client.epochs.epoch_status(1)

    first = subnet.node.block
    subnet.node.faults.epoch(netuid=1)
    last = subnet.node.block  # blocks may come by themselves
    subnet.node.advance(2)

    after = subnet.client.epochs.epoch_status(1)
    assert last + 1 < before["next_epoch_start_block"]
    assert first < after["next_epoch_start_block"] - TEMPO <= last + 1
    assert subnet.client.subnets.metagraph(1).neurons[1].validator_permit
