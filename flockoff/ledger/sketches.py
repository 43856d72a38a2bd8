"""The ledger's index of the answers in every dataset seen, to find near-duplicates."""

import heapq
import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Holding, Owners, Sketch, borrowed
from flockoff.ledger.database import Database
from flockoff.ledger.rows import claim_from

MOST_LOOKED_AT = 256  # contents that a dataset is compared with, row by row
_MOST_WITH_A_PROBE = 64  # the first of those that have it
_FIRST_WITH_A_PROBE = 4  # and of them, those that count as a place where it may be from
_MOST_FOLLOWED = 8

# For each look-up its place among them, and the contents that have it: the oldest or the newest ones.
_WITH_PROBES, _NEWEST_WITH_PROBES = (
    "SELECT asked.key AS place, p.content FROM json_each(:lookups) AS asked JOIN probes AS p"
    " ON p.hash = asked.value AND p.content IN ("
    f"SELECT content FROM probes WHERE hash = asked.value ORDER BY content {order} LIMIT :most)"
    for order in ("ASC", "DESC")
)
_KNOWN = """
SELECT n.id, c.content_hash, c.hotkey, c.block, c.uid,
    CASE WHEN s.borrowed_tokens <= :witness_share * s.assistant_tokens THEN w.coldkey END AS witness
FROM json_each(:ids) AS asked JOIN contents AS n ON n.id = asked.value JOIN claims AS c USING (content_hash)
JOIN sketches AS s USING (content_hash) LEFT JOIN witnesses AS w USING (content_hash)
WHERE c.block <= :block AND (:epoch IS NULL OR s.epoch = :epoch)
"""
_LAST_OF_HOTKEY = """
SELECT c.* FROM claims AS c JOIN contents AS n USING (content_hash)
WHERE c.hotkey = ? ORDER BY n.id DESC LIMIT 1
"""
_CLAIM = "SELECT * FROM claims WHERE content_hash = ?"
_SKETCH = "SELECT assistant_tokens, answers, pairs FROM sketches WHERE content_hash = ?"
_BYTES_IN_USE = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()
"""
# 64 KiB are the most that a content's probes take.
_STORED = """
SELECT n.id, n.content_hash, c.hotkey, length(s.answers) + length(s.pairs) + 65536,
    o.hotkey IS NULL OR EXISTS (SELECT 1 FROM owners AS p WHERE p.coldkey = o.coldkey AND p.registered)
