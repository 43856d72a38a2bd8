"""Nobody gets a miner's data before its commitment is final on chain, and everybody gets it after that."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from flockoff.localnet.node import NodeSettings
from tests.support import thief
from tests.support.forked import TIMEOUT_SECONDS
from tests.support.playground import Playground, running_playground, until_it_waits
from tests.support.thief import FILE, WAYS, is_final, rounds_in
from tests.support.tiny_model import row

pytestmark = pytest.mark.slow

COOLDOWN = 1000  # blocks between two commitments
ROWS = [row("What is two?", "It is one and one."), row("What is three?", "It is two and one.")]
ROUNDS = 5  # at least, in every stretch of the miner's run that takes long


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    directory = tmp_path_factory.mktemp("thief")
    with running_playground(
        directory,
        miners=2,
        commitment_cooldown=COOLDOWN,
        tempo=5000,
        node_settings=NodeSettings(block_seconds=0.1),
    ) as playground:
        yield playground


@pytest.fixture
def late_finality(playground: Playground) -> Iterator[None]:
    playground.node.faults.lag(blocks=30)  # 3 s
    yield
    playground.node.faults.heal()


@contextmanager
def stealing(playground: Playground, repo: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, thief.__file__, repo, "--hub", playground.hub.endpoint]
    command += ["--token", playground.hub.add_user("thief"), "--chain", playground.node.endpoint]
    command += ["--netuid", str(playground.subnet.netuid)]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def wait_for_rounds(log: Path) -> None:
    """Let the thief make ``ROUNDS`` more rounds, in which it sees nothing."""
    wanted = len(rounds_in(log)) + ROUNDS
    wait_until(lambda: len(rounds_in(log)) >= wanted or any(each.seen for each in rounds_in(log)))
    assert not any(each.seen for each in rounds_in(log))


class FinalityAtPublishing:
    """Asks the chain, when the hub is asked to make a repo public, whether its commitment is final."""

    def __init__(self, playground: Playground, repo: str) -> None:
        self._playground = playground
        self._repo = repo
        self.was_final: list[bool] = []
        playground.hub.faults.add("PUT", f"/{repo}/settings", self._asking)

    def _ask(self) -> None:
        with closing(self._playground.chain(None)) as chain:
            self.was_final.append(is_final(self._playground.node.endpoint, chain, self._repo))

    def _asking(self, app: ASGIApp) -> ASGIApp:
        async def ask_first(scope: Scope, receive: Receive, send: Send) -> None:
            await run_in_threadpool(self._ask)
            await app(scope, receive, send)

        return ask_first


@pytest.mark.usefixtures("late_finality")
def test_thief_sees_nothing_in_a_miners_whole_run_until_the_commitment_is_final(
    playground: Playground, tmp_path: Path
) -> None:
    repo, log = "miner1/second", tmp_path / "thief.jsonl"
    owner = HfApi(playground.hub.endpoint, token=playground.hub.add_user("miner1"))
    assert playground.mine(0, ROWS[:1], repo="first").status == 0
    publishing = FinalityAtPublishing(playground, repo)
    with stealing(playground, repo, log) as process:
        wait_for_rounds(log)
        with playground.start_miner(0, ROWS, "--retry_seconds", "1", repo="second") as miner:
            until_it_waits(miner)  # the cooldown keeps it from committing what it has uploaded
            assert owner.file_exists(repo, FILE, repo_type="dataset")
            wait_for_rounds(log)
            playground.node.advance(COOLDOWN)
            said, _ = miner.communicate(timeout=TIMEOUT_SECONDS)
        assert miner.returncode == 0, said
        process.wait(timeout=TIMEOUT_SECONDS)
    rounds = rounds_in(log)
    assert publishing.was_final == [True]
    assert {each.final for each in rounds if each.seen} == {True}
    loot = rounds[-1].seen
    assert len(loot) == 2 * len(WAYS)  # the thief can do it
    written = (playground.directory / "miner1-second.jsonl").read_text(encoding="utf-8")
    assert loot["nobody: download"] == loot["thief: download"] == [written]
    assert loot["nobody: clone"] == loot["thief: clone"] == [written]


def test_miner_killed_before_its_commitment_is_final_publishes_only_after_that(
    playground: Playground,
) -> None:
    repo = "miner2/data"
    publishing = FinalityAtPublishing(playground, repo)
    playground.node.faults.lag(blocks=10_000)  # until it is dead, however long that takes
    try:
        with playground.start_miner(1, ROWS, repo="data") as miner:
            wait_until(lambda: playground.commitment(1) is not None)
            miner.kill()
        assert publishing.was_final == []
        playground.node.faults.lag(blocks=30)
        outcome = playground.mine(1, ROWS)
    finally:
        playground.node.faults.heal()
    assert outcome.status == 0, outcome.said
    assert publishing.was_final == [True]
