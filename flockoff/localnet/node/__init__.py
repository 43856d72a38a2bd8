"""The node double: a Subtensor look-alike that the unmodified SDK and ``btcli`` connect to."""

from flockoff.localnet.node.faults import FAULTS, NodeFaults
from flockoff.localnet.node.node import Node
from flockoff.localnet.node.settings import NodeSettings

__all__ = ["FAULTS", "Node", "NodeFaults", "NodeSettings"]
