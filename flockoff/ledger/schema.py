"""The ledger's tables and migrations.

``MIGRATIONS[i]`` takes a file from version i to i + 1; the version is SQLite's ``user_version``. Never change
a released script: append a new one.
"""

import sqlite3
from collections.abc import Sequence

# "FLOF": marks a file as a ledger in SQLite's header.
APPLICATION_ID = 0x464C4F46

_FIRST = f"""
PRAGMA application_id = {APPLICATION_ID};

-- Whose memory this is: one row.
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    netuid INTEGER NOT NULL,
    competition TEXT NOT NULL,
    hotkey TEXT
) STRICT;

-- Every commitment ever seen, by the block it was made in. The chain keeps only each hotkey's latest.
CREATE TABLE commitments (
    hotkey TEXT NOT NULL,
    block INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    PRIMARY KEY (hotkey, block)
) STRICT, WITHOUT ROWID;

-- Who committed a content first.
CREATE TABLE claims (
    content_hash TEXT PRIMARY KEY,
    hotkey TEXT NOT NULL,
    model_id TEXT NOT NULL,
    block INTEGER NOT NULL,
    uid INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE epochs (
    start_block INTEGER PRIMARY KEY,
    end_block INTEGER NOT NULL CHECK (end_block > start_block),
    seed INTEGER NOT NULL,
    begun_at REAL NOT NULL,  -- UTC seconds, as every time here
    closed_at REAL,
    closed_block INTEGER  -- the chain's height when it was closed
) STRICT;

-- An epoch's evaluation queue, fixed when it begins.
CREATE TABLE places (
    epoch INTEGER NOT NULL REFERENCES epochs,
    place INTEGER NOT NULL,
    hotkey TEXT NOT NULL,
    uid INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (epoch, place),
    UNIQUE (epoch, hotkey)
) STRICT, WITHOUT ROWID;

-- What measurements have in common: a Provenance without its seed. Few rows, referred to by many.
CREATE TABLE setups (
    id INTEGER PRIMARY KEY,
    code_version TEXT NOT NULL,
    libraries TEXT NOT NULL,  -- JSON: name -> version, sorted by name
    device TEXT NOT NULL,
    precision TEXT NOT NULL,
    base_model TEXT NOT NULL,
    evaluation_set TEXT NOT NULL,
    UNIQUE (code_version, libraries, device, precision, base_model, evaluation_set)
) STRICT;

CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    loss REAL NOT NULL CHECK (loss BETWEEN 0 AND 1e308),  -- an error never becomes a loss value
    eval_tokens INTEGER NOT NULL,
    train_rows INTEGER NOT NULL,
    train_tokens INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    seconds REAL NOT NULL,
    seed INTEGER NOT NULL,
    setup INTEGER NOT NULL REFERENCES setups,
    recorded_at REAL NOT NULL
) STRICT;

CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL REFERENCES epochs,
    hotkey TEXT NOT NULL,
    model_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    measurement INTEGER NOT NULL UNIQUE REFERENCES measurements,
    UNIQUE (epoch, hotkey)
) STRICT;

-- The base model without an adapter.
CREATE TABLE base_losses (
    measurement INTEGER PRIMARY KEY REFERENCES measurements
) STRICT;

CREATE TABLE verdicts (
    epoch INTEGER NOT NULL REFERENCES epochs,
    hotkey TEXT NOT NULL,
    uid INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    block INTEGER NOT NULL,
    standing TEXT NOT NULL CHECK (standing IN ('eligible', 'at_fault', 'not_evaluated')),
    reason TEXT,
    detail TEXT NOT NULL,
    content_hash TEXT,
    loss REAL CHECK (loss BETWEEN 0 AND 1e308),
    PRIMARY KEY (epoch, hotkey)
) STRICT, WITHOUT ROWID;

CREATE INDEX verdicts_of_hotkey ON verdicts (hotkey, epoch);

-- The scores after the last closed epoch.
CREATE TABLE scores (
    hotkey TEXT PRIMARY KEY,
    score REAL NOT NULL CHECK (score BETWEEN 0 AND 1e308)
) STRICT, WITHOUT ROWID;

-- When each hotkey last had its turn: start block of the epoch.
CREATE TABLE turns (
    hotkey TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL REFERENCES epochs
) STRICT, WITHOUT ROWID;

-- What each closed epoch came to. Rates and shares are the eligible's only.
CREATE TABLE results (
    epoch INTEGER NOT NULL REFERENCES epochs,
    hotkey TEXT NOT NULL,
    win_rate REAL,
    share REAL,
    score REAL,
    PRIMARY KEY (epoch, hotkey)
) STRICT, WITHOUT ROWID;

CREATE TABLE weights_sets (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL REFERENCES epochs,
    block INTEGER,
    extrinsic TEXT NOT NULL,
    set_at REAL NOT NULL
) STRICT;
CREATE INDEX weights_sets_of_epoch ON weights_sets (epoch);

CREATE TABLE weights (
    weights_set INTEGER NOT NULL REFERENCES weights_sets,
    hotkey TEXT NOT NULL,
    weight REAL NOT NULL CHECK (weight BETWEEN 0 AND 1e308),
    PRIMARY KEY (weights_set, hotkey)
) STRICT, WITHOUT ROWID;
"""

