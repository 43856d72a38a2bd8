"""The datasets on this machine: within a disk budget, and verified before each use.

The folder holds complete files, ``KEY.SHA256.jsonl``: the key stands for repo and commit, the hash is the
content's, so that one rename publishes both. Downloads in progress are in its subfolder ``incoming``.
"""

import logging
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flockoff.errors import SetupError
from flockoff.hub.files import dataset_key, digest_of, move_into_place
from flockoff.metrics import Metrics
from flockoff.text import counted

_log = logging.getLogger(__name__)

_WHOLE = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{64})\.jsonl")
_KEY_LENGTH = 64
_REMEDY = "Raise --max_disk_gb, or free some space on the disk."


class Downloads(Protocol):
    """The part of ``ports.Hub`` that downloads datasets."""

    def download(self, namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path: ...


@dataclass(frozen=True, slots=True)
class _Whole:
    path: Path
    sha256: str
    size: int  # bytes


@dataclass(slots=True)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class DatasetCache:
    """Datasets under ``directory``, which together with ``others`` (other caches' folders) keep to
    ``max_bytes``.

    What the epoch needs is never removed; of the rest, the least recently used goes first. Thread-safe; for
    one process at a time.
    """

    def __init__(
        self,
        hub: Downloads,
        directory: Path,
        *,
        max_bytes: int,
        others: Sequence[Path],
        metrics: Metrics | None = None,
    ) -> None:
        self._hub = hub
        self._metrics = metrics or Metrics()
        self._directory = directory
        self._incoming = directory / "incoming"
        self._max_bytes = max_bytes
        self._others = tuple(others)
        self._lock = threading.Lock()  # for everything below
        self._scanned = False
        self._budget = max_bytes  # after the others' share
        self._needed: frozenset[str] = frozenset()  # keys
        self._whole: OrderedDict[str, _Whole] = OrderedDict()  # by key, least recently used first
        self._parts: dict[str, int] = {}  # bytes of interrupted downloads, by key
        self._coming: dict[str, int] = {}  # bytes that each download in progress may take, by key
        self._turns: dict[str, _Turn] = {}  # for the keys currently in ``get``

    def begin(self, needed: Collection[tuple[str, str]]) -> None:
        """Start an epoch that needs these (namespace, commit) pairs, and whatever ``get`` is called for.

        Scans the folders, removes leftovers of killed downloads and what exceeds the budget; what cannot be
        removed is logged and stays. Raises SetupError for an unreadable folder.
        """
        with self._lock:
            self._needed = frozenset(dataset_key(namespace, commit) for namespace, commit in needed)
            self._scan()
            self._make_room(0)
            self._show()
            if (excess := self._used() - self._budget) > 0:
                _log.warning(
                    "The datasets that this epoch needs, or that cannot be removed, exceed the limit by %d "
                    "bytes. They stay, and no others are downloaded. %s",
                    excess,
                    _REMEDY,
                )

    def get(self, namespace: str, commit: str, *, max_bytes: int, needed: bool = True) -> Path:
        """``data.jsonl`` of one dataset at one commit, as the hub once gave it, to the last byte.

        ``needed``: whether it must stay for the epoch; else it goes with others when room is needed.
        Raises what ``ports.Hub.download`` does, SetupError also where there is no room for ``max_bytes``.
        """
        key = dataset_key(namespace, commit)
        with self._turn(key, needed=needed):
            path = self._intact(key)
            return path if path is not None else self._download(key, namespace, commit, max_bytes)

    @contextmanager
    def _turn(self, key: str, *, needed: bool) -> Iterator[None]:
        """Serialise calls for the same key, so that nothing is downloaded twice."""
        with self._lock:
            if not self._scanned:
                self._scan()
            if needed:
                self._needed |= {key}
            turn = self._turns.setdefault(key, _Turn())
            turn.users += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.users -= 1
                if turn.users == 0:
                    del self._turns[key]

    def _intact(self, key: str) -> Path | None:
        """The file if present and unchanged; a changed one is removed."""
        with self._lock:
            whole = self._whole.get(key)
        if whole is None:
            return None
        if whole.path.exists():
            if digest_of(whole.path).sha256 == whole.sha256:
                self._mark_used(key, whole.path)
                return whole.path
            _log.warning("%s has changed on the disk: it is downloaded again.", whole.path)
        with self._lock, _translated(f"remove {whole.path}"):
            whole.path.unlink(missing_ok=True)
            self._whole.pop(key, None)
        return None

    def _mark_used(self, key: str, path: Path) -> None:
        with self._lock:
            if key in self._whole:  # not removed by another thread meanwhile
                self._whole.move_to_end(key)
        try:
            os.utime(path)
        except OSError as error:  # nothing can be removed from this folder either
            _log.debug("%s: not marked as used: %s", path, error)

    def _download(self, key: str, namespace: str, commit: str, max_bytes: int) -> Path:
        with self._reserved(key, max_bytes):
            arrived = self._fetch(namespace, commit, max_bytes)
            digest = digest_of(arrived)
            target = self._directory / f"{key}.{digest.sha256}.jsonl"
            with self._lock, _translated(f"write {target}"):
                try:
                    move_into_place(arrived, target)
                except OSError:
                    _unlink(arrived)
                    raise
                self._whole[key] = _Whole(target, digest.sha256, digest.size)
                self._coming[key] = 0  # else the file would count twice until the reservation ends
                self._show()
        self._metrics.downloaded_bytes.inc(digest.size)
        return target

    def _fetch(self, namespace: str, commit: str, max_bytes: int) -> Path:
        outcome = "failed"
        try:
            path = self._hub.download(namespace, commit, self._incoming, max_bytes=max_bytes)
            outcome = "done"
        finally:
            self._metrics.downloads.labels(outcome=outcome).inc()
        return path

    @contextmanager
    def _reserved(self, key: str, size: int) -> Iterator[None]:
        """Reserve ``size`` bytes for a download. Raises SetupError if there is no room."""
        with self._lock:
            with _translated(f"write to {self._directory}"):
                self._directory.mkdir(parents=True, exist_ok=True)
            self._parts.pop(key, None)  # it now counts as reserved
            if not self._make_room(size):
                raise SetupError(
                    f"There is no room for a dataset of up to {size:,} bytes: datasets may take "
                    f"{self._budget:,}, take {self._used():,} now, and the disk has {self._free():,} left.",
                    remedy=_REMEDY,
                )
            self._coming[key] = size
        try:
            yield
        finally:
            with self._lock:
                del self._coming[key]
                part = self._incoming / f"{key}.jsonl.part"
                if part.exists():
                    self._parts[key] = part.stat().st_size

    # --- what is there, and what may be ------------------------------------------------------------------

    def _scan(self) -> None:
        """Index the files in the folder, and compute what the others leave of the budget."""
        with _translated(f"look through {self._directory}"):
            found = sorted(_whole_files(self._directory), key=lambda item: item[0])
            self._whole = OrderedDict((key, whole) for _, key, whole in found)
            self._clear_incoming()
        self._budget = self._max_bytes - sum(_bytes_below(folder) for folder in self._others)
        self._scanned = True

    def _clear_incoming(self) -> None:
        """Remove everything but downloads in progress and partial ones that a needed dataset can resume."""
        self._parts = {}
        stuck: list[OSError] = []
        for path, status in _files_in(self._incoming):
            key = path.name[:_KEY_LENGTH]
            if key in self._coming:
                continue
            if key in self._needed and path.name == f"{key}.jsonl.part":
                self._parts[key] = status.st_size
            elif (problem := _unlink(path)) is not None:
                stuck.append(problem)
        _log_stuck(stuck)

    def _used(self) -> int:
        whole = sum(file.size for file in self._whole.values())
        return whole + sum(self._parts.values()) + sum(self._coming.values())

    def _show(self) -> None:
        self._metrics.dataset_bytes.set(sum(file.size for file in self._whole.values()))
        if self._directory.is_dir():
            self._metrics.disk_free.set(shutil.disk_usage(self._directory).free)

    def _free(self) -> int:
        """Bytes on the disk not reserved for downloads in progress."""
        return shutil.disk_usage(self._directory).free - sum(self._coming.values())

    def _make_room(self, size: int) -> bool:
        """Remove the least recently used until ``size`` bytes fit budget and disk; returns whether they
        do."""
        lacking = self._used() + size - self._budget
        if size:
            lacking = max(lacking, size - self._free())
        stuck: list[OSError] = []
        for key in [key for key in self._whole if key not in self._needed and key not in self._turns]:
            if lacking <= 0:
                break
            problem = _unlink(self._whole[key].path)
            if problem is None:
                lacking -= self._whole.pop(key).size
            else:
                stuck.append(problem)
        _log_stuck(stuck)
        return lacking <= 0


def cached_dataset(directory: Path, namespace: str, commit: str) -> Path | None:
    """A dataset's intact file in the ``DatasetCache`` under ``directory``, or None.

    Read-only, so it is safe beside the process that owns the cache, which may remove the file at any time.
    """
    wanted = dataset_key(namespace, commit)
    for _, key, whole in _whole_files(directory):
        if key == wanted and digest_of(whole.path).sha256 == whole.sha256:
            return whole.path
    return None


def _whole_files(directory: Path) -> Iterator[tuple[float, str, _Whole]]:
    """Each complete file: when it was last used, its key, and itself."""
    for path, status in _files_in(directory):
        name = _WHOLE.fullmatch(path.name)
        if name is not None:
            yield status.st_mtime, name[1], _Whole(path, name[2], status.st_size)


def _files_in(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of a folder, if it exists, without those that vanish meanwhile."""
    if not directory.is_dir():
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total


def _unlink(path: Path) -> OSError | None:
    """Remove a file; returns the error, if any."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error
    return None


def _log_stuck(stuck: list[OSError]) -> None:
    if stuck:
        _log.warning("%s cannot be removed until the next epoch: %s.", counted(len(stuck), "file"), stuck[0])


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"Cannot {doing}: {error.strerror}.",
            remedy="Check the disk's free space and the folder's permissions.",
        ) from error
