"""The datasets on this machine: within the budget, intact, and never without what the epoch needs."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.errors import HubTransient, MinerFault, Reason, SetupError
from flockoff.hub.datasets import DatasetCache, cached_dataset
from flockoff.metrics import Metrics

COMMIT = "c" * 40


class Shelf:
    """A hub whose dataset ``any/N`` is N bytes long; ``any/-N`` is missing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault: Exception | None = None

    def download(self, namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path:
        self.asked.append(namespace)
        if self.fault is not None:
            raise self.fault
        size = int(namespace.partition("/")[2])
        if size < 0:
            raise MinerFault(Reason.REPO_MISSING, "missing")
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{key_of(namespace)}.jsonl"
        path.write_bytes(b"x" * size)
        return path


def key_of(namespace: str) -> str:
    return hashlib.sha256(f"{namespace}/{COMMIT}".encode()).hexdigest()


def sizes_in(directory: Path) -> list[int]:
    return sorted(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def needs(*sizes: int) -> list[tuple[str, str]]:
    return [(f"any/{size}", COMMIT) for size in sizes]


def get(cache: DatasetCache, *sizes: int, max_bytes: int | None = None) -> list[Path]:
    return [cache.get(f"any/{size}", COMMIT, max_bytes=max_bytes or size) for size in sizes]


def age(path: Path, seconds: float) -> None:
    """Make the file look last used that long ago."""
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def open_cache(shelf: Shelf, tmp_path: Path) -> Callable[..., DatasetCache]:
    def opened(max_bytes: int, *others: Path) -> DatasetCache:
        return DatasetCache(shelf, tmp_path / "datasets", max_bytes=max_bytes, others=others)

    return opened


def test_get_keeps_the_file_under_its_key_and_hash(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(1000)
    cache.begin(needs(5))
    (path,) = get(cache, 5)
    assert path.read_bytes() == b"xxxxx"
    assert path.name == f"{key_of('any/5')}.{hashlib.sha256(b'xxxxx').hexdigest()}.jsonl"
    assert get(cache, 5) == get(open_cache(1000), 5) == [path]
    assert shelf.asked == ["any/5"]
    assert sizes_in(tmp_path) == [5]


def test_get_counts_downloads_and_what_they_take(shelf: Shelf, tmp_path: Path) -> None:
    metrics = Metrics()
    cache = DatasetCache(shelf, tmp_path / "datasets", max_bytes=1000, others=(), metrics=metrics)
    get(cache, 5, 7, 5)
    with pytest.raises(MinerFault):
        get(cache, -1, max_bytes=1)
    shown = metrics.registry.get_sample_value
    assert shown("flockoff_downloads_total", {"outcome": "done"}) == 2
    assert shown("flockoff_downloads_total", {"outcome": "failed"}) == 1
    assert shown("flockoff_downloaded_bytes_total") == shown("flockoff_dataset_bytes") == 12
    assert (shown("flockoff_disk_free_bytes") or 0) > 0


def test_begin_removes_the_least_recently_used_first(
    open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(1000)
    for number, path in enumerate(get(cache, 10, 20, 30, 40)):
        age(path, 100 - number)
    get(cache, 10)
    again = open_cache(60)  # 40 too many
    again.begin(needs())
    assert sizes_in(tmp_path) == [10, 40]


def test_begin_keeps_what_the_epoch_needs_and_says_so(
    open_cache: Callable[..., DatasetCache], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = open_cache(1000)
    get(cache, 10, 20, 30)
    small = open_cache(25)
    small.begin(needs(10, 20))
    assert sizes_in(tmp_path) == [10, 20]
    assert "exceed the limit by 5 bytes" in caplog.text and "--max_disk_gb" in caplog.text
    with pytest.raises(SetupError):
        get(small, 30)
    assert get(small, 10, 20)


def test_get_makes_room_for_what_may_come(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(100)
    cache.begin([])
    for number, path in enumerate(get(cache, 30, 40)):
        age(path, 100 - number)
    cache.begin(needs(40))
    get(cache, 20, max_bytes=60)
    assert sizes_in(tmp_path) == [20, 40]
    with pytest.raises(SetupError, match="no room for a dataset of up to 41 bytes") as error:
        get(cache, 41)
    assert "--max_disk_gb" in error.value.remedy
    get(cache, 39)
    cache.begin([])
    get(cache, 99)
    assert sizes_in(tmp_path) == [99]
    assert shelf.asked == ["any/30", "any/40", "any/20", "any/39", "any/99"]


def test_budget_is_what_other_caches_leave(open_cache: Callable[..., DatasetCache], tmp_path: Path) -> None:
    model = tmp_path / "models" / "some" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"x" * 60)
    cache = open_cache(100, tmp_path / "models", tmp_path / "not-there")
    cache.begin([])
    get(cache, 40)
    with pytest.raises(SetupError):
        get(cache, 1)
    model.unlink()
    cache.begin([])
    get(cache, 60)


def test_get_more_than_the_disk_has_is_a_setup_error_and_makes_what_room_there_is(
    open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(1 << 62)
    get(cache, 10)
    cache.begin([])
    with pytest.raises(SetupError, match="the disk has"):
        get(cache, 5, max_bytes=1 << 60)
    assert sizes_in(tmp_path) == []


def test_get_failed_leaves_nothing_reserved(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(50)
    cache.begin([])
    for _ in range(3):
        with pytest.raises(MinerFault):
            get(cache, -1, max_bytes=50)
        shelf.fault = HubTransient("no")
        with pytest.raises(HubTransient):
            get(cache, 7, max_bytes=50)
        shelf.fault = None
    get(cache, 50)
    assert sizes_in(tmp_path) == [50]


def rot(path: Path) -> None:
    path.write_bytes(b"y" + path.read_bytes()[1:])


def truncate(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [rot, truncate, Path.unlink])
def test_get_of_damaged_file_downloads_it_again(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], damage: Callable[[Path], None]
) -> None:
    cache = open_cache(10)
    (path,) = get(cache, 10)
    for reader in (cache, open_cache(10)):
        damage(path)
        assert get(reader, 10) == [path]
        assert path.read_bytes() == b"x" * 10
    assert shelf.asked == ["any/10"] * 3


def test_begin_clears_what_killed_downloads_left(
    open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    incoming = tmp_path / "datasets" / "incoming"
    incoming.mkdir(parents=True)
    needed, other = key_of("any/10"), key_of("any/20")
    for name in (f"{needed}.jsonl.part", f"{needed}.jsonl.{'a' * 32}.part", f"{other}.jsonl.part", "x"):
        (incoming / name).write_bytes(b"part")
    (incoming / f"{other}.jsonl").write_bytes(b"never looked at")
    (tmp_path / "datasets" / "foreign.txt").write_bytes(b"foreign")
    cache = open_cache(14)
    cache.begin(needs(10))
    assert [path.name for path in incoming.iterdir()] == [f"{needed}.jsonl.part"]
    with pytest.raises(SetupError):
        get(cache, 20, max_bytes=11)  # the part that is kept counts
    get(cache, 10)
    assert (tmp_path / "datasets" / "foreign.txt").exists()


def test_begin_on_many_files_removes_the_oldest(
    open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    directory = tmp_path / "datasets"
    directory.mkdir()
    for number in range(1500):
        path = directory / f"{number:064x}.{'0' * 64}.jsonl"
        path.write_bytes(b"xx")
        os.utime(path, (number, number))
    open_cache(1200).begin([(f"not/there{number}", COMMIT) for number in range(150)])
    left = sorted(int(path.name[:64], 16) for path in directory.glob("*.jsonl"))
    assert left == list(range(900, 1500))


def test_get_from_many_threads_downloads_each_once(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(100)
    cache.begin(needs(10, 20, 30, 40))
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(get, cache, size) for size in (10, 20, 30, 40) * 10]
        paths = {job.result(timeout=300)[0] for job in jobs}
    assert len(paths) == 4
    assert sorted(shelf.asked) == ["any/10", "any/20", "any/30", "any/40"]


def test_begin_touches_nothing_that_is_being_written(
    shelf: Shelf, open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    cache = open_cache(10)
    started, go_on = threading.Event(), threading.Event()
    download = shelf.download

    def slowly(namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path:
        path = download(namespace, commit, directory, max_bytes=max_bytes)
        started.set()
        assert go_on.wait(300)
        return path

    shelf.download = slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(get, cache, 10)
        assert started.wait(300)
        cache.begin([])
        with pytest.raises(SetupError):
            get(cache, 1)
        go_on.set()
        assert job.result(timeout=300)[0].exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs file modes")
def test_read_only_folder_still_gives_what_it_has(
    open_cache: Callable[..., DatasetCache], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "datasets"
    get(open_cache(100), 10, 20)
    cache = open_cache(5)
    directory.chmod(0o500)
    try:
        cache.begin(needs(10))
        assert "cannot be removed" in caplog.text
        assert get(cache, 10)[0].exists()
        with pytest.raises(SetupError, match="Cannot write"):
            get(open_cache(1000), 30)
    finally:
        directory.chmod(0o700)
    cache.begin(needs(10))
    assert sizes_in(directory) == [10]


def test_folder_that_is_no_folder_is_a_setup_error(
    open_cache: Callable[..., DatasetCache], tmp_path: Path
) -> None:
    (tmp_path / "datasets").write_bytes(b"")
    cache = open_cache(100)
    cache.begin([])
    with pytest.raises(SetupError, match="Cannot write to"):
        get(cache, 10)
    (tmp_path / "datasets").unlink()
    assert get(cache, 10)


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(1, 12), max_size=4)), max_size=12))
def test_cache_never_exceeds_the_budget_nor_loses_what_is_needed(
    steps: list[tuple[bool, list[int]]],
) -> None:
    """Epochs (True) and bare gets (False) of datasets of up to 12 bytes, under a budget of 48."""
    with TemporaryDirectory() as folder:
        cache = DatasetCache(Shelf(), Path(folder), max_bytes=48, others=[])
        needed: set[int] = set()
        for is_epoch, sizes in steps:
            if is_epoch:
                cache.begin(needs(*sizes))
                needed &= set(sizes)
            for size in sizes:
                fits = sum(needed | {size}) <= 48
                if fits:
                    get(cache, size)
                    needed.add(size)
                else:
                    with pytest.raises(SetupError):
                        get(cache, size)
            held = sizes_in(Path(folder))
            assert sum(held) <= 48
            assert needed <= set(held)


def test_cached_dataset_is_found_by_others_while_intact(tmp_path: Path) -> None:
    cache = DatasetCache(Shelf(), tmp_path, max_bytes=100, others=())
    [path] = get(cache, 7)
    assert cached_dataset(tmp_path, "any/7", COMMIT) == path
    assert cached_dataset(tmp_path, "any/8", COMMIT) is None
    path.write_bytes(b"changed")
    assert cached_dataset(tmp_path, "any/7", COMMIT) is None
    assert path.exists()
