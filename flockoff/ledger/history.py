"""What people ask of a ledger afterwards: how an epoch went, and how one hotkey fared over many of them."""

import json
from dataclasses import dataclass

from flockoff.errors import Reason
from flockoff.ledger.database import Database
from flockoff.ledger.queries import MEASURED
from flockoff.ledger.rows import StoredEvaluation, stored_evaluation_from
from flockoff.ledger.series import Series
from flockoff.records import Standing
from flockoff.text import ELLIPSIS

_EPOCHS = """
SELECT e.start_block, e.end_block, e.seed, e.begun_at, e.closed_at,
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

_TURNS = """
SELECT v.epoch, v.uid, v.model_id, v.standing, v.reason, v.detail, v.loss,
    r.win_rate, r.share, r.score, w.weight
FROM verdicts AS v
LEFT JOIN results AS r ON r.epoch = v.epoch AND r.hotkey = v.hotkey
LEFT JOIN weights AS w ON w.hotkey = v.hotkey
    AND w.weights_set = (SELECT max(id) FROM weights_sets AS s WHERE s.epoch = v.epoch)
WHERE v.hotkey = ? ORDER BY v.epoch DESC LIMIT ?
"""

_HOTKEYS = """
SELECT hotkey, max(block) AS block FROM commitments
WHERE CAST(uid AS TEXT) = :who
    OR (length(:first) >= 4 AND substr(hotkey, 1, length(:first)) = :first
        AND substr(hotkey, length(hotkey) - length(:last) + 1) = :last)
GROUP BY hotkey ORDER BY block DESC
"""


@dataclass(frozen=True, slots=True)
class EpochSummary:
    """An epoch in numbers. Times are UTC seconds; ``seconds`` is the sum of its evaluations' times."""

    start_block: int
    end_block: int
    seed: int
    begun_at: float
    closed_at: float | None  # None: still under way
    places: int
    eligible: int
    at_fault: int
    not_evaluated: int
    seconds: float | None
    weights_set_at: float | None


@dataclass(frozen=True, slots=True)
class HotkeyTurn:
    """How a hotkey fared in one epoch in which it had a verdict. ``score`` is the one after that epoch."""

    epoch: int
    uid: int
    model_id: str  # as committed; may be malformed
    standing: Standing
    reason: Reason | None
    detail: str
    loss: float | None  # nats per assistant token
    win_rate: float | None
    share: float | None
    score: float | None
    weight: float | None


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to for one hotkey: ``win_rate`` and ``share`` of the eligible only."""

    win_rate: float | None
    share: float | None
    score: float | None


class History:
    """The past as one ledger file holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def series(self) -> Series:
        return Series(self._database)

    def epochs(self, limit: int) -> list[EpochSummary]:
        """The latest epochs, the last one first."""
        return self._database.records(lambda row: EpochSummary(**dict(row)), _EPOCHS, (limit,))

    def turns(self, hotkey: str, limit: int) -> list[HotkeyTurn]:
        """The latest epochs in which ``hotkey`` had a verdict, the last one first."""
        return self._database.records(
            lambda row: HotkeyTurn(
                **dict(row) | {"reason": Reason(row["reason"]) if row["reason"] else None}
            ),
            _TURNS,
            (hotkey, limit),
        )

    def evaluation(self, identifier: int) -> StoredEvaluation | None:
        """The evaluation of that id; None where there is none (any more)."""
        found = self._database.records(
            stored_evaluation_from,
            f"SELECT recorded.id AS evaluation_id, * FROM evaluations AS recorded {MEASURED}"
            " WHERE recorded.id = ?",
            (identifier,),
        )
        return found[0] if found else None

    def evaluations(self, limit: int) -> list[StoredEvaluation]:
        """The latest evaluations, the last one first."""
        return self._database.records(
            stored_evaluation_from,
            f"SELECT recorded.id AS evaluation_id, * FROM evaluations AS recorded {MEASURED}"
            " ORDER BY recorded.id DESC LIMIT ?",
            (limit,),
        )

    def results(self, start_block: int) -> dict[str, EpochResult]:
        """What a closed epoch came to, by hotkey."""
        rows = self._database.read(
            "SELECT hotkey, win_rate, share, score FROM results WHERE epoch = ?", (start_block,)
        )
        return {row["hotkey"]: EpochResult(row["win_rate"], row["share"], row["score"]) for row in rows}

    def scores_before(self, start_block: int) -> dict[str, float]:
        """All scores before the epoch from ``start_block`` was settled, as far as they are kept."""
        rows = self._database.read(
            "SELECT hotkey, score FROM results WHERE score IS NOT NULL AND epoch ="
            " (SELECT max(start_block) FROM epochs WHERE start_block < ? AND closed_at IS NOT NULL)",
            (start_block,),
        )
        return {row["hotkey"]: row["score"] for row in rows}

    def consensus(self, start_block: int) -> dict[str, float] | None:
        """By hotkey, the consensus that an epoch's weights were blended with.

        None where they did not follow from the scores, or were not chosen yet.
        """
        rows = self._database.read("SELECT consensus FROM epochs WHERE start_block = ?", (start_block,))
        return json.loads(rows[0]["consensus"]) if rows and rows[0]["consensus"] else None

    def first_blocks(self) -> dict[str, int]:
        """By hotkey, the lowest block in which it was ever seen to commit anything."""
        rows = self._database.read("SELECT hotkey, min(block) AS block FROM commitments GROUP BY hotkey")
        return {row["hotkey"]: row["block"] for row in rows}

    def hotkeys(self, who: str) -> list[str]:
        """The hotkeys that ``who`` can mean, the one that committed last first.

        A uid, a hotkey in full or its first four characters at least, or both ends with an ellipsis between.
        """
        first, _, last = who.replace("...", ELLIPSIS).partition(ELLIPSIS)
        rows = self._database.read(_HOTKEYS, {"who": who, "first": first, "last": last})
        return [row["hotkey"] for row in rows]
