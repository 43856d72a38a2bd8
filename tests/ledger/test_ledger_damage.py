"""Damaged files: refused with a remedy, or read as they are. Never a miner's fault, never a traceback."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flockoff.errors import LedgerError
from flockoff.ledger import Ledger
from flockoff.records import Epoch, WeightsSet
from tests.support.ledger_records import (
    begin,
    claim,
    commitment,
    eligible,
    evaluate,
    evaluation,
    judge,
    measurement,
    open_ledger,
    settlement,
)

PAGE = 4096
EPOCHS = [Epoch(360 * number, 360 * number + 360, number) for number in range(1, 5)]
HOTKEYS = [f"hotkey {number}" for number in range(8)]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A ledger with something in every table."""
    path = tmp_path_factory.mktemp("healthy") / "ledger.sqlite"
    with open_ledger(path) as ledger:
        ledger.record_base_loss(measurement())
        ledger.record_commitments([commitment(hotkey, 100) for hotkey in HOTKEYS])
        for epoch in EPOCHS:
            start = epoch.start_block
            begin(ledger, HOTKEYS, epoch)
            for hotkey in HOTKEYS:
                claim(ledger, f"hash of {hotkey}", hotkey, 100, 1)
                evaluate(ledger, evaluation(hotkey, epoch=start))
                judge(ledger, eligible(hotkey, epoch=start))
            everyone = dict.fromkeys(HOTKEYS, 0.125)
            ledger.close_epoch(
                settlement(start, scores=everyone, evaluated=HOTKEYS, win_rates=everyone, shares=everyone),
                block=start,
            )
            ledger.record_weights(WeightsSet(start, start, "0x01", everyone))
            ledger.record_choice(start, everyone)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def read_everything(ledger: Ledger) -> None:
    ledger.memory()
    ledger.last_weights()
    ledger.views.leaderboard()
    ledger.base_loss()
    ledger.open_epochs()
    for epoch in EPOCHS:
        start = epoch.start_block
        ledger.epoch(start)
        ledger.epoch_plan(start)
        ledger.evaluations(start)
        ledger.verdicts(start)
        ledger.weights_of_epoch(start)
        ledger.chosen_weights(start)
        ledger.closed_block(start)
    for hotkey in HOTKEYS:
        ledger.owner(f"hash of {hotkey}")
        ledger.memory(9999).earlier.get(hotkey)
        ledger.memory(9999).last_verdicts.get(hotkey)
        ledger.evaluation_faults(f"hash of {hotkey}", before=9999)


def is_refused(path: Path) -> bool:
    """Whether a ledger is refused, with a remedy. Otherwise all of it can be read and written."""
    try:
        with open_ledger(path) as ledger:
            read_everything(ledger)
            begin(ledger, epoch=Epoch(9000, 9360, 1))
    except LedgerError as error:
        assert error.remedy
        return True
    return False


def flipped(content: bytes, position: int, mask: int) -> bytes:
    return content[:position] + bytes([content[position] ^ mask]) + content[position + 1 :]


@pytest.mark.slow
def test_header_with_any_byte_changed_is_refused_or_does_not_matter(healthy: bytes, path: Path) -> None:
    refused = 0
    for position in range(100):
        path.write_bytes(flipped(healthy, position, 0xFF))
        refused += is_refused(path)
    assert refused > 20


@pytest.mark.slow
def test_file_with_a_byte_changed_anywhere_is_refused_or_read_as_it_is(healthy: bytes, path: Path) -> None:
    draw = random.Random(0)
    refused = 0
    for _ in range(60):
        path.write_bytes(flipped(healthy, draw.randrange(100, len(healthy)), draw.randrange(1, 256)))
        refused += is_refused(path)
    assert refused > 4


def test_file_with_a_page_of_junk_anywhere_is_refused(healthy: bytes, path: Path) -> None:
    draw = random.Random(0)
    for start in range(0, len(healthy), PAGE):
        path.write_bytes(healthy[:start] + draw.randbytes(PAGE) + healthy[start + PAGE :])
        assert is_refused(path)


@pytest.mark.parametrize("end", [1, 99, PAGE - 1, PAGE, 3 * PAGE, -PAGE])
def test_file_cut_short_is_refused(healthy: bytes, path: Path, end: int) -> None:
    path.write_bytes(healthy[:end])
    assert is_refused(path)


def test_empty_file_is_not_taken_for_a_new_ledger(healthy: bytes, path: Path) -> None:
    path.touch()
    with pytest.raises(LedgerError, match="The file is empty") as caught:
        open_ledger(path)
    assert "backup" in caught.value.remedy
    path.write_bytes(healthy)
    assert not is_refused(path)


def test_log_without_its_file_is_not_thrown_away(healthy: bytes, path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"the last epoch")
    with pytest.raises(LedgerError, match=r"missing, but ledger\.sqlite-wal"):
        open_ledger(path)
    assert log.read_bytes() == b"the last epoch"
    log.unlink()
    open_ledger(path).close()


def test_ledger_whose_making_was_cut_short_is_made_anew(path: Path) -> None:
    for name in ("ledger.sqlite.new", "ledger.sqlite.new-journal"):
        path.with_name(name).write_bytes(b"\xa5" * 9000)
    assert not is_refused(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]


@pytest.mark.slow
def test_log_with_a_byte_changed_loses_at_most_what_came_after(healthy: bytes, path: Path) -> None:
    """In a log everything has a checksum."""
    log = path.with_name(f"{path.name}-wal")
    path.write_bytes(healthy)
    start = 9000
    with open_ledger(path) as ledger:
        for number in range(10):
            begin(ledger, epoch=Epoch(start + 360 * number, start + 360 * number + 360, number))
        file, logged = path.read_bytes(), log.read_bytes()
    draw = random.Random(0)
    for _ in range(50):
        path.write_bytes(file)
        log.write_bytes(flipped(logged, draw.randrange(len(logged)), draw.randrange(1, 256)))
        with open_ledger(path, read_only=True) as ledger:
            begun = [ledger.epoch_plan(start + 360 * number) for number in range(10)]
            assert ledger.memory().scores == dict.fromkeys(HOTKEYS, 0.125)
        held = len([plan for plan in begun if plan is not None])
        assert all(plan is not None and len(plan) == 2 for plan in begun[:held])
        for leftover in (log, path.with_name(f"{path.name}-shm")):
            leftover.unlink(missing_ok=True)


@pytest.fixture
def spoilt(healthy: bytes, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for damaging a ledger unnoticed by SQLite."""
    path.write_bytes(healthy)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE places SET model_id = 'junk'",
        "UPDATE evaluations SET model_id = 'a/b:f127:' || hotkey",
        "UPDATE setups SET libraries = '{'",
        "UPDATE verdicts SET reason = 'no_such_reason'",
        "UPDATE verdicts SET detail = CAST(x'ff' AS TEXT)",
        "UPDATE scores SET hotkey = CAST(x'80' AS TEXT) WHERE hotkey = 'hotkey 1'",
    ],
)
def test_rows_that_make_no_sense_are_damage_and_no_miners_fault(
    spoilt: sqlite3.Connection, path: Path, statement: str
) -> None:
    spoilt.execute(statement)
    with open_ledger(path) as ledger, pytest.raises(LedgerError, match="The file is damaged"):
        read_everything(ledger)
