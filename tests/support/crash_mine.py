"""A miner on a small network of its own, and what a submission that was killed has left on hub and chain."""

import json
import signal
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from flockoff.chain import SubtensorChain, open_chain
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet
from tests.support.arena import rows_about
from tests.support.crash_pulse import Pulse
from tests.support.crash_roles import Job, Run, run_miner
from tests.support.crash_steps import steps_in
from tests.support.crash_wire import Wire
from tests.support.local_chain import rpc
from tests.support.local_subnet import local_subnet


@dataclass(frozen=True)
class Traces:
    """The traces of a submission. ``signed``: how many extrinsics the hotkey has sent for it."""

    commits: int  # of the repo, the one of its creation included; 0 without a repo
    private: bool
    committed: bool  # the chain shows the repo's head
    signed: int


@dataclass
class Mine:
    directory: Path
    node: Node
    pulse: Pulse
    hub: HubServer
    subnet: PreparedSubnet
    chain: SubtensorChain
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def submission(self) -> "Submission":
        """A submission of new data to a new repo, not begun yet."""
        number = next(self.numbers)
        directory = self.directory / f"submission-{number}"
        directory.mkdir()
        lines = [json.dumps(row) + "\n" for row in rows_about(f"topic {number}")]
        (directory / "data.jsonl").write_text("".join(lines), encoding="utf-8")
        return Submission(self, directory, f"miner1/data-{number}", self.nonce())

    def nonce(self) -> int:
        """The hotkey's next one; what waits in the node's pool counts."""
        return int(rpc(self.node, "account_nextIndex", self.chain.hotkey))


@dataclass
class Submission:
    mine: Mine
    directory: Path
    repo: str
    nonce_before: int
    runs: "count[int]" = field(default_factory=lambda: count(1))

    def run(self, fatal: Collection[str] = (), number: int = signal.SIGKILL) -> Run:
        """Run the miner, which ends itself at a step of ``fatal``."""
        return run_miner(self._job(self.mine.node.endpoint, frozenset(fatal), number))

    def run_on_the_wire(self, fatal: Collection[str] = ()) -> Run:
        """Run the miner, which is killed at a request of ``fatal``; the steps are the requests."""
        job = self._job("", frozenset(), signal.SIGKILL)
        journal = job.journal.with_suffix(".wire")
        wire = Wire(self.mine.node.endpoint, self.mine.hub, journal, fatal)
        with wire.tapped():
            run = run_miner(
                replace(job, argv=[*job.argv, "--subtensor.chain_endpoint", wire.endpoint]),
                wire.victim.set_result,
            )
        return replace(run, steps=steps_in(journal))

    def _job(self, endpoint: str, fatal: frozenset[str], number: int) -> Job:
        wallet = self.mine.subnet.miners[0]
        argv = [
            *("--wallet.name", wallet.name, "--wallet.path", str(wallet.path)),
            *("--netuid", str(self.mine.subnet.netuid), "--retry_seconds", "0.2"),
            *("--subtensor.chain_endpoint", endpoint),
            *("--hf_repo_id", self.repo, "--dataset_path", str(self.directory / "data.jsonl")),
        ]
        environment = {"HF_TOKEN": self.token, "HF_ENDPOINT": self.mine.hub.endpoint}
        return Job(argv, environment, self.directory / f"run-{next(self.runs)}.steps", fatal, number)

    @property
    def token(self) -> str:
        return self.mine.hub.add_user("miner1")

    def traces(self) -> Traces:
        api = HfApi(endpoint=self.mine.hub.endpoint, token=self.token)
        signed = self.mine.nonce() - self.nonce_before
        try:
            info = api.dataset_info(self.repo)
        except RepositoryNotFoundError:
            return Traces(0, private=True, committed=False, signed=signed)
        on_chain = self.mine.chain.commitment()
        return Traces(
            commits=len(api.list_repo_commits(self.repo, repo_type="dataset")),
            private=bool(info.private),
            committed=on_chain is not None and on_chain.text == f"{self.repo}:f127:{info.sha}",
            signed=signed,
        )


@contextmanager
def running_mine(directory: Path) -> Iterator[Mine]:
    with ExitStack() as stack:
        # Short epochs: each brings a new quota of commitments.
        node, subnet = stack.enter_context(
            local_subnet(miners=1, tempo=30, settings=NodeSettings(block_seconds=0))
        )
        pulse = Pulse(node)
        stack.enter_context(pulse.beating())
        hub = stack.enter_context(HubServer(HubSettings(state_dir=directory / "hub")))
        chain = open_chain(endpoint=node.endpoint, netuid=subnet.netuid, wallet=subnet.miners[0])
        yield Mine(directory, node, pulse, hub, subnet, stack.enter_context(closing(chain)))
