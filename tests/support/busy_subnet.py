"""A subnet on a node double with two validators that disagree, three miners and some burn; no hub."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from flockoff.chain import SubtensorChain, WalletRef, open_chain
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet, SubnetPlan, prepare_subnet
from flockoff.records import ModelId

HOSTILE = "=evil()</script><img src=x onerror=alert(1)>\x1b[2J\u202e"
TEMPO = 50


@dataclass(frozen=True)
class BusySubnet:
    """Miner 3 has committed ``HOSTILE``; an epoch has passed since the validators set their weights."""

    node: Node
    subnet: PreparedSubnet
    validator_uids: tuple[int, ...]

    @property
    def flags(self) -> list[str]:
        return ["--netuid", str(self.subnet.netuid), "--chain", self.node.endpoint]

    def chain(self, wallet: WalletRef | None) -> SubtensorChain:
        return open_chain(endpoint=self.node.endpoint, netuid=self.subnet.netuid, wallet=wallet)

    def commit(self, number: int, text: str) -> None:
        with closing(self.chain(self.subnet.miners[number])) as chain:
            chain.commit(text)

    def set_weights(self, number: int, weights: dict[int, float]) -> None:
        with closing(self.chain(self.subnet.validators[number])) as chain:
            chain.set_weights(weights)

    def next_epoch(self) -> None:
        with closing(self.chain(None)) as chain:
            self.node.advance(chain.epoch_status().blocks_left + 1)


def dataset(name: str) -> ModelId:
    return ModelId(f"{name}/data", "f127", sha1(name.encode()).hexdigest())


@contextmanager
def busy_subnet(directory: Path) -> Iterator[BusySubnet]:
    with Node(NodeSettings(block_seconds=0.5, instant=True, tempo=TEMPO, port=0)) as node:
        plan = SubnetPlan(
            endpoint=node.endpoint,
            wallet_path=directory / "wallets",
            miners=3,
            validators=2,
            tempo=TEMPO,
            weights_rate_limit=5,
        )
        subnet = prepare_subnet(plan, on_progress=lambda _: None)
        uids = []
        for wallet in (*subnet.validators, *subnet.miners, subnet.owner):
            with closing(open_chain(endpoint=node.endpoint, netuid=subnet.netuid, wallet=wallet)) as chain:
                uids.append(chain.require_uid())
        first, second, one, two, _three, owner = uids
        busy = BusySubnet(node, subnet, (first, second))
        busy.commit(0, str(dataset("miner1")))
        busy.commit(1, str(dataset("miner2")))
        busy.commit(2, HOSTILE)
        node.advance(10)
        busy.set_weights(0, {one: 0.6, two: 0.3, owner: 0.1})
        busy.set_weights(1, {one: 0.5, two: 0.3, owner: 0.2})
        busy.next_epoch()
        yield busy
