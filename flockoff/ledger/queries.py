"""The ledger's longer statements."""

import json
from sqlite3 import Connection, Cursor

from flockoff.records import Measurement, Verdict

# Joins what "recorded" refers to: measurements with what they were made with.
MEASURED = "JOIN measurements AS m ON m.id = recorded.measurement JOIN setups AS s ON s.id = m.setup"

# :epoch is a start block, or NULL.
LEADERBOARD = """
WITH chosen AS (
    SELECT start_block AS epoch FROM epochs WHERE :epoch IS NULL OR start_block = :epoch
    ORDER BY closed_at IS NULL, start_block DESC LIMIT 1
),
v AS (SELECT * FROM verdicts WHERE epoch = (SELECT epoch FROM chosen)),
r AS (SELECT * FROM results WHERE epoch = (SELECT epoch FROM chosen)),
w AS (
    SELECT * FROM weights WHERE weights_set =
        (SELECT max(id) FROM weights_sets WHERE epoch = (SELECT epoch FROM chosen))
),
present AS (SELECT hotkey FROM v UNION SELECT hotkey FROM r UNION SELECT hotkey FROM w)
SELECT present.hotkey, coalesce(v.uid, c.uid) AS uid, coalesce(v.model_id, c.model_id) AS model_id,
    v.loss, r.win_rate, r.share, r.score, w.weight, v.standing, v.reason, v.detail
FROM present
LEFT JOIN v USING (hotkey)
LEFT JOIN r USING (hotkey)
LEFT JOIN w USING (hotkey)
LEFT JOIN commitments AS c ON c.hotkey = present.hotkey
    AND c.block = (SELECT max(block) FROM commitments WHERE hotkey = present.hotkey)
ORDER BY coalesce(w.weight, 0) DESC, coalesce(r.share, 0) DESC, v.loss IS NULL, v.loss, present.hotkey
"""

_SETUP = "code_version, libraries, device, precision, base_model, evaluation_set"


def insert_measurement(connection: Connection, measurement: Measurement, now: float) -> int:
    """Store a measurement with its provenance and return its id. ``now``: UTC seconds."""
    provenance = measurement.provenance
    setup = (
        provenance.code_version,
        json.dumps(dict(provenance.libraries), sort_keys=True),
        provenance.device,
        provenance.precision,
        provenance.base_model,
        provenance.evaluation_set,
    )
    connection.execute(
        f"INSERT INTO setups ({_SETUP}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", setup
    )
    select = f"SELECT id FROM setups WHERE ({_SETUP}) = (?, ?, ?, ?, ?, ?)"
    [setup_id] = connection.execute(select, setup).fetchone()
    cursor = connection.execute(
        "INSERT INTO measurements (loss, eval_tokens, train_rows, train_tokens, steps, seconds, seed, setup,"
        " recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            measurement.loss,
            measurement.eval_tokens,
            measurement.train_rows,
            measurement.train_tokens,
            measurement.steps,
            measurement.seconds,
            provenance.seed,
            setup_id,
            now,
        ),
    )
    return inserted_id(cursor)


def insert_verdict(connection: Connection, verdict: Verdict) -> None:
    """Store a verdict in place of an earlier one on the same hotkey in the same epoch."""
    connection.execute(
        "INSERT OR REPLACE INTO verdicts (epoch, hotkey, uid, model_id, block, standing, reason,"
        " detail, content_hash, loss, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            verdict.epoch,
            verdict.hotkey,
            verdict.uid,
            verdict.model_id,
            verdict.block,
            verdict.standing,
            verdict.reason,
            verdict.detail,
            verdict.content_hash,
            verdict.loss,
            verdict.fault,
        ),
    )


def inserted_id(cursor: Cursor) -> int:
    """The id of the row that ``cursor`` inserted."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid
