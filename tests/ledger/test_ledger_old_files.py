"""Ledgers of earlier versions, written by those versions' own code, and what today's makes of them.

``files/version-1.sqlite.xz`` has 250 epochs of eight miners by the last code with the first schema (cdf995e),
``files/version-2.sqlite.xz`` has 60 by the last with the second (6866ade). A copier, malformed and broken
datasets, new commitments, a hotkey that leaves, and faults of hub and workers occur in both.
"""

import lzma
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flockoff.competition import Competition, Scoring
from flockoff.errors import FaultKind, LedgerError
from flockoff.ledger import Ledger
from flockoff.ledger.schema import MIGRATIONS
from flockoff.records import ComputeDevice, Precision
from tests.support.ledger_records import open_ledger
from tests.support.played_epochs import BLOCKS, Played, play, require_replays
from tests.support.subnets import model_id, snapshot_of

FILES = Path(__file__).parent / "files"
EPOCHS = {1: 250, 2: 60}
THEN = Competition(scoring=Scoring(pay="win_rate"))
TABLES = {
    "verdicts": "SELECT epoch, hotkey, uid, model_id, block, standing, reason, detail, content_hash, loss"
    " FROM verdicts ORDER BY epoch, uid, hotkey",
    "results": "SELECT epoch, hotkey, win_rate, share, score FROM results",
    "scores": "SELECT hotkey, score FROM scores",
    "turns": "SELECT hotkey, epoch FROM turns",
    "claims": "SELECT content_hash, hotkey, block, uid FROM claims",
    "weights": "SELECT s.epoch, w.hotkey, w.weight FROM weights_sets AS s JOIN weights AS w"
    " ON w.weights_set = s.id",
}


@pytest.fixture(params=EPOCHS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old_file(version: int, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(lzma.decompress((FILES / f"version-{version}.sqlite.xz").read_bytes()))
    return path


def read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def stored(ledger: Ledger, epochs: int) -> Mapping[str, set[tuple[Any, ...]]]:
    """What today's code says of the facts in ``TABLES``."""
    starts = [BLOCKS * number for number in range(1, epochs + 1)]
    memory = ledger.memory()
    verdicts = [verdict for start in starts for verdict in ledger.verdicts(start)]
    rows = {start: ledger.views.leaderboard(start) for start in starts}
    claims = {verdict.content_hash: ledger.owner(verdict.content_hash or "") for verdict in verdicts}
    sets = [each for start in starts if (each := ledger.weights_of_epoch(start)) is not None]
    return {
        "verdicts": {
            (
                v.epoch,
                v.hotkey,
                v.uid,
                v.model_id,
                v.block,
                v.standing,
                v.reason,
                v.detail,
                v.content_hash,
                v.loss,
            )
            for v in verdicts
        },
        "results": {
            (start, row.hotkey, row.win_rate, row.share, row.score) for start in starts for row in rows[start]
        },
        "scores": set(memory.scores.items()),
        "turns": set(memory.last_evaluated.items()),
        "claims": {(c.content_hash, c.hotkey, c.block, c.order) for c in claims.values() if c is not None},
        "weights": {(each.epoch, *pair) for each in sets for pair in each.weights.items()},
    }


@pytest.mark.slow
def test_old_ledger_keeps_every_fact_and_replays(version: int, old_file: Path) -> None:
    before = {name: set(read(old_file, sql)) for name, sql in TABLES.items()}
    assert read(old_file, "PRAGMA user_version") == [(version,)]
    assert len(read(old_file, "SELECT 1 FROM epochs")) == EPOCHS[version]

    with open_ledger(old_file) as ledger:
        after = stored(ledger, EPOCHS[version])
        for name, facts in before.items():
            assert facts <= after[name], name
        assert after["scores"] == before["scores"] and after["turns"] == before["turns"]
        require_replays(ledger, THEN)
        verdicts = [v for n in range(1, EPOCHS[version] + 1) for v in ledger.verdicts(BLOCKS * n)]
        copies = [verdict for verdict in verdicts if verdict.reason == "duplicate"]
        assert copies and all(f"hotkey {copy.copied[0]} " in copy.detail for copy in copies)
        kinds = {verdict.fault for verdict in verdicts if verdict.standing == "not_evaluated"}
        assert kinds == ({None} if version == 1 else {FaultKind.HUB_TRANSIENT, FaultKind.EVALUATION})
        measured = ledger.views.evaluations(1)[0].evaluation.measurement
        assert measured.provenance.device == ComputeDevice("cpu x86_64 AVX2", 2)
        assert measured.provenance.precision == Precision("float32", "float32", 0 if version == 1 else 2048)

    assert read(old_file, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert read(old_file, "PRAGMA integrity_check") == [("ok",)]
    assert read(old_file, "PRAGMA foreign_key_check") == []


@pytest.mark.slow
def test_old_ledger_goes_on_with_the_next_epoch(version: int, old_file: Path) -> None:
    number = EPOCHS[version]
    with open_ledger(old_file) as ledger:
        scores, turns = ledger.memory().scores, ledger.memory().last_evaluated
        hotkeys = sorted(scores)
        block = BLOCKS * (number + 1)
        shown = {hotkey: (str(model_id(hotkey)), block - 1) for hotkey in hotkeys}
        played = Played(tuple(hotkeys), {}, {hotkey: 2.0 + 0.1 * n for n, hotkey in enumerate(hotkeys)})
        snapshot = snapshot_of(hotkeys, shown, block=block)
        _, settlement = play(ledger, number, played, snapshot, THEN)
        assert settlement.turns and set(settlement.turns) == set(hotkeys)
        for hotkey in hotkeys:
            share = settlement.shares[hotkey]
            assert settlement.scores[hotkey] == pytest.approx(0.8 * scores[hotkey] + 0.2 * share)
            assert ledger.memory().last_evaluated[hotkey] > turns[hotkey]
        require_replays(ledger, THEN)


def test_old_ledger_is_not_read_before_it_is_migrated(old_file: Path) -> None:
    with pytest.raises(LedgerError, match="version"):
        Ledger.look(old_file)
