"""The ledger's disk fails anywhere in an epoch and recovers: the validator continues, and nothing is lost."""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from flockoff.records import Epoch
from flockoff.validate import Validator, run_epochs
from tests.support.arena import Arena
from tests.support.file_limit import no_file_beyond

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no resource limits"),
]

MINERS = 3
POINTS = 5  # of an epoch at which the disk fails
FAULT = "The disk reported an error"
FAULT_PAUSE = 0.1  # the validator's, before it tries again
PATIENCE_SECONDS = 300.0


def require_whole_epoch(arena: Arena, validator: Validator, epoch: Epoch) -> None:
    """Everybody was evaluated once and competed, and the chain has the weights that the ledger remembers."""
    ledger = validator.ledger
    verdicts = ledger.verdicts(epoch.start_block)
    assert [verdict.standing for verdict in verdicts] == ["eligible"] * MINERS
    assert len(ledger.evaluations(epoch.start_block)) == MINERS
    assert ledger.is_closed(epoch.start_block)
    recorded = ledger.weights_of_epoch(epoch.start_block)
    assert recorded is not None
    on_chain = arena.weights()
    for verdict in verdicts:
        weight = recorded.weights.get(verdict.hotkey, 0.0)
        assert on_chain.get(verdict.uid, 0.0) == pytest.approx(weight, abs=1e-4)


def log_of(arena: Arena) -> Path:
    """What the ledger writes to first."""
    return arena.directory / "ledger.sqlite-wal"


def let_the_disk_fail(arena: Arena, room: int, said: pytest.LogCaptureFixture) -> None:
    """After ``room`` more bytes of the ledger's log, until a moment after the validator said so."""
    stack = ExitStack()
    stack.enter_context(no_file_beyond(log_of(arena).stat().st_size + room))

    def mend() -> None:
        with stack:
            ends = time.monotonic() + PATIENCE_SECONDS
            while FAULT not in said.text and time.monotonic() < ends:
                time.sleep(0.01)
            time.sleep(3 * FAULT_PAUSE)

    threading.Thread(target=mend, daemon=True).start()


def at_the_first_evaluation(arena: Arena, act: Callable[[], None]) -> None:
    def first() -> None:
        arena.on_evaluation = lambda: None
        act()

    arena.on_evaluation = first


def test_disk_that_fails_in_mid_epoch_costs_nothing(arena: Arena, caplog: pytest.LogCaptureFixture) -> None:
    for miner in range(MINERS):
        arena.submit(miner, f"topic-{miner}", loss=1.0 + miner / 10)
    validator = arena.validator(fault_pause=FAULT_PAUSE)
    arena.play_epoch(validator)  # the first one also stores the datasets' sketches
    sizes: list[int] = []
    at_the_first_evaluation(arena, lambda: sizes.append(log_of(arena).stat().st_size))
    arena.play_epoch(validator)
    written = log_of(arena).stat().st_size - sizes[0]
    evaluated = validator.evaluator.evaluated  # type: ignore[attr-defined]
    for part in range(POINTS):
        evaluated.clear()
        caplog.clear()
        at_the_first_evaluation(arena, partial(let_the_disk_fail, arena, written * part // POINTS, caplog))
        epoch = arena.play_epoch(validator)
        require_whole_epoch(arena, validator, epoch)
        assert len(evaluated) == MINERS, "nothing was evaluated twice"
        assert FAULT in caplog.text
        assert "again" in caplog.text, "the line says what happens next"


def test_disk_that_fails_before_the_epoch_delays_its_beginning(
    arena: Arena, caplog: pytest.LogCaptureFixture
) -> None:
    for miner in range(MINERS):
        arena.submit(miner, f"topic-{miner}", loss=1.0 + miner / 10)
    validator = arena.validator(fault_pause=FAULT_PAUSE)
    arena.play_epoch(validator)
    arena.next_epoch()
    let_the_disk_fail(arena, 0, caplog)
    assert run_epochs(validator, 1)
    require_whole_epoch(arena, validator, arena.epoch())
    assert FAULT in caplog.text
