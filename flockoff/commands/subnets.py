"""Reading a subnet from the chain, without a wallet or a ledger, for several commands."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flockoff.chain import SubtensorChain, open_chain, resolve_endpoint
from flockoff.competition import load_competition
from flockoff.records import SubnetSnapshot, SubnetView
from flockoff.standings import Standings, standings


@contextmanager
def reading(
    netuid: int, network: str, endpoint: str | None, stop: threading.Event
) -> Iterator[SubtensorChain]:
    """The chain, without a wallet. Raises UsageError; its methods raise ChainError's kinds."""
    node = resolve_endpoint(network, endpoint)
    with closing(open_chain(endpoint=node, netuid=netuid, wallet=None, stop=stop)) as chain:
        yield chain


def read_view(netuid: int, network: str, endpoint: str | None, stop: threading.Event) -> SubnetView:
    """The subnet as the chain shows it now. Raises UsageError and ChainError's kinds."""
    with reading(netuid, network, endpoint, stop) as chain:
        return chain.view()


def read_snapshot(netuid: int, network: str, endpoint: str | None, stop: threading.Event) -> SubnetSnapshot:
    """The subnet's neurons and commitments now. Raises as ``read_view``."""
    with reading(netuid, network, endpoint, stop) as chain:
        return chain.snapshot()


def read_standings(
    netuid: int, network: str, endpoint: str | None, competition: Path | None, stop: threading.Event
) -> Standings:
    """As ``read_view``; also raises UsageError for a competition file that is wrong."""
    rules = load_competition(competition)
    return standings(read_view(netuid, network, endpoint, stop), rules.id)