FROM contents AS n JOIN claims AS c USING (content_hash) JOIN sketches AS s USING (content_hash)
LEFT JOIN owners AS o ON o.hotkey = c.hotkey ORDER BY n.id
"""
_UNINDEXED = """
SELECT content_hash FROM sketches WHERE content_hash NOT IN (SELECT content_hash FROM contents) ORDER BY rowid
"""


class SketchIndex:
    """The sketches of all valid contents, each once, under the claim on the content.

    Nothing here writes: what a look found is stored by ``remember``, in the caller's transaction. Of a
    content that its hotkey followed up by another one only what was new in it is kept. A look at a dataset
    asks which contents have some of its probes, and compares it row by row with those that have most, one at
    a time. Of contents that share a probe the first ones count, so that no crowd of later ones hides where a
    row is from.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def key(self) -> bytes:
        """The secret key of all sketches here."""
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
        """What of the content of ``claim`` belongs to others, as far as known. The claim need not be stored.
        ``public``: the competition's public sample. ``owners``: of all claims.
        """
        others = self._holdings(claim, sketch, rules, owners)
        return borrowed(sketch, claim, others, rules, public, owners)

    def look_again(
        self,
        content_hash: str,
        epoch: int,
        rules: Overlap,
        public: Sketch | None,
        owners: Owners | None = None,
    ) -> Borrowed | None:
        """The same for a remembered content, if contents first seen in ``epoch`` bear on it. None if they do
        not, so that nothing has changed, or if the content is not remembered.
        """
        found = self._database.records(_sketch_from, _SKETCH, (content_hash,))
        if not found:
            return None
        [sketch] = found
        claim = self._claim(content_hash)
        new = self._holdings(claim, sketch, rules, owners, epoch)
        if not borrowed(sketch, claim, new, rules).answers:
            return None
        return self.look(claim, sketch, rules, public, owners)

    def borrowed_share(self, content_hash: str) -> float | None:
        """Of the content's assistant tokens, 0 to 1, by the last lookup stored; None if there was none."""
        rows = self._database.read(
            "SELECT borrowed_tokens, assistant_tokens FROM sketches WHERE content_hash = ?", (content_hash,)
        )
        return rows[0]["borrowed_tokens"] / max(1, rows[0]["assistant_tokens"]) if rows else None

    def unindexed(self) -> list[str]:
        """The contents that a version of before there were probes stored."""
        return [row["content_hash"] for row in self._database.read(_UNINDEXED)]

    def _claim(self, content_hash: str) -> Claim:
        [claim] = self._database.records(claim_from, _CLAIM, (content_hash,))
        return claim

    def _sketch(self, content_hash: str) -> Sketch:
        [sketch] = self._database.records(_sketch_from, _SKETCH, (content_hash,))
        return sketch

    def _holdings(
        self, claim: Claim, sketch: Sketch, rules: Overlap, owners: Owners | None, epoch: int | None = None
    ) -> Iterator[Holding]:
        """What the dataset may have something of, in order of seniority; ``epoch``: what was new in it."""
        sql = _WITH_PROBES if epoch is None else _NEWEST_WITH_PROBES
        asked = {"lookups": json.dumps(sketch.lookups().tolist()), "most": _MOST_WITH_A_PROBE}
        probed = [tuple(row) for row in self._database.read(sql, asked)]
        lookups, ids = np.array(probed, dtype=np.int64).reshape(-1, 2).T
        for known, witness in self._most_hit(claim, rules, owners or {}, epoch, lookups, ids):
            yield Holding(known, self._sketch(known.content_hash), witness)

    def _most_hit(
        self,
        claim: Claim,
        rules: Overlap,
        owners: Owners,
        epoch: int | None,
        lookups: NDArray[np.int64],
        ids: NDArray[np.int64],
    ) -> list[tuple[Claim, str | None]]:
        """The claims on what is compared row by row, in order of seniority, each with a witness's coldkey."""
        asked = json.dumps(np.unique(ids).tolist())
        known = self._database.records(
            lambda row: (row["id"], claim_from(row), row["witness"]),
            _KNOWN,
            {"ids": asked, "block": claim.block, "epoch": epoch, "witness_share": rules.witness_share},
        )
        known = [each for each in known if each[1].content_hash != claim.content_hash]
        if not known:
            return []
        known.sort(key=lambda each: each[1].seniority)
        blocks = np.array([each[1].block for each in known])
        stands = np.array([_stands(each[1], rules, owners) for each in known])
        hits = _first_hits(lookups, ids, np.array([each[0] for each in known]), blocks, stands)
        most = np.sort(np.argsort(-hits, kind="stable")[:MOST_LOOKED_AT])
        return [known[place][1:] for place in most.tolist() if hits[place]]


def _stands(claim: Claim, rules: Overlap, owners: Owners) -> bool:
    owner = owners.get(claim.hotkey)
    return owner is None or owner.has_standing(rules)


