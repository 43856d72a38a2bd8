"""The dataset cache over the real hub client: killed, on a full disk, in many threads."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.errors import HubTransient, SetupError
from flockoff.hub import HubClient
from flockoff.hub.datasets import DatasetCache
from flockoff.localnet.hub import HubServer, cut, drip
from tests.support.file_limit import no_file_beyond
from tests.support.hub_users import HASTE, Owner

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
DOWNLOAD = """
import sys, pathlib
from flockoff.hub import HubClient
from flockoff.hub.datasets import DatasetCache
endpoint, folder, repo, commit = sys.argv[1:]
cache = DatasetCache(HubClient(None, endpoint), pathlib.Path(folder), max_bytes=1 << 24, others=[])
cache.begin([(repo, commit)])
cache.get(repo, commit, max_bytes=1 << 21)
"""


def cache_in(folder: Path, client: HubClient) -> DatasetCache:
    return DatasetCache(client, folder, max_bytes=1 << 24, others=[])


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in files_in(folder))


@pytest.mark.slow
@pytest.mark.parametrize("still_needed", [True, False])
def test_download_killed_half_way_leaves_nothing_that_is_believed(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path, still_needed: bool
) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", "/resolve/", drip(20_000, 60.0))
    command = [sys.executable, "-c", DOWNLOAD, hub.endpoint, str(tmp_path), alice.repo, commit]
    process = subprocess.Popen(command)
    try:
        ends = time.monotonic() + 300
        while bytes_in(tmp_path) < 20_000:
            assert time.monotonic() < ends and process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        process.wait(300)
    assert 0 < bytes_in(tmp_path) < len(CONTENT)
    cache = cache_in(tmp_path, anybody)
    cache.begin([(alice.repo, commit)] if still_needed else [])
    assert files_in(tmp_path) == []
    path = cache.get(alice.repo, commit, max_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert files_in(tmp_path) == [path]


def test_download_broken_off_goes_on_after_a_restart(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    hub.faults.add("GET", "/resolve/", cut(200_000), times=HASTE.tries)
    with pytest.raises(HubTransient):
        cache_in(tmp_path, anybody).get(alice.repo, commit, max_bytes=len(CONTENT))
    kept = bytes_in(tmp_path)
    assert 0 < kept < len(CONTENT)
    cache = cache_in(tmp_path, anybody)
    cache.begin([(alice.repo, commit)])
    assert bytes_in(tmp_path) == kept
    assert cache.get(alice.repo, commit, max_bytes=len(CONTENT)).read_bytes() == CONTENT
    assert bytes_in(tmp_path) == len(CONTENT)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_get_on_full_disk_is_a_setup_error_and_works_once_there_is_room(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    commit = alice.upload(CONTENT)
    cache = cache_in(tmp_path, anybody)
    cache.begin([(alice.repo, commit)])
    with no_file_beyond(100_000), pytest.raises(SetupError) as error:
        cache.get(alice.repo, commit, max_bytes=len(CONTENT))
    assert "free space" in error.value.remedy
    assert files_in(tmp_path) == []
    assert cache.get(alice.repo, commit, max_bytes=len(CONTENT)).read_bytes() == CONTENT


@pytest.mark.slow
def test_get_from_many_threads_under_a_small_budget_keeps_to_it(
    hub: HubServer, alice: Owner, tmp_path: Path
) -> None:
    size = 100_000
    commits = [alice.upload(bytes([number]) * size) for number in range(6)]
    hub.faults.add("GET", "/resolve/", cut(50_000), times=6)
    client = HubClient(None, hub.endpoint, patience=replace(HASTE, tries=8))
    cache = DatasetCache(client, tmp_path, max_bytes=3 * size, others=[])
    for needed in (commits[:3], commits[3:]):
        cache.begin([(alice.repo, commit) for commit in needed])
        with ThreadPoolExecutor(6) as pool:
            jobs = [pool.submit(cache.get, alice.repo, commit, max_bytes=size) for commit in needed * 2]
            contents = {job.result(timeout=300).read_bytes() for job in jobs}
        assert contents == {bytes([commits.index(commit)]) * size for commit in needed}
        assert bytes_in(tmp_path) == 3 * size