_SECOND = """
-- Of verdicts "not_evaluated": the class of the fault.
ALTER TABLE verdicts ADD COLUMN fault TEXT;
CREATE INDEX verdicts_on_content ON verdicts (content_hash, epoch) WHERE content_hash IS NOT NULL;

-- Weights about to be sent: what the chain shows after a crash are these. Gone once they are recorded as set.
CREATE TABLE choices (
    epoch INTEGER NOT NULL REFERENCES epochs,
    hotkey TEXT NOT NULL,
    weight REAL NOT NULL CHECK (weight BETWEEN 0 AND 1e308),
    PRIMARY KEY (epoch, hotkey)
) STRICT, WITHOUT ROWID;
"""

_THIRD = """
-- The lines that were not trained on, as a JSON array.
ALTER TABLE evaluations ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';

-- Each evaluation row's negative log-likelihood: float64, little-endian, in the file's order.
ALTER TABLE measurements ADD COLUMN row_nll BLOB NOT NULL DEFAULT x'';
ALTER TABLE measurements ADD COLUMN sealed_loss REAL CHECK (sealed_loss BETWEEN 0 AND 1e308);
"""

_FOURTH = """
-- What an epoch's weights were blended with: JSON, hotkey -> the chain's consensus weight; NULL: they did not
-- follow from the scores.
ALTER TABLE epochs ADD COLUMN consensus TEXT;
"""

_FIFTH = """
-- What is left of each valid content's answers, to know them again. Whose they are and since when: claims.
CREATE TABLE sketches (
    content_hash TEXT PRIMARY KEY REFERENCES claims,
    epoch INTEGER NOT NULL REFERENCES epochs,  -- in which it was first seen
    assistant_tokens INTEGER NOT NULL,
    borrowed_tokens INTEGER NOT NULL,  -- of these, those that belong to others, by the last look
    answers BLOB NOT NULL  -- flockoff.dataset.Sketch.to_bytes
) STRICT;
CREATE INDEX sketches_of_epoch ON sketches (epoch);

-- The secret that the sketches depend on: one row.
CREATE TABLE sketch_key (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL
) STRICT;
INSERT INTO sketch_key VALUES (1, randomblob(16));

-- The contents that bear witness to what is common property, and for which coldkey.
CREATE TABLE witnesses (
    content_hash TEXT PRIMARY KEY REFERENCES claims,
    coldkey TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_SIXTH = """
-- A loss is stored once: a verdict names the measurement that it is on.
ALTER TABLE verdicts ADD COLUMN measurement INTEGER REFERENCES measurements;
UPDATE verdicts SET measurement = (
    SELECT e.measurement FROM evaluations AS e
    WHERE e.epoch = verdicts.epoch AND e.content_hash = verdicts.content_hash
) WHERE loss IS NOT NULL;
ALTER TABLE verdicts DROP COLUMN loss;
CREATE INDEX verdicts_on_measurement ON verdicts (measurement) WHERE measurement IS NOT NULL;

-- Of copies: the hotkeys that they were copied from, as a JSON array. Until now only the detail named them.
ALTER TABLE verdicts ADD COLUMN copied TEXT NOT NULL DEFAULT '[]';
WITH named AS (
    SELECT epoch, hotkey, substr(detail, instr(detail, 'hotkey ') + length('hotkey ')) AS rest FROM verdicts
    WHERE reason IN ('duplicate', 'near_duplicate', 'same_loss') AND instr(detail, 'hotkey ') > 0
)
UPDATE verdicts SET copied = json_array(substr(named.rest, 1, instr(named.rest || ' ', ' ') - 1))
FROM named WHERE named.epoch = verdicts.epoch AND named.hotkey = verdicts.hotkey;

-- Kinds of fault instead of the names of classes.
UPDATE verdicts SET fault = CASE fault
    WHEN 'EvaluationFault' THEN 'evaluation'
    WHEN 'EvaluationTooSlow' THEN 'evaluation_too_slow'
    WHEN 'EvaluationStopped' THEN 'evaluation_stopped'
    WHEN 'HubTransient' THEN 'hub_transient'
    WHEN '_Spoiled' THEN 'hub_transient'
    WHEN 'HubUnauthorized' THEN 'hub_unauthorized'
    WHEN 'HubFatal' THEN 'hub_fatal'
    WHEN 'HubError' THEN 'hub'
    WHEN 'SetupError' THEN 'setup'
    ELSE 'other' END
