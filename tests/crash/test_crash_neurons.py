"""The neurons as users start them, killed from outside at the critical moments."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from huggingface_hub import HfApi

from flockoff.chain import WalletRef, hotkey_address
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from tests.support.crash_wire import Wire
from tests.support.local_chain import rpc
from tests.support.playground import Playground, running_playground, start
from tests.support.tiny_model import row

pytestmark = pytest.mark.slow

GOOD = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(6, 14)]
NOISE = [row(f"What is {n}?", "zq#" * 4 + str(n)) for n in range(6, 14)]
DATASETS = (GOOD, NOISE)


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    with running_playground(tmp_path_factory.mktemp("playground"), miners=2) as playground:
        yield playground


def killed_miner(playground: Playground, miner: int, journal: Path, step: str) -> None:
    """Run a miner until it is killed at a request."""
    wire = Wire(playground.node.endpoint, playground.hub, journal, {step})
    with wire.tapped():
        arguments = playground.miner_arguments(miner, DATASETS[miner], "data")
        endpoint = ["--subtensor.chain_endpoint", wire.endpoint]
        environment = playground.environment(playground.hub.add_user(playground.subnet.miners[miner].name))
        with start("neurons/miner.py", [*arguments, *endpoint], environment) as process:
            wire.victim.set_result(process.pid)
            said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def finished_miner(playground: Playground, miner: int) -> None:
    outcome = playground.mine(miner, DATASETS[miner], "--retry_seconds", "0.5")
    assert outcome.status == 0, outcome.said


def signed(playground: Playground, wallet: WalletRef) -> int:
    """How many extrinsics the wallet's hotkey has ever sent."""
    return int(rpc(playground.node, "account_nextIndex", hotkey_address(wallet)))


@pytest.mark.parametrize(
    ("miner", "step"),
    [
        (0, "after POST /api/datasets/REPO/commit/main #1"),
        (1, "after author_submitAndWatchExtrinsic #1"),
    ],
)
def test_miner_process_killed_before_it_hears_that_it_was_heard_does_nothing_twice(
    playground: Playground, tmp_path: Path, miner: int, step: str
) -> None:
    wallet = playground.subnet.miners[miner]
    killed_miner(playground, miner, tmp_path / "steps", step)
    finished_miner(playground, miner)
    api = HfApi(endpoint=playground.hub.endpoint, token=playground.hub.add_user(wallet.name))
    commits = api.list_repo_commits(f"{wallet.name}/data", repo_type="dataset")
    assert len(commits) == 2  # the repo's creation and one upload
    assert not api.dataset_info(f"{wallet.name}/data").private
    assert signed(playground, wallet) == 1


def test_validator_process_killed_in_training_takes_its_worker_along_and_goes_on_later(
    playground: Playground, tmp_path: Path
) -> None:
    for miner in (0, 1):
        finished_miner(playground, miner)
    playground.next_epoch()
    flags = ("--epochs", "1", "--logging.trace")
    with (
        playground.download_held(1),
        playground.start_validator(tmp_path, *flags, forks=False) as process,
    ):
        assert process.stdout is not None
        while "training 2/" not in (line := process.stdout.readline()):
            assert line, "the validator ended before it trained"
        [worker] = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        worker.wait(300)
    outcome = playground.validate(tmp_path, "--epochs", "1")
    assert outcome.status == 0, outcome.said
    path = ledger_path(tmp_path)
    with Ledger.open(path, netuid=playground.subnet.netuid, competition="f127", read_only=True) as ledger:
        weights = ledger.last_weights()
        assert weights is not None
        assert len(ledger.evaluations(weights.epoch)) == 2
    assert signed(playground, playground.subnet.validators[0]) == 1
