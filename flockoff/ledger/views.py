"""Queries for people: how an epoch went, how a hotkey fared, how things developed."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flockoff.errors import FaultKind, Reason
from flockoff.ledger.database import Database
from flockoff.ledger.rows import MEASURED, device_from, evaluation_from, precision_from
from flockoff.records import ComputeDevice, Evaluation, Precision, Standing
from flockoff.text import ELLIPSIS

_EPOCHS = """
SELECT e.start_block, e.end_block, e.seed, e.begun_at, e.closed_at, e.rules,
    (SELECT count(*) FROM places WHERE epoch = e.start_block) AS places,
    (SELECT count(*) FROM verdicts WHERE epoch = e.start_block AND standing = 'eligible') AS eligible,
    (SELECT count(*) FROM verdicts WHERE epoch = e.start_block AND standing = 'at_fault') AS at_fault,
    (SELECT count(*) FROM verdicts WHERE epoch = e.start_block AND standing = 'not_evaluated')
        AS not_evaluated,
    (SELECT sum(m.seconds) FROM evaluations AS r JOIN measurements AS m ON m.id = r.measurement
        WHERE r.epoch = e.start_block) AS seconds,
    (SELECT max(set_at) FROM weights_sets WHERE epoch = e.start_block) AS weights_set_at
FROM epochs AS e ORDER BY e.start_block DESC LIMIT ?
"""

# The outcome of a verdict "v": a Result's columns, and their joins.
_OF_VERDICT = """
    v.standing, v.reason, v.detail, v.fault, v.copied, v.content_hash, m.loss,
    r.win_rate, r.share, r.score, w.weight
"""
_RESULTS = """
LEFT JOIN measurements AS m ON m.id = v.measurement
LEFT JOIN results AS r ON r.epoch = v.epoch AND r.hotkey = v.hotkey
LEFT JOIN weights AS w ON w.hotkey = v.hotkey
    AND w.weights_set = (SELECT max(id) FROM weights_sets AS s WHERE s.epoch = v.epoch)
"""

_OF_HOTKEY = f"""
SELECT v.epoch, v.hotkey, v.uid, v.model_id, v.block, {_OF_VERDICT} FROM verdicts AS v {_RESULTS}
WHERE v.hotkey = ? ORDER BY v.epoch DESC LIMIT ?
"""

_RECENT = f"""
WITH recent AS (SELECT *, row_number() OVER (PARTITION BY hotkey ORDER BY epoch DESC) AS age FROM verdicts)
SELECT v.epoch, v.hotkey, v.uid, v.model_id, v.block, {_OF_VERDICT} FROM recent AS v {_RESULTS}
WHERE v.age <= ? ORDER BY v.hotkey, v.epoch DESC
"""

# :epoch is a start block, or NULL.
_LEADERBOARD = f"""
WITH chosen AS (
    SELECT start_block AS epoch FROM epochs WHERE :epoch IS NULL OR start_block = :epoch
    ORDER BY closed_at IS NULL, start_block DESC LIMIT 1
),
judged AS (SELECT * FROM verdicts WHERE epoch = (SELECT epoch FROM chosen)),
r AS (SELECT * FROM results WHERE epoch = (SELECT epoch FROM chosen)),
w AS (
    SELECT * FROM weights WHERE weights_set =
        (SELECT max(id) FROM weights_sets WHERE epoch = (SELECT epoch FROM chosen))
),
present AS (SELECT hotkey FROM judged UNION SELECT hotkey FROM r UNION SELECT hotkey FROM w)
SELECT (SELECT epoch FROM chosen) AS epoch, present.hotkey, coalesce(v.uid, c.uid) AS uid,
    coalesce(v.model_id, c.model_id) AS model_id, v.block, {_OF_VERDICT}
FROM present
LEFT JOIN judged AS v USING (hotkey)
LEFT JOIN measurements AS m ON m.id = v.measurement
LEFT JOIN r USING (hotkey)
LEFT JOIN w USING (hotkey)
LEFT JOIN commitments AS c ON c.hotkey = present.hotkey
    AND c.block = (SELECT max(block) FROM commitments WHERE hotkey = present.hotkey)
ORDER BY coalesce(w.weight, 0) DESC, coalesce(r.share, 0) DESC, m.loss IS NULL, m.loss, present.hotkey
"""

_HOTKEYS = """
WITH known AS (SELECT hotkey, uid, block FROM commitments UNION SELECT hotkey, uid, block FROM verdicts)
SELECT hotkey, max(block) AS block FROM known
WHERE CAST(uid AS TEXT) = :who
    OR (length(:first) >= 4 AND substr(hotkey, 1, length(:first)) = :first
        AND substr(hotkey, length(hotkey) - length(:last) + 1) = :last)
