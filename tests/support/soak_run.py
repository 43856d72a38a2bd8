"""Many epochs of a validator in a process of its own, as fast as they go, and what it takes after each."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from flockoff.chain import open_chain
from flockoff.flags import PROJECT_ROOT
from flockoff.hub import HubClient
from flockoff.records import ModelId
from tests.support.arena import Arena, rows_about

TEMPO = 600  # blocks: half a minute, far more than an epoch's work takes
_DATASET, _LARGEST_DATASET = 900, 4096  # bytes; what one takes, and what is set aside for one that comes
_STOP_SECONDS = 300.0
_LAST_BLOCKS = 3  # of an epoch: these come at their own pace, so that the validator has to wait for them


@dataclass(frozen=True)
class Sample:
    """The validator's process at the end of an epoch."""

    epoch: int  # from 1
    seconds: float  # that the epoch took
    memory: int  # bytes, resident
    files: int  # open
    threads: int
    ledger: int  # bytes, with its log
    weights_set: int  # of the epochs so far: those in which the chain got weights


@dataclass
class Soak:
    """``changes`` miners commit something new in every epoch.

    ``cached``: how many datasets the validator may keep, at least an epoch's 32.
    """

    arena: Arena
    keep_epochs: int
    cached: int
    changes: int
    submitted: "count[int]" = field(default_factory=count)

    @property
    def data_dir(self) -> Path:
        return self.arena.directory / "validator"

    @property
    def log(self) -> Path:
        """What the validator says."""
        return self.arena.directory / "validator.log"

    def submit_all(self) -> None:
        miners = range(len(self.arena.subnet.miners))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.submit, miners))

    def submit(self, miner: int) -> None:
        """Upload and commit a new dataset."""
        arena, wallet = self.arena, self.arena.subnet.miners[miner]
        topic = f"topic {next(self.submitted)}"
        file = arena.write(rows_about(topic), topic)
        repo = f"{wallet.name}/data"
        with closing(HubClient(arena.hub.add_user(wallet.name), arena.hub.endpoint)) as hub:
            commit = hub.upload(repo, file).commit
            hub.publish(repo)
        with closing(
            open_chain(endpoint=arena.node.endpoint, netuid=arena.subnet.netuid, wallet=wallet)
        ) as chain:
            chain.commit(str(ModelId(repo, "f127", commit)))

    def play(self, epochs: int) -> Iterator[Sample]:
        """Run the validator for ``epochs`` epochs; between two of them nothing moves."""
        arena = self.arena
        miners = len(arena.subnet.miners)
        watcher = arena.chain(arena.subnet.validators[0])
        weights_set = 0
        arena.next_epoch()  # starting takes a while: all of an epoch is ahead
        with self._validator() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            meter = psutil.Process(process.pid)
            for number in range(1, epochs + 1):
                since, begun = arena.node.block, time.perf_counter()
                if number > 1:
                    process.stdin.write("\n")
                    process.stdin.flush()
                said = process.stdout.readline()
                seconds = time.perf_counter() - begun
                assert said, f"The validator ended in epoch {number}:\n{self.log.read_text()[-2000:]}"
                [me] = [each for each in watcher.snapshot().neurons if each.hotkey == watcher.hotkey]
                weights_set += me.last_update > since
                yield Sample(
                    number,
                    seconds,
                    meter.memory_info().rss,
                    meter.num_fds(),
                    meter.num_threads(),
                    self._ledger_bytes(),
                    weights_set,
                )
                for change in range(self.changes):
                    self.submit((number * self.changes + change) % miners)
                arena.node.advance(max(0, int(said) - _LAST_BLOCKS - arena.node.block))

    def _ledger_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.data_dir.glob("ledger.sqlite*"))

    @contextmanager
    def _validator(self) -> Iterator["subprocess.Popen[str]"]:
        arena, wallet = self.arena, self.arena.subnet.validators[0]
        rules = arena.directory / "competition.toml"
        rules.write_text(f"[limits]\nmax_bytes = {_LARGEST_DATASET}\n", encoding="utf-8")
        command = [
            *(sys.executable, "-m", "tests.support.soak_validator", str(self.keep_epochs)),
            *("--wallet.name", wallet.name, "--wallet.hotkey", wallet.hotkey),
            *("--wallet.path", str(wallet.path), "--netuid", str(arena.subnet.netuid)),
            *("--subtensor.chain_endpoint", arena.node.endpoint, "--competition", str(rules)),
            *("--cache_dir", str(arena.directory / "cache"), "--data_dir", str(self.data_dir)),
            *("--max_disk_gb", str((self.cached * _DATASET + 4 * _LARGEST_DATASET) / 1e9)),
        ]
        environment = os.environ | {
            "HF_TOKEN": arena.hub.add_user("validator", role="read"),
            "HF_ENDPOINT": arena.hub.endpoint,
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        with self.log.open("w") as file:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
            with process:
                try:
                    yield process
                finally:
                    process.terminate()
                    try:
                        process.communicate("\n", timeout=_STOP_SECONDS)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        raise