def _first_hits(
    lookups: NDArray[np.int64],
    ids: NDArray[np.int64],
    known: NDArray[np.int64],
    blocks: NDArray[np.int64],
    stands: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """(n_known,): how many look-ups each known content is among the first for.

    ``known``: their ids, in order of seniority; ``blocks`` and ``stands`` (whether its owner's claims do) are
    theirs. The first are ``_FIRST_WITH_A_PROBE`` of all, as many of those that stand, and all of the same
    block as the very first, which may bear witness beside it.
    """
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)
    rank = order[place]
    is_known = known[rank] == ids
    lookups, rank = lookups[is_known], rank[is_known]
    by_rank = np.lexsort((rank, lookups))
    lookups, rank = lookups[by_rank], rank[by_rank]
    start = np.searchsorted(lookups, lookups)
    nth = np.arange(len(lookups)) - start
    standing = np.cumsum(stands[rank]) - np.append(0, np.cumsum(stands[rank]))[start]
    first = (nth < _FIRST_WITH_A_PROBE) | (blocks[rank] == blocks[rank[start]])
    first |= stands[rank] & (standing <= _FIRST_WITH_A_PROBE)
    return np.bincount(rank[first], minlength=len(known))


def remember(
    connection: sqlite3.Connection, content_hash: str, sketch: Sketch, epoch: int, found: Borrowed
) -> None:
    """Store a claimed content and the result of its lookup.

    ``epoch``: the start block of the epoch in which the content was first seen, unless it was seen before.
    """
    for kept, followed in _followed(connection, content_hash):
        connection.execute(
            "UPDATE sketches SET answers = ?, pairs = ? WHERE content_hash = ?",
            (kept.to_bytes(), kept.rows.to_bytes(), followed),
        )
    connection.execute(
        "INSERT INTO sketches (content_hash, epoch, assistant_tokens, borrowed_tokens, answers, pairs)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET borrowed_tokens = excluded.borrowed_tokens, answers = excluded.answers, pairs = excluded.pairs"
        " WHERE borrowed_tokens <> excluded.borrowed_tokens OR answers <> excluded.answers"
        " OR pairs <> excluded.pairs",
        (
            content_hash,
            epoch,
            sketch.assistant_tokens,
            found.tokens,
            sketch.to_bytes(),
            sketch.rows.to_bytes(),
        ),
    )
    _index(connection, content_hash, sketch)


def remember_again(connection: sqlite3.Connection, found: Mapping[str, Borrowed]) -> None:
    """Store the results of ``SketchIndex.look_again``, by content hash."""
    connection.executemany(
        "UPDATE sketches SET borrowed_tokens = ? WHERE content_hash = ?",
        [(borrowed.tokens, content_hash) for content_hash, borrowed in found.items()],
    )


def index_stored(connection: sqlite3.Connection, content_hash: str) -> None:
    """Have a content found by its probes that was stored before there were any."""
    [sketch] = map(_sketch_from, connection.execute(_SKETCH, (content_hash,)))
    _index(connection, content_hash, sketch)


def bear_witness(connection: sqlite3.Connection, coldkeys: Mapping[str, str]) -> None:
    """Count these contents, each for its coldkey, as witnesses of what is common property.

    They count as long as their last lookup finds at most ``Overlap.witness_share`` of them to be others'.
    """
    connection.executemany(
        "INSERT INTO witnesses (content_hash, coldkey) VALUES (?, ?) ON CONFLICT DO NOTHING", coldkeys.items()
    )


def forget_beyond(connection: sqlite3.Connection, most_bytes: int) -> None:
    """Forget sketches until those that are left take ``most_bytes`` at most.

    First those of hotkeys that have left without another one of their coldkey taking over their claims, the
    oldest first; then, again and again, the oldest of whichever hotkey takes most. So a hotkey that floods
    the index pays for it with its own, and one within its equal share loses none. The last content of a
    hotkey that is there stays. A claim stays as well: a copy of the very same rows is always found.
    """
    (in_use,) = connection.execute(_BYTES_IN_USE).fetchone()
    if in_use <= most_bytes:
        return
    stored = [StoredSketch(*row) for row in connection.execute(_STORED)]
    for each in too_many(stored, most_bytes):
        [sketch] = map(_sketch_from, connection.execute(_SKETCH, (each.content_hash,)))
        connection.executemany(
            "DELETE FROM probes WHERE hash = ? AND content = ?",
            [(probe, each.content) for probe in sketch.probes().tolist()],
        )
        connection.execute("DELETE FROM contents WHERE id = ?", (each.content,))
        connection.execute("DELETE FROM sketches WHERE content_hash = ?", (each.content_hash,))