WHERE fault IS NOT NULL;
"""

_SEVENTH = """
-- Which chain this is of: its genesis hash, in hex; NULL until a validator that asks for it opens the ledger.
ALTER TABLE identity ADD COLUMN genesis TEXT;
-- By which rules an epoch was played: their hash; NULL for epochs from before this was kept.
ALTER TABLE epochs ADD COLUMN rules TEXT;
"""

_EIGHTH = """
-- What is known of every hotkey that was ever registered: whose it is, whether it is there, how it fared.
CREATE TABLE owners (
    hotkey TEXT PRIMARY KEY,
    coldkey TEXT NOT NULL,
    registered INTEGER NOT NULL CHECK (registered IN (0, 1)),
    evaluations INTEGER NOT NULL DEFAULT 0,  -- epochs with a verdict, its own faults included
    best_win_rate REAL CHECK (best_win_rate BETWEEN 0 AND 1)
) STRICT, WITHOUT ROWID;
CREATE INDEX owners_of_coldkey ON owners (coldkey);
-- Until a snapshot says more, a hotkey of before is there and its own coldkey.
INSERT INTO owners
SELECT v.hotkey, v.hotkey, 1, sum(v.standing <> 'not_evaluated'), max(r.win_rate)
FROM verdicts AS v LEFT JOIN results AS r ON r.epoch = v.epoch AND r.hotkey = v.hotkey GROUP BY v.hotkey;
"""

_NINTH = """
-- A setup's precision as JSON (flockoff.records.Precision) instead of a sentence. Setups whose sentences said
-- the same become one.
CREATE TEMP TABLE said AS
SELECT id, code_version, libraries, device, base_model, evaluation_set, json_object(
    'weights', CASE WHEN instr(precision, 'weights bfloat16') THEN 'bfloat16' ELSE 'float32' END,
    'compute', CASE WHEN instr(precision, 'training bfloat16') OR instr(precision, 'compute bfloat16')
        THEN 'bfloat16' ELSE 'float32' END,
    'pass_tokens', CASE WHEN instr(precision, 'passes of ') = 0 THEN 0
        ELSE CAST(substr(precision, instr(precision, 'passes of ') + length('passes of ')) AS INTEGER) END,
    'fused', json(CASE
        WHEN instr(precision, 'fused dropout and gate') THEN '["dropout","gate"]'
        WHEN instr(precision, 'fused dropout') THEN '["dropout"]'
        WHEN instr(precision, 'fused gate') THEN '["gate"]'
        ELSE '[]' END)
) AS precision FROM setups;
UPDATE measurements SET setup = (
    SELECT min(same.id) FROM said AS own JOIN said AS same
        USING (code_version, libraries, device, base_model, evaluation_set, precision)
    WHERE own.id = measurements.setup
);
DELETE FROM setups WHERE id NOT IN (SELECT setup FROM measurements);
UPDATE setups SET precision = (SELECT said.precision FROM said WHERE said.id = setups.id);
DROP TABLE said;
"""

_TENTH = """
-- The rows' pairs of each content: flockoff.dataset.RowPairs.to_bytes. Empty in those from before.
ALTER TABLE sketches ADD COLUMN pairs BLOB NOT NULL DEFAULT x'';

-- The contents with a sketch, in the order in which they were first seen.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    content_hash TEXT NOT NULL UNIQUE REFERENCES claims
) STRICT;

-- Which contents to look at for a dataset that has some hash: flockoff.dataset.Sketch.probes.
CREATE TABLE probes (
    hash INTEGER NOT NULL,
    content INTEGER NOT NULL,
    PRIMARY KEY (hash, content)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_of_hotkey ON claims (hotkey);

-- What became of each ModelId that was looked at, be it for its evaluation or before.
CREATE TABLE sights (
    model_id TEXT PRIMARY KEY,
    content_hash TEXT,  -- NULL: not valid, or not to be had
    epoch INTEGER NOT NULL,  -- the last in which it was tried
    tries INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO sights SELECT model_id, min(content_hash), 0, 1 FROM claims GROUP BY model_id;
"""

_ELEVENTH = """
-- A setup's device as JSON (flockoff.records.ComputeDevice) instead of its text, which for a CPU ended with
-- the number of threads.
WITH texts AS (
    SELECT id, device, CASE WHEN device GLOB 'cpu * ([0-9]* threads)'
        THEN rtrim(rtrim(device, ' threads)'), '0123456789') END AS before_threads
    FROM setups
)
UPDATE setups SET device = CASE WHEN before_threads IS NULL
    THEN json_object('kind', texts.device, 'threads', NULL)
    ELSE json_object(
        'kind', rtrim(before_threads, ' ('),
        'threads', CAST(substr(texts.device, length(before_threads) + 1) AS INTEGER)
    ) END
FROM texts WHERE texts.id = setups.id;
"""

MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _SECOND,
    _THIRD,
    _FOURTH,
    _FIFTH,
    _SIXTH,
    _SEVENTH,
    _EIGHTH,
    _NINTH,
    _TENTH,
    _ELEVENTH,
)


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, scripts: Sequence[str] = MIGRATIONS) -> None:
    """Bring the file up to version ``len(scripts)``, each script and its version number in one transaction.

    ``connection`` is in autocommit mode, with foreign keys off (a script may rebuild a table).
    """
    done = version_of(connection)
    for version, script in enumerate(scripts[done:], start=done + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script}\n; PRAGMA user_version = {version}; COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()
            raise
