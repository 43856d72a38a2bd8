"""A hub double for the whole run, and an owner of one's own for every test."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, HubSettings
from tests.support.hub_operations import Ground, prepare_ground
from tests.support.hub_users import HASTE, Owner, owner_at

_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def isolated_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        patch.setattr(constants, "HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        yield


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with HubServer(HubSettings(state_dir=tmp_path_factory.mktemp("hub"), page_size=20)) as server:
        yield server


@pytest.fixture
def hub(running_hub: HubServer) -> Iterator[HubServer]:
    yield running_hub
    running_hub.faults.clear()


@pytest.fixture
def alice(hub: HubServer) -> Owner:
    return owner_at(hub, f"alice{next(_numbers)}")


@pytest.fixture
def bob(hub: HubServer) -> Owner:
    return owner_at(hub, f"bob{next(_numbers)}")


@pytest.fixture
def anybody(hub: HubServer) -> HubClient:
    return HubClient(None, hub.endpoint, patience=HASTE)


@pytest.fixture(scope="session")
def common_ground(running_hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return prepare_ground(owner_at(running_hub, "ground"), tmp_path_factory.mktemp("ground"))


@pytest.fixture
def ground(hub: HubServer, common_ground: Ground, tmp_path: Path) -> Ground:
    """Shared data that no test may delete or hide; a separate folder for every test."""
    return replace(common_ground, directory=tmp_path / "downloads")


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'{"conversations": []}\n' * 1000)
    return path


@pytest.fixture
def run_hf(hub: HubServer, tmp_path: Path) -> Callable[..., str]:
    """The unmodified ``hf`` command in a process of its own, pointed at the double by environment only."""

    def run(*arguments: str, token: str) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGG"))}
        environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": token}
        command = [sys.executable, "-m", "huggingface_hub.cli.hf", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
