"""A validator in one long epoch, any number of times from an empty ledger, and each outcome."""

import signal
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.localnet.node import NodeSettings
from flockoff.openers import ledger_path
from tests.support.arena import Arena
from tests.support.crash_ledger import Row, told
from tests.support.crash_pulse import Pulse
from tests.support.crash_roles import Job, Run, run_validator
from tests.support.crash_steps import steps_in
from tests.support.crash_wire import Wire
from tests.support.local_chain import rpc
from tests.support.local_subnet import local_subnet

TEMPO = 30_000  # blocks: all that is played here fits into one epoch, so that all of it has the same seed


@dataclass(frozen=True)
class Outcome:
    """An epoch's outcome. ``signed``: how many extrinsics the validator's hotkey has sent for it."""

    ledger: Mapping[str, list[Row]]
    weights: Mapping[int, float]
    signed: int


@dataclass
class Court:
    arena: Arena
    pulse: Pulse
    directory: Path
    hotkey: str
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def trial(self) -> "Trial":
        """A validator with an empty ledger at the beginning of its epoch."""
        directory = self.directory / f"trial-{next(self.numbers)}"
        directory.mkdir()
        return Trial(self, directory, self.nonce())

    def nonce(self) -> int:
        return int(rpc(self.arena.node, "account_nextIndex", self.hotkey))


@dataclass
class Trial:
    court: Court
    directory: Path
    nonce_before: int
    runs: "list[Run]" = field(default_factory=list)

    def run(self, fatal: Collection[str] = (), number: int = signal.SIGKILL) -> Run:
        """Run the validator for one epoch; it ends itself at a step of ``fatal``."""
        job = self._job(self.court.arena.node.endpoint, frozenset(fatal), number)
        self.runs.append(run_validator(job))
        return self.runs[-1]

    def run_on_the_wire(self, fatal: Collection[str] = ()) -> list[str]:
        """Run the validator, which is killed at a request of ``fatal``; returns the requests' steps."""
        journal = self.directory / f"run-{len(self.runs)}.wire"
        wire = Wire(self.court.arena.node.endpoint, self.court.arena.hub, journal, fatal)
        with wire.tapped():
            job = self._job(wire.endpoint, frozenset(), signal.SIGKILL)
            self.runs.append(run_validator(job, wire.victim.set_result))
        return steps_in(journal)

    def _job(self, endpoint: str, fatal: frozenset[str], number: int) -> Job:
        arena = self.court.arena
        wallet = arena.subnet.validators[0]
        argv = [
            *("--wallet.name", wallet.name, "--wallet.path", str(wallet.path)),
            *("--netuid", str(arena.subnet.netuid), "--subtensor.chain_endpoint", endpoint),
            *("--data_dir", str(self.directory), "--cache_dir", str(self.directory / "cache")),
            *("--epochs", "1"),
        ]
        token = arena.hub.add_user("validator", role="read")
        losses = {content: arena.losses[topic] for content, topic in arena.contents.items()}
        return Job(
            argv,
            {"HF_TOKEN": token, "HF_ENDPOINT": arena.hub.endpoint},
            self.directory / f"run-{len(self.runs)}.steps",
            fatal,
            number,
            {content: loss for content, loss in losses.items() if isinstance(loss, float)},
        )

    def outcome(self) -> Outcome:
        signed = self.court.nonce() - self.nonce_before
        return Outcome(told(ledger_path(self.directory)), self.court.arena.weights(), signed)

    def repeated(self) -> int:
        """How many evaluations were made again."""
        return sum(times - 1 for times in Counter(self._evaluated()).values())

    def unstored(self) -> int:
        """How many evaluations had ended, but were not yet stored, when their run ended."""
        stored = [
            step
            for run in self.runs
            for step in run.steps
            if step.startswith("after writing ledger.record_verdict.evaluation ")
        ]
        return len(self._evaluated()) - len(stored)

    def _evaluated(self) -> list[str]:
        return [content for run in self.runs for content in run.evaluated]


@contextmanager
def running_court(directory: Path) -> Iterator[Court]:
    with ExitStack() as stack:
        settings = NodeSettings(block_seconds=0, history_blocks=3 * TEMPO)
        node, subnet = stack.enter_context(
            local_subnet(miners=5, tempo=TEMPO, weights_rate_limit=0, settings=settings)
        )
        pulse = Pulse(node)
        stack.enter_context(pulse.beating())
        hub = stack.enter_context(HubServer(HubSettings(state_dir=directory / "hub")))
        arena = Arena(directory, node, hub, subnet, stack)
        arena.submit(0, "fox", loss=1.5)
        arena.submit(1, "bee", loss=1.7)
        arena.submit(2, "ape", loss=1.5)  # found to be a copy when the epoch is settled
        arena.submit(3, "bad", rows="{}\n")
        arena.commit(4, "not a dataset")
        arena.next_epoch()
        hotkey = arena.chain(subnet.validators[0]).hotkey
        yield Court(arena, pulse, directory, hotkey)
