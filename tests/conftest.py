"""For all tests: where the chain is, and no traces in the home and the temporary folder of who runs them."""

import atexit
import gc
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import psutil
import pytest

from flockoff.flags import PROJECT_ROOT
from tests.support.certificates import share_certificates
from tests.support.examples import QUICK, WHOLE
from tests.support.warm_workers import forked_workers, server_address, warm_servers

# All that a run leaves in the temporary folder, also through processes that are killed, goes when it ends.
# Where there is room in memory it is there: ledgers wait for a disk at every transaction.
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes; a whole run takes less than half of that


def _own_folder() -> str:
    """A new temporary folder for this run. Those of runs that were killed go now."""
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
    above = _MEMORY if roomy else Path(tempfile.gettempdir())
    for folder in above.glob("fo-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    # A short name, because sockets are in there, whose paths may have 107 characters.
    return tempfile.mkdtemp(prefix=f"fo-{os.getpid()}-", dir=above)


if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["TMPDIR"] = tempfile.tempdir = _own_folder()
    # Registered before multiprocessing's, so that it comes after it, which still has a folder in there.
    atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)

# A run starts some hundred processes that import the same large libraries. Where the shell forbids bytecode
# files, each of them would compile those libraries again, which takes several times as long as all the rest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

share_certificates()

# A busy machine is no failure: tests have pytest-timeout's limit, not one for each example or for drawing it.
for _name, _examples in (("whole", WHOLE), ("quick", QUICK)):
    hypothesis.settings.register_profile(
        _name,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


_SLOW_AS_A_WHOLE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)


def _is_quick(config: pytest.Config) -> bool:
    return "not slow" in config.option.markexpr


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # Several processes test at once: with several threads each, they would mostly wait for each other.
        if config.getoption("numprocesses"):
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        servers = ExitStack()
        servers.enter_context(warm_servers(Path(os.environ["TMPDIR"])))
        config.add_cleanup(servers.close)
    hypothesis.settings.load_profile("quick" if _is_quick(config) else "whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A quick run does not even import modules that are slow as a whole: many of them import torch."""
    if not _is_quick(config) or collection_path.suffix != ".py":
        return None
    return bool(_SLOW_AS_A_WHOLE.search(collection_path.read_text(encoding="utf-8"))) or None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In a quick run no module may import torch, which takes as long as hundreds of quick tests."""
    before = "torch" in sys.modules
    report = yield
    if _is_quick(collector.config) and not before and "torch" in sys.modules:
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} imports torch, and has quick tests: mark it slow as a whole, "
            "or import torch inside its slow tests."
        )
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--subtensor",
        metavar="URL",
        help="run the chain tests against this local Subtensor (with //Alice as sudo), not the node double",
    )


# The modules that take longest, by far, in about that order.
_LONGEST = (
    "tests/demo/test_commands.py",
    "tests/cluster/test_cluster.py",
    "tests/crash/test_crash_validator.py",
    "tests/crash/test_crash_miner.py",
    "tests/validate/test_validate_faults.py",
    "tests/validate/test_validate_epoch.py",
    "tests/report/test_report_in_browser.py",
    "tests/training/test_trainer.py",
    "tests/simulate/test_outcome.py",
    "tests/training/test_exactness.py",
    "tests/training/test_kernels.py",
    "tests/dataset/test_dataset_contamination.py",
    "tests/docs/test_guides.py",
    "tests/neurons/test_validator_process.py",
    "tests/crash/test_crash_neurons.py",
    "tests/training/test_smollm2.py",
    "tests/validate/test_soak.py",
    "tests/training/test_evaluator.py",
    "tests/security/test_whole_run.py",
    "tests/neurons/test_two_validators.py",
    "tests/training/test_supervision.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, then those with most slow tests, so that no process is left with one of them
    at the end.
    """
    longest = {PROJECT_ROOT / path: place for place, path in enumerate(_LONGEST)}
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (longest.get(item.path, len(longest)), -slow[item.path]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected stays until the end: searches for garbage can leave it out."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The Bittensor SDK reads settings from the home and the environment, and writes caches there."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("BT_", "BTCLI_", "BITTENSOR_"))]:
            patch.delenv(name)
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, str(home))
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_workers(isolated_home: None) -> Iterator[None]:
    """Evaluation workers are forked from one process that has imported what all of them need."""
    with forked_workers(server_address):
        yield


@pytest.fixture
def another_user() -> Iterator[Callable[[Path], None]]:
    """Makes a file one that this process may not read; root is somebody else for the rest of the test."""
    if os.geteuid() != 0:
        yield lambda path: path.chmod(0)
        return

    def hide(path: Path) -> None:
        path.chmod(0o600)
        for parent in path.parents[:-2]:
            if parent.stat().st_uid == 0:
                parent.chmod(parent.stat().st_mode | 0o055)
        os.seteuid(65534)

    yield hide
    os.seteuid(0)
