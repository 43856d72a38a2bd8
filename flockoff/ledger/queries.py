"""The ledger's longer statements."""

import json
from sqlite3 import Connection, Cursor

from flockoff.errors import LedgerError
from flockoff.ledger.rows import NUMBER
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
        " recorded_at, row_nll, sealed_loss) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            b"".join(map(NUMBER.pack, measurement.row_nll)),
            measurement.sealed_loss,
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


# What is forgotten of epochs that began before block :horizon. Content claims, epochs, turns and scores stay:
# 250 bytes for a new content or hotkey. An epoch has 32 places for these: at the most 60 MB a year. Sketches
# stay too, with 32 bytes for each answer of a new content.
_FORGET = (
    "DELETE FROM places WHERE epoch < :horizon",
    "DELETE FROM results WHERE epoch < :horizon",
    # A hotkey's last verdict counts however old it is.
    "DELETE FROM verdicts AS old WHERE epoch < :horizon"
    " AND EXISTS (SELECT 1 FROM verdicts WHERE hotkey = old.hotkey AND epoch > old.epoch)",
    # Nobody would set the last weights again if they were gone.
    "DELETE FROM weights WHERE weights_set IN (SELECT id FROM weights_sets"
    " WHERE epoch < :horizon AND id < (SELECT max(id) FROM weights_sets))",
    "DELETE FROM weights_sets WHERE epoch < :horizon AND id < (SELECT max(id) FROM weights_sets)",
    # A miner can commit anew in every epoch for ever. Its first block counts, and what it had at the horizon;
    # what was evaluated in between has a claim.
    "DELETE FROM commitments AS old WHERE block < :horizon"
    " AND EXISTS (SELECT 1 FROM commitments WHERE hotkey = old.hotkey AND block < old.block)"
    " AND EXISTS (SELECT 1 FROM commitments WHERE hotkey = old.hotkey AND block > old.block"
    " AND block < :horizon)",
)


def prune(connection: Connection, keep_epochs: int) -> None:
    """Forget the detail of all epochs before the last ``keep_epochs`` closed ones.

    The pages that become free are used for the next epochs, so the file stops growing and needs no vacuum.
    """
    row = connection.execute(
        "SELECT start_block FROM epochs WHERE closed_at IS NOT NULL"
        " ORDER BY start_block DESC LIMIT 1 OFFSET ?",
        (keep_epochs - 1,),
    ).fetchone()
    if row is None:
        return
    horizon = {"horizon": row["start_block"]}
    measured = connection.execute(
        "DELETE FROM evaluations WHERE epoch < :horizon RETURNING measurement", horizon
    ).fetchall()
    connection.executemany("DELETE FROM measurements WHERE id = ?", [tuple(each) for each in measured])
    for statement in _FORGET:
        connection.execute(statement, horizon)


def inserted_id(cursor: Cursor) -> int:
    """The id of the row that ``cursor`` inserted."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def require_open(connection: Connection, start_block: int) -> None:
    """Raise LedgerError unless the epoch was begun and is not closed."""
    row = connection.execute("SELECT closed_at FROM epochs WHERE start_block = ?", (start_block,)).fetchone()
    if row is None or row["closed_at"] is not None:
        state = "was not begun" if row is None else "is closed"
        raise LedgerError(
            f"The epoch from block {start_block} {state}: nothing can be recorded in it.",
            remedy="This is a bug: please report it with this message.",
        )
