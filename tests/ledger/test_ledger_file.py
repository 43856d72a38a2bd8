"""The ledger as a file: whose it is, who may open it, older versions."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flockoff.errors import LedgerError
from flockoff.flags import PROJECT_ROOT
from flockoff.ledger import Ledger
from flockoff.ledger.schema import APPLICATION_ID, MIGRATIONS, migrate, version_of
from tests.support.ledger_records import (
    COMPETITION,
    EPOCH,
    NETUID,
    VALIDATOR,
    begin,
    commitment,
    eligible,
    judge,
    open_ledger,
)

START = EPOCH.start_block


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "données #1 %41" / "ledger.sqlite"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "plain.sqlite", isolation_level=None)
    yield connection
    connection.close()


def schema_of(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return rows


# --- whose it is -----------------------------------------------------------------------------------------


def test_open_again_goes_on_where_it_was(path: Path) -> None:
    with open_ledger(path) as ledger:
        begin(ledger)
        judge(ledger, eligible("ann"))
    with open_ledger(path) as ledger:
        assert ledger.begin_epoch(EPOCH, []) == [commitment("ann", 100, uid=0), commitment("bob", 101)]
        assert ledger.verdicts(START) == [eligible("ann")]


def test_open_ledger_of_another_chain_is_refused_once_its_own_is_known(path: Path) -> None:
    about = {"netuid": NETUID, "competition": COMPETITION, "hotkey": VALIDATOR}
    Ledger.open(path, **about).close()  # type: ignore[arg-type]
    with Ledger.open(path, **about, genesis="ab" * 32) as ledger:  # type: ignore[arg-type]
        assert ledger.identity().genesis == "ab" * 32
    with pytest.raises(LedgerError, match="another chain") as caught:
        Ledger.open(path, **about, genesis="cd" * 32)  # type: ignore[arg-type]
    assert "data folder" in caught.value.remedy


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("netuid", "competition", "hotkey", "named"),
    [
        (8, COMPETITION, VALIDATOR, "netuid 7, not 8"),
        (NETUID, "other", VALIDATOR, "competition f127, not other"),
        (NETUID, COMPETITION, "5Other", "hotkey 5Validator, not 5Other"),
    ],
)
def test_open_ledger_of_another_is_refused(
    path: Path, netuid: int, competition: str, hotkey: str, named: str, read_only: bool
) -> None:
    open_ledger(path).close()
    with pytest.raises(LedgerError, match=named) as caught:
        Ledger.open(path, netuid=netuid, competition=competition, hotkey=hotkey, read_only=read_only)
    assert caught.value.remedy
    open_ledger(path).close()


def test_open_to_look_needs_no_hotkey(path: Path) -> None:
    open_ledger(path).close()
    Ledger.open(path, netuid=NETUID, competition=COMPETITION, read_only=True).close()


def test_open_file_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="another program"):
            open_ledger(path, read_only=read_only)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
def test_open_file_that_is_no_database_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n" * 200)
    with pytest.raises(LedgerError, match="not a ledger"):
        open_ledger(path, read_only=read_only)
    assert path.read_text() == "buy milk\n" * 200


def test_open_missing_file_to_look_is_refused_and_makes_none(path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(path, read_only=True)
    assert not path.parent.exists()


def test_open_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="folder cannot be used"):
        open_ledger(tmp_path / "file" / "ledger.sqlite")


def test_open_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(tmp_path)


# --- who may open it -------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.support.ledger_records import open_ledger
try:
    with open_ledger(Path(sys.argv[1])):
        print("open", flush=True)
        sys.stdin.read()
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def other_process(path: Path) -> "subprocess.Popen[str]":
    """A process that opens the ledger for writing, reports the outcome, and holds it until its input ends."""
    arguments = [sys.executable, "-c", HOLD, str(path), str(PROJECT_ROOT)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
def test_open_second_writer_is_refused_until_the_first_ends(path: Path) -> None:
    with open_ledger(path):
        with pytest.raises(LedgerError, match="another validator is using it"):
            open_ledger(path)
        with other_process(path) as refused:
            assert "another validator is using it" in said(refused)
    with other_process(path) as first:
        assert said(first) == "open\n"
        with pytest.raises(LedgerError, match="another validator is using it") as caught:
            open_ledger(path)
        assert "Stop that validator" in caught.value.remedy
        first.kill()
    open_ledger(path).close()


def test_open_to_look_works_while_a_writer_writes_and_after(path: Path) -> None:
    with open_ledger(path) as writer:
        begin(writer)
        with open_ledger(path, read_only=True) as reader:
            judge(writer, eligible("ann"))
            assert reader.verdicts(START) == [eligible("ann")]
    with open_ledger(path, read_only=True) as reader:
        assert reader.verdicts(START) == [eligible("ann")]


def test_open_to_look_cannot_write(path: Path) -> None:
    open_ledger(path).close()
    with open_ledger(path, read_only=True) as reader, pytest.raises(LedgerError, match="cannot be written"):
        reader.record_commitments([commitment("ann", 100)])


def test_use_after_close_is_a_bug_of_the_caller(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.close()
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.memory()


# --- versions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_open_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    connection = sqlite3.connect(old, isolation_level=None)
    migrate(connection, MIGRATIONS[:version])
    connection.close()
    open_ledger(old).close()
    open_ledger(new).close()
    assert schema_of(old) == schema_of(new)
    with open_ledger(old) as ledger:
        begin(ledger)


def test_open_older_version_to_look_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("CREATE TABLE something (x)")
    connection.close()
    with pytest.raises(LedgerError, match="is older than"):
        open_ledger(path, read_only=True)


def test_open_newer_version_is_refused_and_untouched(path: Path) -> None:
    open_ledger(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    content = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(LedgerError, match="is newer than") as caught:
            open_ledger(path, read_only=read_only)
        assert "Update" in caught.value.remedy
    assert path.read_bytes() == content


SCRIPTS = (
    "CREATE TABLE a (x); INSERT INTO a VALUES (1)",
    "ALTER TABLE a ADD COLUMN y DEFAULT 2",
    "CREATE TABLE b AS SELECT x, y, x + y AS z FROM a; DROP TABLE a;",
)


@pytest.mark.parametrize("start", range(len(SCRIPTS) + 1))
def test_migrate_from_any_version_runs_the_scripts_that_are_missing(
    connection: sqlite3.Connection, start: int
) -> None:
    migrate(connection, SCRIPTS[:start])
    assert version_of(connection) == start
    migrate(connection, SCRIPTS)
    assert version_of(connection) == len(SCRIPTS)
    assert connection.execute("SELECT * FROM b").fetchall() == [(1, 2, 3)]


def test_migrate_script_that_fails_leaves_the_version_before_it(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        migrate(connection, (*SCRIPTS[:2], "INSERT INTO a VALUES (5, 5); DROP TABLE missing"))
    assert version_of(connection) == 2
    assert not connection.in_transaction
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 2)]


def test_open_copy_of_a_ledger_is_a_ledger(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    with open_ledger(path) as ledger:
        begin(ledger)
    shutil.copy(path, copy)
    with open_ledger(path), open_ledger(copy) as ledger:
        assert ledger.epoch(START) is not None
