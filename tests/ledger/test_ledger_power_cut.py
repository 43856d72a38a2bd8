"""A power cut: any part of unsynced writes may be missing, but everything stored is there.

SQLite writes a transaction to the end of its log, the file ``-wal``, and with ``synchronous=FULL`` returns
when the disk has it; later it copies the log's pages into the file itself.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from flockoff.ledger import Ledger
from flockoff.records import WeightsSet
from tests.support.crash_ledger import told
from tests.support.ledger_records import (
    EPOCH,
    claim,
    commitment,
    eligible,
    judge,
    open_ledger,
    settlement,
)

START = EPOCH.start_block
LOG_HEADER, FRAME_HEADER, PAGE = 32, 24, 4096
FRAME = FRAME_HEADER + PAGE

STEPS: tuple[Callable[[Ledger], object], ...] = (
    lambda ledger: ledger.record_commitments([commitment("ann", 100), commitment("bob", 110)]),
    lambda ledger: ledger.begin_epoch(EPOCH, [commitment("ann", 100), commitment("bob", 110)]),
    lambda ledger: claim(ledger, "hash of ann", "ann", 100, 1),
    lambda ledger: judge(ledger, eligible("ann")),
    lambda ledger: ledger.close_epoch(
        settlement(
            START, scores={"ann": 0.2}, evaluated=["ann"], win_rates={"ann": 1.0}, shares={"ann": 1.0}
        ),
        block=700,
    ),
    lambda ledger: ledger.record_choice(START, {"ann": 1.0}),
    lambda ledger: ledger.record_weights(WeightsSet(START, 701, "701-1", {"ann": 1.0})),
)


def content_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


@dataclass(frozen=True)
class Story:
    """``states[i]``: what the ledger at ``path`` held after i transactions.

    ``file`` and ``log``: its two files after the last one; ``checkpointed``: the file with the log's pages.
    """

    path: Path
    states: list[list[str]]
    file: bytes
    log: bytes
    checkpointed: bytes

    def frames(self) -> list[int]:
        """Where the log's frames begin."""
        return list(range(LOG_HEADER, len(self.log), FRAME))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    path = tmp_path_factory.mktemp("story") / "ledger.sqlite"
    log = path.with_name(f"{path.name}-wal")
    with open_ledger(path) as ledger:
        states = [content_of(path)]
        for step in STEPS:
            step(ledger)
            states.append(content_of(path))
        file, logged = path.read_bytes(), log.read_bytes()
    return Story(path, states, file, logged, path.read_bytes())


@dataclass
class Afterwards:
    """Starts a validator on what a power cut left behind."""

    directory: Path
    story: Story
    cuts: int = 0

    def transactions(self, file: bytes, log: bytes) -> int:
        """How many of the story's transactions the ledger holds. It holds whole ones, and the first ones."""
        self.cuts += 1
        path = self.directory / f"{self.cuts}.sqlite"
        path.write_bytes(file)
        path.with_name(f"{path.name}-wal").write_bytes(log)
        with open_ledger(path):
            return self.story.states.index(content_of(path))


@pytest.fixture
def afterwards(tmp_path: Path, story: Story) -> Iterator[Afterwards]:
    yield Afterwards(tmp_path, story)


def test_every_transaction_is_on_the_disk_when_it_is_over(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger._database.read("PRAGMA synchronous")[0][0] == 2  # FULL
        assert ledger._database.read("PRAGMA journal_mode")[0][0] == "wal"


@pytest.mark.slow
def test_log_cut_off_anywhere_leaves_the_transactions_before(story: Story, afterwards: Afterwards) -> None:
    cuts = sorted(
        {0, 1, LOG_HEADER - 1, len(story.log)}
        | {start + part for start in story.frames() for part in (0, FRAME_HEADER, FRAME - 1)}
    )
    left = [afterwards.transactions(story.file, story.log[:cut]) for cut in cuts]
    assert left == sorted(left)
    assert set(left) == set(range(len(STEPS) + 1)), "each transaction counts from its last byte on"


@pytest.mark.slow
@pytest.mark.parametrize("filler", [b"\x00", b"\xa5"], ids=["zeros", "junk"])
def test_log_whose_end_was_never_written_leaves_the_transactions_before(
    story: Story, afterwards: Afterwards, filler: bytes
) -> None:
    left = []
    for start in story.frames():
        kept = story.log[: start + FRAME_HEADER + 1]
        left.append(afterwards.transactions(story.file, kept + filler * (len(story.log) - len(kept))))
    assert left == sorted(left)
    assert left[-1] == len(STEPS) - 1


@pytest.mark.slow
def test_log_with_a_hole_leaves_the_transactions_before_it(story: Story, afterwards: Afterwards) -> None:
    left = []
    for start in story.frames():
        log = story.log[:start] + bytes(FRAME) + story.log[start + FRAME :]
        left.append(afterwards.transactions(story.file, log))
    assert left == sorted(left)
    assert left[-1] == len(STEPS) - 1


def test_log_that_is_lost_leaves_a_ledger_to_go_on_with(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(story.file)
    with open_ledger(path) as ledger:
        for step in STEPS:
            step(ledger)
    assert told(path) == told(story.path)


@pytest.mark.slow
def test_file_half_copied_from_the_log_holds_every_transaction(story: Story, afterwards: Afterwards) -> None:
    draw = random.Random(0)
    size = max(len(story.file), len(story.checkpointed))
    before, after = story.file.ljust(size, b"\0"), story.checkpointed.ljust(size, b"\0")
    for _ in range(20):
        mixed = b"".join(draw.choice((before, after))[start : start + PAGE] for start in range(0, size, PAGE))
        assert afterwards.transactions(mixed, story.log) == len(STEPS)
