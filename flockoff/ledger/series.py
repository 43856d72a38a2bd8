"""A ledger's long series, for pictures: every hotkey's last turns, scores and weights over many epochs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flockoff.errors import Reason
from flockoff.ledger.database import Database
from flockoff.records import Standing

_TURNS = """
WITH recent AS (SELECT *, row_number() OVER (PARTITION BY hotkey ORDER BY epoch DESC) AS age FROM verdicts)
SELECT v.epoch, v.hotkey, v.uid, v.model_id, v.block, v.standing, v.reason, v.detail, v.fault, v.content_hash,
    v.loss, r.win_rate, r.share, r.score, w.weight
FROM recent AS v
LEFT JOIN results AS r ON r.epoch = v.epoch AND r.hotkey = v.hotkey
LEFT JOIN weights AS w ON w.hotkey = v.hotkey
    AND w.weights_set = (SELECT max(id) FROM weights_sets AS s WHERE s.epoch = v.epoch)
WHERE v.age <= ? ORDER BY v.hotkey, v.epoch DESC
"""

# A uid that another hotkey committed from later is that hotkey's: the earlier one has left the subnet.
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
    count(*) AS measurements, min(m.recorded_at) AS first_used, max(m.recorded_at) AS last_used
FROM setups AS s JOIN measurements AS m ON m.setup = s.id
GROUP BY s.id ORDER BY last_used DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One hotkey's verdict in one epoch, and what came of it. ``score`` and ``weight``: after that epoch."""

    epoch: int
    hotkey: str
    uid: int
    model_id: str  # as committed; may be malformed
    block: int
    standing: Standing
    reason: Reason | None
    detail: str
    fault: str | None
    content_hash: str | None
    loss: float | None  # nats per assistant token
    win_rate: float | None
    share: float | None
    score: float | None
    weight: float | None


@dataclass(frozen=True, slots=True)
class Committer:
    """A hotkey with a commitment, as far as it was seen: its latest one, and the block of its first."""

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
    train_tokens: int  # of one pass
    loss: float


@dataclass(frozen=True, slots=True)
class SetupUse:
    """What measurements were made with, how many, and when: UTC seconds."""

    code_version: str
    libraries: Mapping[str, str]
    device: str
    precision: str
    base_model: str
    evaluation_set: str
    measurements: int
    first_used: float
    last_used: float


class Series:
    """Many epochs of one ledger file at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def turns(self, each: int) -> list[Turn]:
        """The last ``each`` turns of every hotkey, by hotkey, a hotkey's last one first."""
        return self._database.records(
            lambda row: Turn(**dict(row) | {"reason": Reason(row["reason"]) if row["reason"] else None}),
            _TURNS,
            (each,),
        )

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
            "SELECT epoch, loss FROM verdicts WHERE standing = 'eligible' AND loss IS NOT NULL"
            " AND epoch IN (SELECT value FROM json_each(?)) ORDER BY epoch, loss",
            (json.dumps(list(epochs)),),
        )
        return [(row["epoch"], row["loss"]) for row in rows]

    def committers(self) -> list[Committer]:
        """Every hotkey that committed and, as far as commitments show, has not left the subnet; by uid."""
        return self._database.records(lambda row: Committer(**dict(row)), _COMMITTERS)

    def timings(self, start_block: int) -> list[Timing]:
        """The epoch's evaluations, in the order in which they were stored."""
        return self._database.records(lambda row: Timing(**dict(row)), _TIMINGS, (start_block,))

    def setups(self, limit: int) -> list[SetupUse]:
        """What measurements were made with, the latest first."""
        return self._database.records(
            lambda row: SetupUse(**dict(row) | {"libraries": json.loads(row["libraries"])}), _SETUPS, (limit,)
        )
