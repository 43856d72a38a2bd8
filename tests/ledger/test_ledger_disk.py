"""Full, failing or read-only disks, locked or missing files: nothing is lost, and work continues."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from pathlib import Path

import pytest

import flockoff.ledger.database
from flockoff.errors import LedgerError, LedgerUnavailable
from flockoff.ledger import Ledger
from flockoff.records import Epoch, WeightsSet
from tests.support.crash_ledger import told
from tests.support.file_limit import no_file_beyond
from tests.support.ledger_records import (
    COMPETITION,
    EPOCH,
    NETUID,
    VALIDATOR,
    begin,
    commitment,
    eligible,
    evaluate,
    evaluation,
    judge,
    open_ledger,
    settlement,
)

START = EPOCH.start_block
HOTKEYS = [f"hotkey {number:03}" for number in range(256)]

files_stay = pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


def close(ledger: Ledger, start: int = START) -> None:
    """Store the outcome of an epoch of 256 miners: the largest transaction of all."""
    everyone = dict.fromkeys(HOTKEYS, 1 / 256)
    ledger.close_epoch(settlement(start, scores=everyone, evaluated=HOTKEYS, shares=everyone), block=700)


# --- full disks ------------------------------------------------------------------------------------------


def _as_root(*command: str) -> bool:
    needs_help = ["sudo", "-n"] if hasattr(os, "geteuid") and os.geteuid() != 0 else []
    try:
        return subprocess.run([*needs_help, *command], capture_output=True, timeout=300).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _as_root("mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(disk)):
        pytest.skip("no right to mount a disk")
    yield disk
    assert _as_root("umount", str(disk))


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No room is left on ``disk``, to the last byte."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


def test_full_disk_loses_nothing_and_all_goes_on_once_there_is_space(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    with open_ledger(path) as ledger:
        begin(ledger)
        judge(ledger, eligible("ann"))
        before = told(path)
        with filled(small_disk):
            for _ in range(3):
                with pytest.raises(LedgerUnavailable, match="disk") as caught:
                    close(ledger)
                assert "space" in caught.value.remedy
            assert not ledger.is_closed(START)
            assert ledger.verdicts(START) == [eligible("ann")]
            assert told(path) == before
        close(ledger)
        assert ledger.is_closed(START)
    with open_ledger(path) as ledger:
        assert len(ledger.memory().scores) == 256


def test_start_on_a_full_disk_is_refused_until_there_is_space(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    with filled(small_disk), pytest.raises(LedgerUnavailable):
        open_ledger(path)
    with open_ledger(path) as ledger:
        begin(ledger)
    with filled(small_disk), pytest.raises(LedgerUnavailable):
        open_ledger(path)
    with open_ledger(path) as ledger:
        assert ledger.epoch_plan(START) is not None


def test_file_that_may_not_grow_loses_nothing(path: Path) -> None:
    """As on a full disk, on every operating system: here it is SQLite that allows no more pages."""
    with open_ledger(path) as ledger:
        begin(ledger)
        [pages] = ledger._database.read("PRAGMA page_count")[0]
        ledger._database.read(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerUnavailable, match="The disk is full") as caught:
            close(ledger)
        assert "Free some space" in caught.value.remedy
        ledger._database.read("PRAGMA max_page_count = 100000")
        close(ledger)
        assert len(ledger.memory().scores) == 256


# --- failing disks ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no resource limits")
def test_write_that_fails_anywhere_stores_all_or_nothing(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    failures = 0
    with open_ledger(path) as ledger:
        for number in range(1, 200):
            start = 360 * number
            begin(ledger, epoch=Epoch(start, start + 360, 1))
            with no_file_beyond(log.stat().st_size + 1009 * number):
                try:
                    close(ledger, start)
                    break
                except LedgerUnavailable as fault:
                    assert "The disk reported an error" in fault.message
                    failures += 1
            assert not ledger.is_closed(start)
            assert ledger.memory().last_evaluated == dict.fromkeys(HOTKEYS[: 256 * (number > 1)], start - 360)
            close(ledger, start)
            assert ledger.memory().last_evaluated == dict.fromkeys(HOTKEYS, start)
    assert failures > 50


# --- disks that cannot be written ------------------------------------------------------------------------


def test_disk_mounted_read_only_is_refused_until_it_is_mended(small_disk: Path) -> None:
    path = small_disk / "ledger.sqlite"
    with open_ledger(path) as ledger:
        begin(ledger)
    assert _as_root("mount", "-o", "remount,ro", str(small_disk))
    try:
        with pytest.raises(LedgerUnavailable) as caught:
            open_ledger(path)
        assert "this user" in caught.value.remedy
        with pytest.raises(LedgerUnavailable):
            open_ledger(small_disk / "new" / "ledger.sqlite")
    finally:
        assert _as_root("mount", "-o", "remount,rw", str(small_disk))
    with open_ledger(path) as ledger:
        assert ledger.epoch_plan(START) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may write everywhere")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_without_the_right_to_write_is_refused_until_it_is_given(path: Path, what: str) -> None:
    with open_ledger(path) as ledger:
        begin(ledger)
    closed = path.parent if what == "folder" else path
    rights = closed.stat().st_mode
    closed.chmod(rights & ~0o222)
    try:
        with pytest.raises(LedgerUnavailable):
            open_ledger(path)
    finally:
        closed.chmod(rights)
    with open_ledger(path) as ledger:
        assert ledger.epoch_plan(START) is not None


# --- files that others use -------------------------------------------------------------------------------


def test_lock_of_another_program_is_waited_for_and_then_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flockoff.ledger.database, "BUSY_SECONDS", 0.05)  # nothing will release the lock
    with open_ledger(path) as ledger:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="Another program has it locked"):
                begin(ledger)
        begin(ledger)


def test_start_while_another_program_keeps_it_to_itself_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flockoff.ledger.database, "BUSY_SECONDS", 0.05)
    open_ledger(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="Another program has it locked"):
            open_ledger(path)
    open_ledger(path).close()


def _delete(path: Path) -> None:
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_name("moved"))


def _replace(path: Path) -> None:
    other = path.with_name("other.sqlite")
    open_ledger(other).close()
    other.replace(path)


@files_stay
@pytest.mark.parametrize("lose", [_delete, _move, _replace])
def test_ledger_lost_under_a_running_validator_is_saved(path: Path, lose: Callable[[Path], None]) -> None:
    with open_ledger(path) as ledger:
        begin(ledger)
        evaluate(ledger, evaluation("ann"))
        lose(path)
        with pytest.raises(LedgerError, match="it was moved, deleted or replaced") as caught:
            judge(ledger, eligible("ann"))
        assert not isinstance(caught.value, LedgerUnavailable), "to go on would be to write what nobody finds"
        [saved] = path.parent.glob("*.saved-*")
        assert str(saved) in caught.value.remedy
    for leftover in path.parent.glob(f"{path.name}*"):
        if leftover != saved:
            leftover.unlink()
    saved.rename(path)
    with open_ledger(path) as ledger:
        assert ledger.evaluations(START) == [evaluation("ann")]
        judge(ledger, eligible("ann"))


@files_stay
def test_folder_out_of_reach_for_a_while_loses_nothing(path: Path) -> None:
    with open_ledger(path) as ledger:
        begin(ledger)
        away = path.parent.rename(path.parent.with_name("away"))
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            judge(ledger, eligible("ann"))
        away.rename(path.parent)
        judge(ledger, eligible("ann"))
    with open_ledger(path) as ledger:
        assert ledger.verdicts(START) == [eligible("ann")]


# --- clocks ----------------------------------------------------------------------------------------------


def play(path: Path, clock: Callable[[], float]) -> None:
    with Ledger.open(path, netuid=NETUID, competition=COMPETITION, hotkey=VALIDATOR, clock=clock) as ledger:
        for start in (360, 720, 1080):
            ledger.record_commitments([commitment("ann", start - 10)])
            begin(ledger, epoch=Epoch(start, start + 360, 1))
            evaluate(ledger, evaluation("ann", epoch=start))
            judge(ledger, eligible("ann", epoch=start))
            close(ledger, start)
            ledger.record_weights(WeightsSet(start, start + 300, "", {"ann": 1.0}))
        last = ledger.last_weights()
    assert last is not None
    assert last.epoch == 1080


@pytest.mark.slow
def test_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    steady, jumping = tmp_path / "steady.sqlite", tmp_path / "jumping.sqlite"
    times = cycle([1e9, 0.0, 4e9, -1e9, 1e18, 1e9])
    play(steady, lambda: 1e9)
    play(jumping, lambda: next(times))
    assert told(steady) == told(jumping)
