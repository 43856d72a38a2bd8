"""What a ledger knows of the answers in all datasets it ever saw, and what a dataset has of them."""

import sqlite3
from collections.abc import Iterator, Mapping

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Holding, Owners, Sketch, borrowed
from flockoff.ledger.database import Database
from flockoff.ledger.rows import claim_from

# Lowest block first, as the rule asks for.
_KNOWN = """
SELECT c.content_hash, c.hotkey, c.block, c.uid,
    CASE WHEN s.borrowed_tokens <= :witness_share * s.assistant_tokens THEN w.coldkey END AS witness
FROM sketches AS s JOIN claims AS c USING (content_hash) LEFT JOIN witnesses AS w USING (content_hash)
WHERE c.block <= :block AND (:epoch IS NULL OR s.epoch = :epoch)
ORDER BY c.block, c.uid, c.hotkey
"""

# In the order in which they were first seen.
_OF_HOTKEY = """
SELECT c.* FROM sketches AS s JOIN claims AS c USING (content_hash)
WHERE c.hotkey = :hotkey ORDER BY s.rowid
"""

_CLAIM = "SELECT * FROM claims WHERE content_hash = ?"
_SKETCH = "SELECT assistant_tokens, answers FROM sketches WHERE content_hash = ?"


class SketchIndex:
    """The sketches of all contents that were valid, each once, under the claim on the content.

    Nothing here writes: what a look found is stored by ``remember``, in the caller's transaction. A sketch
    takes 32 bytes an answer, 0.6 MB for 20,000; of a content that its hotkey followed up by another one only
    the answers that were new in it are kept. A look at one dataset reads them all, one dataset at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def key(self) -> bytes:
        """The secret under which all sketches here are made."""
        [row] = self._database.read("SELECT key FROM sketch_key")
        return bytes(row["key"])

    def look(
        self,
        claim: Claim,
        sketch: Sketch,
        rules: Overlap,
        public: Sketch | None,
        owners: Owners | None = None,
    ) -> Borrowed:
        """What of the content that ``claim`` is on belongs to others, as far as is known by now.

        The claim need not be stored. ``public``: the competition's public sample. ``owners``: of all claims.
        """
        return borrowed(sketch, claim, self._holdings(rules, claim.block), rules, public, owners)

    def look_again(
        self,
        content_hash: str,
        epoch: int,
        rules: Overlap,
        public: Sketch | None,
        owners: Owners | None = None,
    ) -> Borrowed | None:
        """The same for a remembered content, if contents first seen in ``epoch`` matter to it.

        None where they do not, so that nothing has changed, or where the content is not remembered.
        """
        found = self._database.records(_sketch_from, _SKETCH, (content_hash,))
        if not found:
            return None
        [sketch] = found
        claim = self._claim(content_hash)
        if not borrowed(sketch, claim, self._holdings(rules, claim.block, epoch), rules).answers:
            return None
        return self.look(claim, sketch, rules, public, owners)

    def borrowed_share(self, content_hash: str) -> float | None:
        """Of the content's assistant tokens, 0 to 1, by the last look stored; None if there was none."""
        rows = self._database.read(
            "SELECT borrowed_tokens, assistant_tokens FROM sketches WHERE content_hash = ?", (content_hash,)
        )
        return rows[0]["borrowed_tokens"] / max(1, rows[0]["assistant_tokens"]) if rows else None

    def _claim(self, content_hash: str) -> Claim:
        [claim] = self._database.records(claim_from, _CLAIM, (content_hash,))
        return claim

    def _sketch(self, content_hash: str) -> Sketch:
        [sketch] = self._database.records(_sketch_from, _SKETCH, (content_hash,))
        return sketch

    def _holdings(self, rules: Overlap, block: int, epoch: int | None = None) -> Iterator[Holding]:
        """All contents claimed up to ``block``, or those first seen in ``epoch``, in order of seniority."""
        known = self._database.records(
            lambda row: (claim_from(row), row["witness"]),
            _KNOWN,
            {"block": block, "epoch": epoch, "witness_share": rules.witness_share},
        )
        for claim, coldkey in known:
            yield Holding(claim, self._sketch(claim.content_hash), coldkey)


def remember(
    connection: sqlite3.Connection, content_hash: str, sketch: Sketch, epoch: int, found: Borrowed
) -> None:
    """Remember a claimed content and what a look at it found.

    ``epoch``, that from this start block, is when the content was first seen, unless it was seen before.
    """
    for answers, followed in _followed(connection, content_hash):
        connection.execute("UPDATE sketches SET answers = ? WHERE content_hash = ?", (answers, followed))
    connection.execute(
        "INSERT INTO sketches (content_hash, epoch, assistant_tokens, borrowed_tokens, answers)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET borrowed_tokens = excluded.borrowed_tokens, answers = excluded.answers"
        " WHERE borrowed_tokens <> excluded.borrowed_tokens OR answers <> excluded.answers",
        (content_hash, epoch, sketch.assistant_tokens, found.tokens, sketch.to_bytes()),
    )


def remember_again(connection: sqlite3.Connection, found: Mapping[str, Borrowed]) -> None:
    """Remember what ``SketchIndex.look_again`` found, by content hash."""
    connection.executemany(
        "UPDATE sketches SET borrowed_tokens = ? WHERE content_hash = ?",
        [(borrowed.tokens, content_hash) for content_hash, borrowed in found.items()],
    )


def bear_witness(connection: sqlite3.Connection, coldkeys: Mapping[str, str]) -> None:
    """Count these contents, with the coldkey of each, for what is common property.

    They count as long as the last look at them finds no more than ``Overlap.witness_share`` of others'.
    """
    connection.executemany(
        "INSERT INTO witnesses (content_hash, coldkey) VALUES (?, ?) ON CONFLICT DO NOTHING", coldkeys.items()
    )


def _followed(connection: sqlite3.Connection, content_hash: str) -> list[tuple[bytes, str]]:
    """What to keep of the content that this one follows, if it does: its new answers.

    The others are in still earlier contents of the same hotkey, from which they count as well.
    """
    [claim] = map(claim_from, connection.execute(_CLAIM, (content_hash,)))
    claims = [*map(claim_from, connection.execute(_OF_HOTKEY, {"hotkey": claim.hotkey}))]
    if not claims or content_hash in [known.content_hash for known in claims]:
        return []

    def stored(known: Claim) -> Sketch:
        [sketch] = map(_sketch_from, connection.execute(_SKETCH, (known.content_hash,)))
        return sketch

    last = claims[-1]
    earlier = [stored(known) for known in claims if known.seniority < last.seniority]
    return [(stored(last).without(earlier).to_bytes(), last.content_hash)]


def _sketch_from(row: sqlite3.Row) -> Sketch:
    return Sketch.from_bytes(row["assistant_tokens"], row["answers"])