GROUP BY hotkey ORDER BY block DESC
"""

# A uid belongs to the hotkey that committed from it last: earlier ones have left the subnet.
_COMMITTERS = """
WITH latest AS (
    SELECT *, min(block) OVER (PARTITION BY hotkey) AS first_block,
        row_number() OVER (PARTITION BY hotkey ORDER BY block DESC) AS age
    FROM commitments
),
present AS (
    SELECT *, row_number() OVER (PARTITION BY uid ORDER BY block DESC) AS place FROM latest WHERE age = 1
)
SELECT hotkey, uid, model_id, block, first_block FROM present WHERE place = 1 ORDER BY uid
"""

_TIMINGS = """
SELECT e.hotkey, m.recorded_at, m.seconds, m.train_rows, m.train_tokens, m.loss
FROM evaluations AS e JOIN measurements AS m ON m.id = e.measurement
WHERE e.epoch = ? ORDER BY m.recorded_at
"""

_SETUPS = """
SELECT s.code_version, s.libraries, s.device, s.precision, s.base_model, s.evaluation_set,
    count(*) AS measurements, max(m.recorded_at) AS last_used
FROM setups AS s JOIN measurements AS m ON m.setup = s.id
GROUP BY s.id ORDER BY last_used DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class EpochSummary:
    """An epoch in numbers. Times are UTC seconds; ``seconds`` is the sum of its evaluations' times."""

    start_block: int
    end_block: int
    seed: int
    begun_at: float
    closed_at: float | None  # None: still under way
    rules: str | None  # the hash of the rules in force; None: from before it was stored
    places: int
    eligible: int
    at_fault: int
    not_evaluated: int
    seconds: float | None
    weights_set_at: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """An epoch's outcome for one hotkey. None: not available (yet).

    ``score`` and ``weight`` are those after the epoch. Without a verdict ``standing`` is None, and ``uid``
    and ``model_id`` are those of the hotkey's latest commitment.
    """

    epoch: int
    hotkey: str
    uid: int | None
    model_id: str | None  # as committed; may be malformed
    block: int | None  # first commitment of this content, as far as is known
    standing: Standing | None = None
    reason: Reason | None = None
    detail: str = ""
    fault: FaultKind | None = None
    copied: tuple[str, ...] = ()
    content_hash: str | None = None
    loss: float | None = None  # nats per assistant token
    win_rate: float | None = None
    share: float | None = None
    score: float | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """``id`` is the ledger's own; ``recorded_at``: UTC seconds."""

    id: int
    recorded_at: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Committer:
    """A hotkey's latest commitment seen, and the block of its first."""

    hotkey: str
    uid: int
    model_id: str
    block: int
    first_block: int


@dataclass(frozen=True, slots=True)
class Timing:
    """When an evaluation was stored, in UTC seconds, and how long it took."""

    hotkey: str
    recorded_at: float
    seconds: float
    train_rows: int
    train_tokens: int  # per pass
    loss: float


@dataclass(frozen=True, slots=True)
class SetupUse:
    """A setup, how many measurements were made with it, and when last: UTC seconds."""

    code_version: str
    libraries: Mapping[str, str]
    device: ComputeDevice
    precision: Precision
    base_model: str
    evaluation_set: str
    measurements: int
    last_used: float