class StoredSketch(NamedTuple):
    """What the ledger keeps of one content. ``counts``: its hotkey is there, or another of its coldkey."""

    content: int
    content_hash: str
    hotkey: str
    bytes: int
    counts: bool


def too_many(stored: Sequence[StoredSketch], most_bytes: int) -> Iterator[StoredSketch]:
    """Those to forget, ``stored`` being in the order in which they were first seen."""
    excess = sum(each.bytes for each in stored) - most_bytes
    for each in stored:
        if excess <= 0:
            return
        if not each.counts:
            excess -= each.bytes
            yield each
    of_hotkey: dict[str, deque[StoredSketch]] = {}
    for each in stored:
        if each.counts:
            of_hotkey.setdefault(each.hotkey, deque()).append(each)
    heap = [(-sum(each.bytes for each in theirs), hotkey) for hotkey, theirs in of_hotkey.items()]
    heapq.heapify(heap)
    while excess > 0 and heap:
        taken, hotkey = heapq.heappop(heap)
        if len(of_hotkey[hotkey]) == 1:
            continue
        oldest = of_hotkey[hotkey].popleft()
        excess -= oldest.bytes
        heapq.heappush(heap, (taken + oldest.bytes, hotkey))
        yield oldest


def _index(connection: sqlite3.Connection, content_hash: str, sketch: Sketch) -> None:
    connection.execute(
        "INSERT INTO contents (content_hash) VALUES (?) ON CONFLICT DO NOTHING", (content_hash,)
    )
    sql = "SELECT id FROM contents WHERE content_hash = ?"
    [(content,)] = connection.execute(sql, (content_hash,))
    connection.executemany(
        "INSERT INTO probes (hash, content) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(each, content) for each in sorted(sketch.probes().tolist())],
    )


def _followed(connection: sqlite3.Connection, content_hash: str) -> list[tuple[Sketch, str]]:
    """What to keep of the content that this one follows, if it does: what is new in it.

    The rest is in still earlier contents of the same hotkey, from which it counts as well. They are looked
    for by their probes, and what is not found in the most likely ones is kept twice.
    """
    [claim] = map(claim_from, connection.execute(_CLAIM, (content_hash,)))
    known = "SELECT 1 FROM contents WHERE content_hash = ?"
    last = [*map(claim_from, connection.execute(_LAST_OF_HOTKEY, (claim.hotkey,)))]
    if not last or connection.execute(known, (content_hash,)).fetchone():
        return []
    [followed] = last

    def stored(content: str) -> Sketch:
        [sketch] = map(_sketch_from, connection.execute(_SKETCH, (content,)))
        return sketch

    sketch = stored(followed.content_hash)
    earlier = [
        stored(row["content_hash"])
        for row in connection.execute(
            "SELECT c.content_hash FROM json_each(?) AS asked JOIN probes AS p ON p.hash = asked.value"
            " JOIN contents AS n ON n.id = p.content JOIN claims AS c USING (content_hash)"
            " WHERE c.hotkey = ? AND (c.block, c.uid) < (?, ?)"
            " GROUP BY c.content_hash ORDER BY count(*) DESC LIMIT ?",
            (
                json.dumps(sketch.lookups().tolist()),
                followed.hotkey,
                followed.block,
                followed.order,
                _MOST_FOLLOWED,
            ),
        )
    ]
    return [(sketch.without(earlier), followed.content_hash)]


def _sketch_from(row: sqlite3.Row) -> Sketch:
    return Sketch.from_bytes(row["assistant_tokens"], row["answers"], row["pairs"])
