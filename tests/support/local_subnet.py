"""Subnets to test on. Each kind is prepared once in a process, by the calls that prepare one on any local
chain; whoever asks for one gets a node of its own that goes on from there.
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet, SubnetPlan, prepare_subnet

# Blocks come slowly by themselves, and at once for a transaction, so that nobody waits for one.
UNHURRIED = NodeSettings(port=0, block_seconds=0.5, instant=True)
SOON = 10  # blocks: more than have to pass between two weight settings
_HASTY = NodeSettings(port=0, block_seconds=0.02, instant=True)


@dataclass(frozen=True)
class _Kind:
    """The part of a SubnetPlan that says what the subnet is like."""

    miners: int
    validators: int
    tempo: int
    commit_reveal: bool
    weights_rate_limit: int


@contextmanager
def local_subnet(
    *,
    miners: int,
    validators: int = 1,
    tempo: int = 1000,
    commit_reveal: bool = False,
    weights_rate_limit: int = 5,
    settings: NodeSettings = UNHURRIED,
) -> Iterator[tuple[Node, PreparedSubnet]]:
    """A running node with a subnet on it. Wallets are shared with others of the same kind: only read them.

    ``tempo``, in blocks: by default an epoch is longer than any test, and goes by where a test says so.
    """
    kind = _Kind(miners, validators, tempo, commit_reveal, weights_rate_limit)
    template, prepared = _prepared(kind)
    with Node(replace(settings, port=0), fork_of=template) as node:
        yield node, replace(prepared, endpoint=node.endpoint)


def enter_next_epoch(node: Node, netuid: int, blocks_left: int) -> None:
    """Go into the next epoch, which comes early unless few blocks are left, and is as long as any other.

    So no test makes a thousand irrelevant blocks.
    """
    if blocks_left > SOON:
        node.advance(SOON)
        node.faults.epoch(netuid=netuid)
        node.advance()
    else:
        node.advance(blocks_left + 1)


@cache
def _prepared(kind: _Kind) -> tuple[Node, PreparedSubnet]:
    """A node that has been stopped, and the subnet on it, whose wallets go with the process."""
    folder = tempfile.mkdtemp(prefix="flockoff-subnet-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with Node(_HASTY) as node:
        plan = SubnetPlan(
            endpoint=node.endpoint,
            wallet_path=Path(folder),
            miners=kind.miners,
            validators=kind.validators,
            tempo=kind.tempo,
            commit_reveal=kind.commit_reveal,
            weights_rate_limit=kind.weights_rate_limit,
        )
        prepared = prepare_subnet(plan, on_progress=lambda _: None)
    return node, prepared
