"""Migrations that make data of prose: of who was copied, precisions and devices."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from flockoff.errors import FaultKind, Reason
from flockoff.ledger import Ledger
from flockoff.ledger.rows import setup_text
from flockoff.ledger.schema import MIGRATIONS, migrate
from flockoff.records import ComputeDevice, Precision
from tests.support.ledger_records import measurement, open_ledger

OLD = """
INSERT INTO identity VALUES (1, 7, 'f127', '5Validator');
INSERT INTO epochs (start_block, end_block, seed, begun_at) VALUES (360, 720, 5, 0);
INSERT INTO setups VALUES
    (1, '0.1.0', '{}', 'cpu', 'weights float32, training float32 (passes of 2048 tokens), evaluation float32',
     'a@b', 'c'),
    (2, '0.1.0', '{}', 'cpu', 'weights float32, compute float32 (passes of 2048 tokens)', 'a@b', 'c');
INSERT INTO measurements
    (id, loss, eval_tokens, train_rows, train_tokens, steps, seconds, seed, setup, recorded_at)
    VALUES (4, 1.25, 10, 2, 20, 1, 3.0, 5, 1, 0), (5, 1.5, 10, 2, 20, 1, 3.0, 5, 2, 0);
INSERT INTO evaluations (epoch, hotkey, model_id, content_hash, measurement) VALUES
    (360, 'ann', 'ann/data:f127:0000000000000000000000000000000000000000', 'hash', 4),
    (360, 'dan', 'dan/data:f127:0000000000000000000000000000000000000000', 'other', 5);
INSERT INTO verdicts
    (epoch, hotkey, uid, model_id, block, standing, reason, detail, content_hash, loss, fault)
VALUES
    (360, 'ann', 1, 'x', 9, 'eligible', NULL, '', 'hash', 1.25, NULL),
    (360, 'bob', 2, 'x', 9, 'at_fault', 'duplicate',
     'The dataset is a copy of what hotkey ann committed in block 9: the same rows.', 'hash', 1.25, NULL),
    (360, 'cyd', 3, 'x', 9, 'not_evaluated', NULL, 'The hub sent something else.', NULL, NULL, '_Spoiled'),
    (360, 'dan', 4, 'x', 9, 'at_fault', 'near_duplicate',
     '60.0% of the tokens were committed by others: 60.0% by hotkey ann (block 9).', 'other', 1.5, NULL),
    (360, 'eve', 5, 'x', 9, 'not_evaluated', NULL, 'It took too long.', 'more', NULL, 'EvaluationTooSlow');
"""


def old_ledger(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, MIGRATIONS[:5])
    connection.executescript(OLD)
    connection.close()


def test_migration_keeps_each_verdicts_loss_and_makes_data_of_prose(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old_ledger(path)
    with open_ledger(path) as ledger:
        ann, bob, cyd, dan, eve = ledger.verdicts(360)
        assert (ann.loss, bob.loss, cyd.loss, dan.loss, eve.loss) == (1.25, 1.25, None, 1.5, None)
        assert (ann.copied, bob.copied, dan.copied) == ((), ("ann",), ("ann",))
        assert (bob.reason, dan.reason) == (Reason.DUPLICATE, Reason.NEAR_DUPLICATE)
        assert (cyd.fault, eve.fault) == (FaultKind.HUB_TRANSIENT, FaultKind.TOO_SLOW)
        assert eve.set_aside and not cyd.set_aside
        assert [
            stored.evaluation.measurement.provenance.precision for stored in ledger.views.evaluations(2)
        ] == [Precision("float32", "float32", 2048)] * 2
    with Ledger.look(path) as looked:
        assert [row.loss for row in looked.views.leaderboard(360)] == [1.25, 1.25, 1.5, None, None]


def test_migration_takes_the_number_of_threads_off_a_devices_text(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, MIGRATIONS[:10])
    devices = {
        "cpu x86_64 AVX512 (2 threads)": ComputeDevice("cpu x86_64 AVX512", 2),
        "cpu x86_64 AVX512 (16 threads)": ComputeDevice("cpu x86_64 AVX512", 16),
        "cpu aarch64 NO AVX (core 2) (10 threads)": ComputeDevice("cpu aarch64 NO AVX (core 2)", 10),
        "cuda NVIDIA RTX (4 threads)": ComputeDevice("cuda NVIDIA RTX (4 threads)"),
        'cuda "é"': ComputeDevice('cuda "é"'),
    }
    like = measurement()
    precision = setup_text(like.provenance.precision)
    for number, text in enumerate(devices, 1):
        setup = (number, "0.1.0", '{"peft": "0.21.0", "torch": "2.15.0"}', text, precision)
        connection.execute(
            "INSERT INTO setups VALUES (?, ?, ?, ?, ?, 'Qwen/Qwen2.5-1.5B-Instruct@989aa79', ?)",
            (*setup, like.provenance.evaluation_set),
        )
        connection.execute(
            "INSERT INTO measurements (id, loss, eval_tokens, train_rows, train_tokens, steps, seconds, seed,"
            " setup, recorded_at) VALUES (?, 1.5, 1, 1, 1, 1, 1, 1, ?, ?)",
            (number, number, number),
        )
    connection.close()
    with open_ledger(path) as ledger:
        found = [each.device for each in ledger.views.setups(9)]
        assert found == list(reversed(devices.values()))
        assert [str(each) for each in reversed(found)] == list(devices)
        for device in devices.values():  # is the same setup as before
            ledger.record_base_loss(replace(like, provenance=replace(like.provenance, device=device)))
        assert {each.measurements for each in ledger.views.setups(9)} == {2}
