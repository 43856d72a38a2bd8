"""A local network with a tiny base model on its hub, and the neurons run on it as processes."""

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from flockoff.chain import SubtensorChain, WalletRef, open_chain
from flockoff.flags import PROJECT_ROOT
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet
from flockoff.records import RawCommitment, Row
from neurons import miner, validator
from tests.support.forked import TIMEOUT_SECONDS, Outcome, run_forked
from tests.support.local_subnet import UNHURRIED, enter_next_epoch, local_subnet
from tests.support.tiny_model import row, write_dataset, write_tiny_model
from tests.support.typed import run_here
from tests.support.warm_workers import POSSIBLE, program_address, server_address

WARM = (sys.executable, "-m", "tests.support.warm_program")


@dataclass
class Playground:
    directory: Path
    node: Node
    hub: HubServer
    subnet: PreparedSubnet
    competition: Path
    eval_data_dir: Path

    def environment(self, token: str | None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return kept | {"HF_ENDPOINT": self.hub.endpoint} | ({"HF_TOKEN": token} if token else {})

    def flags(self, wallet: WalletRef) -> list[str]:
        return [
            *("--wallet.name", wallet.name, "--wallet.hotkey", wallet.hotkey),
            *("--wallet.path", str(wallet.path)),
            *("--subtensor.chain_endpoint", self.node.endpoint, "--netuid", str(self.subnet.netuid)),
            *("--competition", str(self.competition), "--cache_dir", str(self.directory / "cache")),
        ]

    def miner_arguments(self, number: int, rows: Sequence[Row], repo: str) -> list[str]:
        wallet = self.subnet.miners[number]
        file = self.directory / f"{wallet.name}-{repo}.jsonl"
        write_dataset(file, rows)
        return [*self.flags(wallet), "--hf_repo_id", f"{wallet.name}/{repo}", "--dataset_path", str(file)]

    def mine(self, number: int, rows: Sequence[Row], *more: str, repo: str = "data") -> Outcome:
        """Run the miner of that number to its end, in this process."""
        arguments = [*self.miner_arguments(number, rows, repo), *more]
        return self.run_miner(arguments, self.hub.add_user(self.subnet.miners[number].name))

    def mine_by_script(self, number: int, rows: Sequence[Row], *more: str, repo: str = "data") -> Outcome:
        """The same, as people start it."""
        token = self.hub.add_user(self.subnet.miners[number].name)
        arguments = [*self.miner_arguments(number, rows, repo), *more]
        return run("neurons/miner.py", arguments, self.environment(token))

    def start_miner(self, number: int, rows: Sequence[Row], *more: str, repo: str) -> "subprocess.Popen[str]":
        token = self.hub.add_user(self.subnet.miners[number].name)
        arguments = [*self.miner_arguments(number, rows, repo), *more]
        return start("neurons/miner.py", arguments, self.environment(token))

    def run_miner(self, arguments: Sequence[str], token: str | None) -> Outcome:
        return run_here(miner.main, arguments, self.environment(token))

    def validator_arguments(self, data_dir: Path, number: int = 0) -> list[str]:
        return [
            *self.flags(self.subnet.validators[number]),
            *("--data_dir", str(data_dir), "--eval_data_dir", str(self.eval_data_dir), "--device", "cpu"),
        ]

    def validate(self, data_dir: Path, *more: str) -> Outcome:
        arguments = [*self.validator_arguments(data_dir), *more]
        environment = self.environment(self.reader())
        return run_forked(validator.main, arguments, environment, workers=server_address())

    def start_validator(
        self, data_dir: Path, *more: str, number: int = 0, forks: bool = True
    ) -> "subprocess.Popen[str]":
        """Start the validator as people do; its workers are forked unless ``forks`` is False."""
        arguments = [*self.validator_arguments(data_dir, number), *more]
        environment = self.environment(self.reader())
        if not forks:
            return start("neurons/validator.py", arguments, environment)
        program = [*WARM, server_address(), str(PROJECT_ROOT / "neurons/validator.py"), *arguments]
        return popen(program, environment | {"PYTHONPATH": str(PROJECT_ROOT)})

    @contextmanager
    def download_held(self, number: int, repo: str = "data") -> Iterator[None]:
        """Within this context, the hub answers no download of the miner's dataset, so that an epoch with it
        does not come to its end, however fast this machine is.
        """
        released = threading.Event()

        def hold(app: ASGIApp) -> ASGIApp:
            async def holding(scope: Scope, receive: Receive, send: Send) -> None:
                while not released.is_set():
                    await asyncio.sleep(0.02)
                await app(scope, receive, send)

            return holding

        downloads = f"/{self.subnet.miners[number].name}/{repo}/resolve/"
        self.hub.faults.add("GET", downloads, hold, times=math.inf)
        try:
            yield
        finally:
            released.set()

    def reader(self) -> str:
        return self.hub.add_user("validator", role="read")

    def commitment(self, number: int) -> RawCommitment | None:
        with closing(self.chain(self.subnet.miners[number])) as chain:
            return chain.commitment()

    def chain(self, wallet: WalletRef | None) -> SubtensorChain:
        return open_chain(endpoint=self.node.endpoint, netuid=self.subnet.netuid, wallet=wallet)

    def next_epoch(self) -> None:
        with closing(self.chain(None)) as chain:
            enter_next_epoch(self.node, self.subnet.netuid, chain.epoch_status().blocks_left)


def forked_program(script: str) -> list[str]:
    """The beginning of a command line that runs a script of this project, or ``flockoff``, in a process that
    is forked where everything is imported already. Its evaluation workers are forked, too.
    """
    if not POSSIBLE:
        return ["env", f"PYTHONPATH={PROJECT_ROOT}", *WARM, server_address(), script]
    ask = PROJECT_ROOT / "tests" / "support" / "ask_to_fork.py"
    program = ("tests.support.warm_program", server_address(), script)
    return [sys.executable, "-IS", str(ask), program_address(), *program]


def command(script: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, str(PROJECT_ROOT / script), *arguments]


def run(script: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Outcome:
    done = subprocess.run(
        command(script, arguments),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return Outcome(done.returncode, done.stdout)


def start(script: str, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return popen(command(script, arguments), environment)


def popen(program: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        program,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def terminated(process: "subprocess.Popen[str]") -> Outcome:
    """End a process as a service manager does, and wait for it."""
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return Outcome(process.returncode, said)


def until_it_waits(process: "subprocess.Popen[str]") -> str:
    """The line that a waiting miner logs."""
    assert process.stdout is not None
    while "Trying again" not in (line := process.stdout.readline()):
        assert line, "the miner ended without waiting"
    return line


def write_evaluation_set(directory: Path) -> Path:
    rows = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(1, 6)]
    write_dataset(directory / "data.jsonl", rows)
    return directory


def publish_tiny_model(hub: HubServer, directory: Path) -> tuple[str, str]:
    """Put the tiny model on the hub; returns its repo id and commit."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.add_user("lab"))
    api.create_repo("lab/tiny", repo_type="model")
    info = api.upload_folder(repo_id="lab/tiny", folder_path=write_tiny_model(directory), repo_type="model")
    return "lab/tiny", info.oid


def write_competition(file: Path, model: tuple[str, str], eval_data_dir: Path) -> Path:
    repo, revision = model
    digest = sha256((eval_data_dir / "data.jsonl").read_bytes()).hexdigest()
    file.write_text(
        f'[base_model]\nrepo = "{repo}"\nrevision = "{revision}"\n'
        f'[evaluation]\nsha256 = "{digest}"\n'
        "[lora]\nrank = 4\nalpha = 8\n"
        "[training]\ncontext_length = 128\nlearning_rate = 1e-2\nwarmup_steps = 1\n",
        encoding="utf-8",
    )
    return file


@contextmanager
def running_playground(
    directory: Path,
    *,
    miners: int,
    validators: int = 1,
    commitment_cooldown: int = 0,
    tempo: int = 1000,
    node_settings: NodeSettings = UNHURRIED,
) -> Iterator[Playground]:
    with ExitStack() as stack:
        node, subnet = stack.enter_context(
            local_subnet(
                miners=miners,
                validators=validators,
                tempo=tempo,
                settings=replace(node_settings, commitment_cooldown=commitment_cooldown),
            )
        )
        hub = stack.enter_context(HubServer(HubSettings(state_dir=directory / "hub")))
        eval_data_dir = directory / "eval_data"
        eval_data_dir.mkdir()
        write_evaluation_set(eval_data_dir)
        model = publish_tiny_model(hub, directory / "model")
        competition = write_competition(directory / "competition.toml", model, eval_data_dir)
        yield Playground(directory, node, hub, subnet, competition, eval_data_dir)
