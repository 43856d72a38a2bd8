"""A validator killed while writing loses nothing stored, and stores nothing partially."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flockoff.flags import PROJECT_ROOT
from tests.support.ledger_records import commitment, open_ledger

pytestmark = pytest.mark.slow

# Plays epochs as fast as it can: every score of an epoch is the epoch's number, so that halves would show.
# What it prints has been stored when it is printed.
PLAY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.support.ledger_records import commitment, eligible, judge, open_ledger, settlement
from flockoff.records import Epoch
HOTKEYS = [f"hotkey {i:03}" for i in range(256)]
with open_ledger(Path(sys.argv[1])) as ledger:
    number = int(max(ledger.memory().scores.values(), default=0))
    while True:
        number += 1
        start = 360 * number
        plan = [commitment(hotkey, 10 + i, uid=i) for i, hotkey in enumerate(HOTKEYS)]
        ledger.begin_epoch(Epoch(start, start + 360, number), plan)
        print("begun", start, flush=True)
        judge(ledger, eligible("hotkey 000", epoch=start))
        print("evaluated", start, flush=True)
        everyone = dict.fromkeys(HOTKEYS, float(number))
        ledger.close_epoch(settlement(start, scores=everyone, evaluated=HOTKEYS), block=1000)
        print("closed", start, flush=True)
"""


# Dies with a transaction open that is far larger than SQLite's cache, so that much of it is in the file.
HALF = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.support.ledger_records import commitment, open_ledger
with open_ledger(Path(sys.argv[1])) as ledger, ledger._database.transaction() as connection:
    rows = [(f"hotkey {i:06}", i, 1, "x" * 100) for i in range(40_000)]
    connection.executemany("INSERT INTO commitments (hotkey, block, uid, model_id) VALUES (?, ?, ?, ?)", rows)
    print("half", flush=True)
    sys.stdin.read()
"""


def play_and_kill(path: Path, seconds: float) -> list[tuple[str, int]]:
    """What a validator reported stored before it was killed, ``seconds`` after its first word."""
    arguments = [sys.executable, "-c", PLAY, str(path), str(PROJECT_ROOT)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        lines = [first, *process.stdout]
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(what, int(start)) for what, start in words]


def test_ledger_killed_in_mid_write_has_all_that_was_stored_and_no_halves(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for round_number in range(5):
        said = play_and_kill(path, 0.05 + 0.037 * round_number)
        with open_ledger(path, read_only=round_number % 2 == 0) as ledger:
            last: dict[str, int] = {}
            for what, start in said:
                last[what] = start
                assert ledger.epoch_plan(start) is not None
                if what == "evaluated":
                    assert len(ledger.evaluations(start)) == len(ledger.verdicts(start)) == 1
                if what == "closed":
                    assert ledger.is_closed(start)
            begun = last["begun"]
            plan = ledger.epoch_plan(begun)
            assert plan is not None
            assert len(plan) == 256
            scores, turns = ledger.memory().scores, ledger.memory().last_evaluated
            assert len(set(scores.values())) <= 1, "every score is of the same epoch"
            assert len(scores) == len(turns) in (0, 256)
            assert {int(score) * 360 for score in scores.values()} == set(turns.values())
            closed = max(turns.values(), default=0)
            assert closed >= last.get("closed", 0)
            assert closed == 0 or ledger.is_closed(closed)
            assert not ledger.is_closed(closed + 360)


def test_ledger_killed_inside_a_transaction_has_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as ledger:
        ledger.record_commitments([commitment("ann", 100)])
    arguments = [sys.executable, "-c", HALF, str(path), str(PROJECT_ROOT)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert Path(f"{path}-wal").stat().st_size > 1_000_000
    for read_only in (True, False):
        with open_ledger(path, read_only=read_only) as ledger:
            assert ledger.memory(101).earlier.get("ann") == commitment("ann", 100)
            with pytest.raises(KeyError):
                ledger.memory().first_blocks["hotkey 000000"]
