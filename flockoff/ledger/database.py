"""The ledger's SQLite file: opening, locking, transactions, and translating SQLite's errors."""

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal, Self, TypeVar

from flockoff.errors import LedgerError, LedgerUnavailable, MinerFault
from flockoff.files import remedy_for
from flockoff.ledger.filesystem import REMEDY, mounts, weakness
from flockoff.ledger.schema import APPLICATION_ID, MIGRATIONS, migrate, version_of

Parameters = Sequence[object] | Mapping[str, object]
Location = Path | Literal[":memory:"]
T = TypeVar("T")

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0  # how long to wait for another program that has the file locked

_DAMAGED = (
    "Restore the file from a backup, or move it aside to start with an empty one: scores then start from"
    " zero, and only the commitments that the chain still shows are known. Either way, also move away the"
    " files beside it whose names end in -wal and -shm."
)
_WRITABLE = (
    "Let this user write the file, its -wal and -shm files, and their folder, on a disk that is mounted for"
    " writing."
)
_BUG = "This is a bug: please report it with this message."
_MAY_BE_MENDED = frozenset(
    [
        *("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN"),
        *("SQLITE_PERM", "SQLITE_IOERR"),
    ]
)
_SHARING = (
    *(
        "SQLITE_IOERR_SHMOPEN",
        "SQLITE_IOERR_SHMMAP",
        "SQLITE_IOERR_SHMLOCK",
        "SQLITE_IOERR_LOCK",
        "SQLITE_IOERR_RDLOCK",
        "SQLITE_IOERR_UNLOCK",
    ),
    *("SQLITE_IOERR_CHECKRESERVEDLOCK", "SQLITE_PROTOCOL"),
)
_WHAT_TO_DO = {
    "SQLITE_FULL": ("The disk is full", "Free some space. Everything stored so far is safe."),
    "SQLITE_BUSY": ("Another program has it locked", "Close that program (a database browser, a backup)."),
    "SQLITE_CORRUPT": ("The file is damaged", _DAMAGED),
    "SQLITE_NOTADB": ("The file is not a ledger, or is damaged", _DAMAGED),
    "": ("The file is damaged", _DAMAGED),  # Python's own error: text that is not UTF-8
    "SQLITE_READONLY": ("It cannot be written", _WRITABLE),
    "SQLITE_CANTOPEN": (
        "It cannot be opened",
        "Check that it exists (a validator makes it when it starts) and that this user may open it.",
    ),
    "SQLITE_PERM": ("Access was denied", _WRITABLE),
    "SQLITE_IOERR": ("The disk reported an error", "Check the disk and that it has space left."),
    "SQLITE_CONSTRAINT": (
        "A record contradicts what is stored, so it was not stored",
        _BUG,
    ),
}