class Views:
    """Read access to a ledger's history. An epoch is named by its start block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- epochs and results ------------------------------------------------------------------------------

    def epochs(self, limit: int) -> list[EpochSummary]:
        """The latest epochs, the last one first."""
        return self._database.records(lambda row: EpochSummary(**dict(row)), _EPOCHS, (limit,))

    def leaderboard(self, start_block: int | None = None) -> list[Result]:
        """Everybody who had a verdict, a score or a weight in an epoch: highest weight first, then highest
        share, then lowest loss.

        None: the last closed epoch, or the running one if none was closed. One consistent snapshot.
        """
        return self._database.records(_result_from, _LEADERBOARD, {"epoch": start_block})

    def results_of(self, hotkey: str, limit: int) -> list[Result]:
        """The latest epochs in which ``hotkey`` had a verdict, the last one first."""
        return self._database.records(_result_from, _OF_HOTKEY, (hotkey, limit))

    def burned_to(self, rows: Sequence[Result]) -> str | None:
        """The hotkey that an epoch's weights burn at, by its leaderboard; None where they do not burn.

        A burn gives all to somebody who has never competed, while nobody has a score.
        """
        paid = [row.hotkey for row in rows if row.weight]
        if len(paid) != 1 or any(row.score for row in rows) or self.results_of(paid[0], 1):
            return None
        return paid[0]

    def recent_results(self, each: int) -> list[Result]:
        """The last ``each`` epochs in which each hotkey had a verdict, by hotkey, its last one first."""
        return self._database.records(_result_from, _RECENT, (each,))

    def scores_before(self, start_block: int) -> dict[str, float]:
        """All scores before the epoch from ``start_block`` was settled, as far as still stored."""
        rows = self._database.read(
            "SELECT hotkey, score FROM results WHERE score IS NOT NULL AND epoch ="
            " (SELECT max(start_block) FROM epochs WHERE start_block < ? AND closed_at IS NOT NULL)",
            (start_block,),
        )
        return {row["hotkey"]: row["score"] for row in rows}

    def consensus(self, start_block: int) -> dict[str, float] | None:
        """By hotkey, the consensus that an epoch's weights were blended with.

        None if they were not computed from scores, or not decided yet.
        """
        rows = self._database.read("SELECT consensus FROM epochs WHERE start_block = ?", (start_block,))
        return json.loads(rows[0]["consensus"]) if rows and rows[0]["consensus"] else None

    # --- evaluations -------------------------------------------------------------------------------------

    def evaluation(self, identifier: int) -> StoredEvaluation | None:
        """The evaluation with that id, or None."""
        found = self._database.records(
            _stored_evaluation_from,
            f"SELECT recorded.id AS evaluation_id, * FROM evaluations AS recorded {MEASURED}"
            " WHERE recorded.id = ?",
            (identifier,),
        )
        return found[0] if found else None

    def evaluations(self, limit: int) -> list[StoredEvaluation]:
        """The latest evaluations, the last one first."""
        return self._database.records(
            _stored_evaluation_from,
            f"SELECT recorded.id AS evaluation_id, * FROM evaluations AS recorded {MEASURED}"
            " ORDER BY recorded.id DESC LIMIT ?",
            (limit,),
        )

    def timings(self, start_block: int) -> list[Timing]:
        """The epoch's evaluations, in the order in which they were stored."""
        return self._database.records(lambda row: Timing(**dict(row)), _TIMINGS, (start_block,))

    def setups(self, limit: int) -> list[SetupUse]:
        """The setups of measurements, the latest first."""
        return self._database.records(
            lambda row: SetupUse(
                **dict(row)
                | {
                    "libraries": json.loads(row["libraries"]),
                    "device": device_from(row["device"]),
                    "precision": precision_from(row["precision"]),
                }
            ),
            _SETUPS,
            (limit,),
        )

    # --- hotkeys -----------------------------------------------------------------------------------------

    def committers(self) -> list[Committer]:
        """Every hotkey that committed and, going by commitments, has not left the subnet; by uid."""
        return self._database.records(lambda row: Committer(**dict(row)), _COMMITTERS)

    def hotkeys(self, who: str) -> list[str]:
        """The hotkeys that ``who`` may mean, the one that committed last first: a uid, a full hotkey, at
        least its first four characters, or both ends with an ellipsis between.
        """
        first, _, last = who.replace("...", ELLIPSIS).partition(ELLIPSIS)
        rows = self._database.read(_HOTKEYS, {"who": who, "first": first, "last": last})
        return [row["hotkey"] for row in rows]

    # --- long series, for charts -------------------------------------------------------------------------

    def scores(self, epochs: Sequence[int]) -> list[tuple[int, str, float]]:
        """(epoch, hotkey, score after it) of the epochs from these start blocks."""
        rows = self._database.read(
            "SELECT epoch, hotkey, score FROM results WHERE score IS NOT NULL"
            " AND epoch IN (SELECT value FROM json_each(?))",
            (json.dumps(list(epochs)),),
        )
        return [(row["epoch"], row["hotkey"], row["score"]) for row in rows]

    def weights(self, epochs: Sequence[int]) -> list[tuple[int, str, float]]:
        """(epoch, hotkey, weight last set in it) of the epochs from these start blocks."""
        rows = self._database.read(
            "SELECT s.epoch, w.hotkey, w.weight"
            " FROM weights AS w JOIN weights_sets AS s ON s.id = w.weights_set"
            " WHERE s.id IN (SELECT max(id) FROM weights_sets"
            " WHERE epoch IN (SELECT value FROM json_each(?)) GROUP BY epoch)",
            (json.dumps(list(epochs)),),
        )
        return [(row["epoch"], row["hotkey"], row["weight"]) for row in rows]

    def losses(self, epochs: Sequence[int]) -> list[tuple[int, float]]:
        """(epoch, loss) of everybody who was eligible in the epochs from these start blocks."""
        rows = self._database.read(
            "SELECT v.epoch, m.loss FROM verdicts AS v JOIN measurements AS m ON m.id = v.measurement"
            " WHERE v.standing = 'eligible' AND v.epoch IN (SELECT value FROM json_each(?))"
            " ORDER BY v.epoch, m.loss",
            (json.dumps(list(epochs)),),
        )
        return [(row["epoch"], row["loss"]) for row in rows]


def _result_from(row: sqlite3.Row) -> Result:
    fields = dict(row)
    fields["reason"] = Reason(fields["reason"]) if fields["reason"] else None
    fields["fault"] = FaultKind(fields["fault"]) if fields["fault"] else None
    fields["copied"] = tuple(json.loads(fields["copied"] or "[]"))
    fields["detail"] = fields["detail"] or ""
    return Result(**fields)


def _stored_evaluation_from(row: sqlite3.Row) -> StoredEvaluation:
    return StoredEvaluation(row["evaluation_id"], row["recorded_at"], evaluation_from(row))