class Database:
    """One open file. Use it only from the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, location: Location, resources: ExitStack) -> None:
        self.location = location
        self._file = _file_at(location)
        self._connection = connection
        self._resources = resources

    @classmethod
    def open(cls, location: Location, *, read_only: bool) -> Self:
        """Open the file; unless ``read_only``, create or migrate it and lock out other writers.

        Raises LedgerError for a file that is in use, damaged, empty, not a ledger, or of a newer version, and
        LedgerUnavailable for what can be fixed.
        """
        with translated(location), ExitStack() as resources:
            if isinstance(location, Path) and not read_only:
                location.parent.mkdir(parents=True, exist_ok=True)
                if weak := weakness(location, mounts()):
                    log.warning("Ledger %s %s. %s", location, weak, REMEDY)
                _lock(location, resources)
                _make_file(location)
            connection = _connect(location, read_only=read_only)
            resources.callback(connection.close)
            _require_ledger(connection, location, read_only=read_only)
            if not read_only:
                _prepare(connection, location)
            _require_tables(connection, location)
            connection.execute("PRAGMA foreign_keys = ON")
            database = cls(connection, location, resources.pop_all())
        return database

    def close(self) -> None:
        with translated(self.location):
            self._resources.close()

    def read(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        with translated(self.location):
            return self._connection.execute(sql, parameters).fetchall()

    def records(self, make: Callable[[sqlite3.Row], T], sql: str, parameters: Parameters = ()) -> list[T]:
        """``make`` applied to each row. Rows that it rejects mean a damaged file."""
        rows = self.read(sql, parameters)
        try:
            return [make(row) for row in rows]
        except (MinerFault, ValueError) as error:
            raise _damaged(self.location, error) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything done inside is committed at the end, or nothing."""
        with translated(self.location):
            self._require_in_place()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()

    def _require_in_place(self) -> None:
        """Raise LedgerError if the file is no longer where it was opened: writes would be lost with it.

        First saves everything stored, from the file that maybe only this process still has open.
        """
        now = _file_at(self.location)
        if self._file is None or (now is not None and os.path.samestat(now, self._file)):
            return
        saved = f"{self.location}.saved-{os.getpid()}"
        self._connection.execute("VACUUM INTO ?", (saved,))
        raise LedgerError(
            f"Ledger {self.location}: it was moved, deleted or replaced while in use.",
            remedy=f"A full copy is in {saved}: move it into place, or away to start with an empty one.",
        )


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Turn SQLite's errors into LedgerError, or LedgerUnavailable for what can be fixed.

    A ProgrammingError is a bug of ours and is left alone.
    """
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as error:
        # Extended codes such as SQLITE_IOERR_WRITE start with the base code.
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_SHARING):
            what = "Its file system does not let programs share memory and locks"
            raise LedgerError(f"Ledger {location}: {what} ({error}).", remedy=REMEDY) from error
        name = "_".join(name.split("_")[:2])
        what, remedy = _WHAT_TO_DO.get(name, ("It failed", _BUG))
        if name == "SQLITE_CANTOPEN" and isinstance(location, Path) and not os.access(location, os.R_OK):
            remedy = remedy_for(PermissionError(errno.EACCES, ""), location) if location.exists() else remedy
        kind = LedgerUnavailable if name in _MAY_BE_MENDED else LedgerError
        raise kind(f"Ledger {location}: {what} ({error}).", remedy=remedy) from error
    except UnicodeDecodeError as error:  # Python reading SQLite's message about a damaged schema
        raise _damaged(location, error) from error
    except OSError as error:
        raise LedgerUnavailable(
            f"Ledger {location}: Its folder cannot be used ({error.strerror}).",
            remedy=remedy_for(error, error.filename or location),
        ) from error


def _file_at(location: Location) -> os.stat_result | None:
    try:
        return location.stat() if isinstance(location, Path) else None
    except OSError:
        return None


def _make_file(path: Path) -> None:
    """Create the ledger if there is none: complete, under another name first.

    So an empty file, or a log without its file, has lost its content. SQLite would treat it as new.
    """
    log = path.with_name(f"{path.name}-wal")
    if path.exists():
        if path.stat().st_size == 0:
            raise LedgerError(f"Ledger {path}: The file is empty.", remedy=_DAMAGED)
        # SQLite would open it read-only and create files beside it that nobody may write later either.
        if not os.access(path, os.W_OK):
            raise LedgerUnavailable(f"Ledger {path}: It cannot be written.", remedy=_WRITABLE)
        return
    if log.exists():
        raise LedgerError(
            f"Ledger {path}: the file is missing, but {log.name} has its latest changes.",
            remedy=f"Put the file back, or move {log.name} away to start with an empty ledger.",
        )
    new = path.with_name(f"{path.name}.new")
    for leftover in (new, path.with_name(f"{new.name}-journal")):
        leftover.unlink(missing_ok=True)
    with closing(_connect(new, read_only=False)) as connection:
        migrate(connection)
    new.replace(path)


def _lock(path: Path, resources: ExitStack) -> None:
    """Lock out other writers until ``resources`` is closed or this process dies, in any way.

    An open transaction on a second, empty database is a lock that works the same on every operating system.
    On the ledger itself it would also lock out readers.
    """
    lock_path = path.with_name(f"{path.name}.lock")
    lock = sqlite3.connect(lock_path, timeout=0, isolation_level=None)
    resources.callback(lock.close)
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        raise LedgerError(
            f"Ledger {path}: another validator is using it.",
            remedy="Stop that validator first, or give this one a data folder of its own.",
        ) from error


def _connect(location: Location, *, read_only: bool) -> sqlite3.Connection:
    if isinstance(location, Path) and read_only:
        target = f"{location.absolute().as_uri()}?mode=ro"
    else:
        target = str(location)
    connection = sqlite3.connect(target, uri=read_only, timeout=BUSY_SECONDS, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _require_ledger(connection: sqlite3.Connection, location: Location, *, read_only: bool) -> None:
    """Raise LedgerError unless this is a ledger of a version that can be used. Changes nothing."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    version = version_of(connection)
    if location == ":memory:":
        return
    if application_id != APPLICATION_ID:
        raise LedgerError(
            f"Ledger {location}: this is another program's file, or an empty one.",
            remedy="Choose another path; the file was left unchanged.",
        )
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"Ledger {location}: its version {version} is newer than this program's {len(MIGRATIONS)}.",
            remedy="Update FLock OFF.",
        )
    if read_only and version < len(MIGRATIONS):
        raise LedgerError(
            f"Ledger {location}: its version {version} is older than this program's {len(MIGRATIONS)}.",
            remedy="Start the validator once: it upgrades the file.",
        )


def _prepare(connection: sqlite3.Connection, location: Location) -> None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _damaged(location, verdict)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode not in ("wal", "memory"):
        raise LedgerError(
            f"Ledger {location}: Its file system does not take SQLite's write-ahead log.", remedy=REMEDY
        )
    connection.execute("PRAGMA synchronous = FULL")
    migrate(connection)


def _require_tables(connection: sqlite3.Connection, location: Location) -> None:
    """Raise LedgerError for a damaged schema, which SQLite's integrity check does not detect."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        migrate(model)
        missing = _tables(model) - _tables(connection)
    if missing:
        raise _damaged(location, f"{missing.pop()[0]} is missing or altered")


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str | None]]:
    return {(name, sql) for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema")}


def _damaged(location: Location, detail: object) -> LedgerError:
    return LedgerError(f"Ledger {location}: The file is damaged ({detail}).", remedy=_DAMAGED)
