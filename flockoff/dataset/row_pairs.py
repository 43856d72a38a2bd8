"""Rows by their pairs of content words: what is kept of each, and which rows of two datasets match.

A row counts by its answers, all one after the other, however they are divided into turns. Where these have
fewer than ``LABEL_PAIRS`` pairs, as a label has, and all its turns have ``MIN_PAIRS``, it counts by all
turns, and only beside rows with the very same answers. Case, punctuation, look-alikes, accents, leet,
invisible characters, hyphens, the order of words, their endings and small words make no difference to a
pair (``pairs.py``), nor do tags, entities, signs within words or words written as one (``markup.py``). What
is in more than ``FORMAT_SHARE`` of a dataset's different rows, and in more than ``FORMAT_ROWS``, is its
format and nobody's; and so is a pair with a word that is in more than ``FORMAT_WORD_SHARE`` of its rows:
what fills a template's slot stands beside the template's own words, again and again.

Of a row with many pairs a part is kept: those whose hash begins with ``level`` zero bits, with the smallest
level, ``MOST_LEVEL`` at most, that leaves some ``KEPT`` or fewer. So two rows keep the same ones of what they
have in common. Which these are is no secret, so that every validator comes to the same verdict on a dataset
whose score hangs on it; what an author who aims at them saves is in the room's README.

Two rows match when ``Overlap.row_pairs`` of their pairs coincide, ``Overlap.row_share`` of those of the row
that has fewer (at the higher level of the two), and an estimated ``Overlap.row_made_of`` of all pairs of the
shorter row, its format included: so what fills in a template must be the same in several places. A row is
another dataset's when what it has in common with the rows there that match it is ``Overlap.row_made_of`` of
all its pairs: so ten rows put into one are found, and a short quotation in a long text of one's own is not.

A row with less than it takes may be a piece of one, such as a sentence. Rows each of which has at least half
of its pairs in the same row of another dataset match that row together when between them they have
``Overlap.pieces_share`` of its pairs, and no fewer than ``MIN_PIECES``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Overlap
from flockoff.dataset.filters import Filter
from flockoff.dataset.letters import spelled
from flockoff.dataset.markup import without_markup
from flockoff.dataset.pairs import content_words, pairs_of, scrambled
from flockoff.records import Row

REACH = 2
LABEL_PAIRS = 6
MIN_PAIRS = 12
KEPT = 32
MOST_LEVEL = 3
FORMAT_SHARE = 0.01
FORMAT_ROWS = 8
FORMAT_WORD_SHARE = 0.25
MIN_PIECES = 6
PROBES = 2048
PROBE_BITS = 10

_FLUSH_CHARACTERS = 32 * 1024  # what fits a processor's cache is looked at several times as fast
_MOST_TOGETHER = 256  # rows here times rows there with one pair; what is in more of them says nothing

Places = NDArray[np.intp]
Hashes = NDArray[np.uint32]
Counts = NDArray[np.int64]
Numbers = NDArray[np.uint64]


@dataclass(frozen=True)
class RowPairs:
    """``table``: (n_rows, 5), a row's 1-based line, its assistant tokens, its level, how many hashes it has,
    and how many different pairs its text has, those of the format and those not kept included.

    ``hashes``: of all rows, one after the other, each row's in order. ``probes``: (n_probes,), of about
    ``PROBES`` pairs a longer hash, by which this dataset is found among all others: those whose hash begins
    with so many zero bits, ``PROBE_BITS`` at most. So a small dataset has most of its own, the largest one in
    1,024, and a copy of some dozens of rows has some of each.
    """

    table: Hashes = field(default_factory=lambda: np.empty((0, 5), dtype=np.uint32))
    hashes: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint32))
    probes: Counts = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def lines(self) -> Hashes:
        return self.table[:, 0]

    @property
    def tokens(self) -> Hashes:
        return self.table[:, 1]

    @property
    def levels(self) -> Hashes:
        return self.table[:, 2]

    @property
    def totals(self) -> Hashes:
        return self.table[:, 4]

    @cached_property
    def rows(self) -> Places:
        """(n_hashes,): the place of each hash's row."""
        return np.repeat(np.arange(len(self.table)), self.table[:, 3])

    @cached_property
    def _ends(self) -> Counts:
        """(n_rows,): where each row's hashes end."""
        return np.cumsum(self.table[:, 3], dtype=np.int64)

    def rows_of(self, places: Places) -> Places:
        """The places of the rows of some hashes."""
        return np.searchsorted(self._ends, places, side="right")

    @cached_property
    def _along(self) -> Numbers:
        """(n_hashes,), in order: each hash behind its row's place."""
        return (self.rows.astype(np.uint64) << np.uint64(32)) | self.hashes

    def own_shares(self) -> NDArray[np.float64]:
        """(n_rows,): the estimated share of each row's pairs that are not its dataset's format."""
        own = self.table[:, 3].astype(np.int64) << self.levels
        return own / np.maximum(1, self.totals)

    def counts_at(self, places: Places, levels: Places) -> Counts:
        """How many hashes are left of each of these rows at its level."""
        counts: Counts = self.table[places, 3].astype(np.int64)
        higher = np.flatnonzero(levels > self.levels[places])
        if len(higher):
            starts = places[higher].astype(np.uint64) << np.uint64(32)
            ends = starts + (np.uint64(1 << 32) >> levels[higher].astype(np.uint64))
            counts[higher] = np.searchsorted(self._along, ends) - np.searchsorted(self._along, starts)
        return counts

    def without(self, others: Iterable["RowPairs"]) -> "RowPairs":
        """The rows with other hashes than any in ``others``."""
        known = np.concatenate([np.empty(0, np.uint64), *(_sums(other) for other in others)])
        return self._only(~np.isin(_sums(self), known))

    def _only(self, kept: NDArray[np.bool_]) -> "RowPairs":
        return RowPairs(self.table[kept], self.hashes[kept[self.rows]], self.probes)

    def to_bytes(self) -> bytes:
        """Little-endian: two counts, the table, the probes, the hashes. 20 bytes a row and 4 a pair."""
        head = np.array([len(self.table), len(self.probes)], dtype="<u4")
        parts = (head, self.table.astype("<u4"), self.probes.astype("<i8"), self.hashes.astype("<u4"))
        return b"".join(part.tobytes() for part in parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> "RowPairs":
        """The inverse of ``to_bytes``; nothing is no rows. Raises ValueError where it cannot be one."""
        if not data:
            return cls()
        numbers = np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
        end = 2 + 5 * int(numbers[0])
        last = end + 2 * int(numbers[1])
        if last > len(numbers):
            raise ValueError("a row sketch ends early")
        table, hashes = numbers[2:end].reshape(-1, 5), numbers[last:]
        probes = np.frombuffer(data, "<i8", int(numbers[1]), 4 * end).astype(np.int64, copy=False)
        if int(table[:, 3].sum(dtype=np.uint64)) != len(hashes) or (table[:, 2] > MOST_LEVEL).any():
            raise ValueError("a row sketch contradicts itself")
        return cls(table, hashes, probes)


class RowPairer:
    """Makes the ``RowPairs`` of rows that come one by one; ``add`` is a ``RowVisitor``.

    Keeps 16 bytes a pair until then: 54 MB for the 64 MiB of the largest dataset.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, str, str]] = []  # line, tokens, answers, all turns
        self._characters = 0
        self._tables: list[Hashes] = []  # of each batch: line, tokens, how many
        self._hashes: list[Numbers] = []
        self._words: list[Hashes] = []  # of each pair, (n_pairs, 2)

    def add(self, line: int, row: Row, assistant_tokens: int) -> None:
        answers = "\n".join(turn.content for turn in row.turns if turn.role == "assistant")
        turns = "\n".join(turn.content for turn in row.turns)
        self._waiting.append((line, assistant_tokens, answers, turns))
        self._characters += len(turns)
        if self._characters >= _FLUSH_CHARACTERS:
            self._flush()

    def pairs(self) -> RowPairs:
        """Of the rows so far, those that have pairs, be they all their dataset's format."""
        self._flush()
        if not self._tables:
            return RowPairs()
        table, hashes = np.concatenate(self._tables), np.concatenate(self._hashes)
        rows = np.repeat(np.arange(len(table)), table[:, 2])
        own = ~_is_format(hashes, np.concatenate(self._words), rows, len(table))
        rows, hashes = rows[own], hashes[own]
        probes = probes_of(hashes, PROBE_BITS)
        left = np.bincount(rows, minlength=len(table))
        levels = np.clip(np.ceil(np.log2(np.maximum(left, 1) / KEPT)), 0, MOST_LEVEL).astype(np.int64)
        begin = (hashes >> np.uint64(32)).astype(np.uint32)
        kept = (begin >> np.uint32(1) >> (31 - levels[rows]).astype(np.uint32)) == 0
        rows, begin = rows[kept], begin[kept]
        counts = np.bincount(rows, minlength=len(table))
        enough = table[:, 2] > 0
        whole = np.column_stack([table[:, :2], levels, counts, table[:, 2]]).astype(np.uint32)
        return RowPairs(whole[enough], begin, probes)

    def _flush(self) -> None:
        if not self._waiting:
            return
        lines, tokens, *texts = zip(*self._waiting, strict=True)
        self._waiting, self._characters = [], 0
        answers, turns = map(without_markup, texts)
        rows, hashes, words = distinct_pairs(answers)
        counts = np.bincount(rows, minlength=len(lines))
        short = np.flatnonzero(counts < LABEL_PAIRS)
        if len(short):
            of_turns, in_turns, words_in_turns = distinct_pairs([turns[place] for place in short])
            salts = text_hashes([answers[place] for place in short])
            salted = scrambled(in_turns + salts[of_turns])
            enough = np.bincount(of_turns, minlength=len(short)) >= MIN_PAIRS
            kept, left = enough[of_turns], ~np.isin(rows, short[enough])
            rows = np.concatenate([rows[left], short[of_turns[kept]]])
            hashes = np.concatenate([hashes[left], salted[kept]])
            words = np.concatenate([words[left], words_in_turns[kept]])
        order = np.lexsort((hashes, rows))
        rows, hashes = rows[order], hashes[order]
        counts = np.bincount(rows, minlength=len(lines))
        self._tables.append(np.column_stack([lines, tokens, counts]).astype(np.uint32))
        self._hashes.append(hashes)
        self._words.append(words[order])


def distinct_pairs(texts: Iterable[str]) -> tuple[Places, Numbers, Hashes]:
    """Of each different pair of each text, in order, whose it is, its hash, and (n_pairs, 2) of its words."""
    found = pairs_of(content_words(spelled([*texts])), reach=REACH)
    order = np.lexsort((found.hashes, found.texts))
    texts_of, hashes = found.texts[order], found.hashes[order]
    is_new = np.ones(len(hashes), dtype=np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (texts_of[1:] != texts_of[:-1])
    first = order[is_new]
    words = found.word_hashes[np.column_stack([found.words[first], found.others[first]])]
    return texts_of[is_new], hashes[is_new], (words >> np.uint64(32)).astype(np.uint32)


def probes_of(hashes: Numbers, most_bits: int) -> Counts:
    """About ``PROBES`` of the different ones among ``hashes``, chosen by how they begin: see ``RowPairs``."""
    every = np.unique(hashes)
    bits = min(most_bits, (len(every) // PROBES).bit_length())
    probes: Counts = (
        every[: np.searchsorted(every, np.uint64((1 << (64 - bits)) - 1))] >> np.uint64(1)
    ).astype(np.int64)
    return probes


def text_hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """(n_texts,): a number for each text's letters, in order."""
    found = spelled([*texts])
    places = np.arange(len(found.letters), dtype=np.uint64)
    ends = np.append(0, found.ends)
    places -= np.repeat(ends[:-1], np.diff(ends)).astype(np.uint64)
    sums = np.append(np.uint64(0), np.cumsum(scrambled(found.letters + (places << np.uint64(32)))))
    hashes: NDArray[np.uint64] = sums[ends[1:]] - sums[ends[:-1]]
    return scrambled(hashes)


def _sums(of: RowPairs) -> NDArray[np.uint64]:
    """(n_rows,): a number for the set of each row's hashes."""
    sums = np.append(np.uint64(0), np.cumsum(scrambled(of.hashes.astype(np.uint64))))
    ends = np.cumsum(of.table[:, 3], dtype=np.int64)
    hashes: NDArray[np.uint64] = sums[ends] - sums[ends - of.table[:, 3]]
    return hashes


def _is_format(hashes: Numbers, words: Hashes, rows: Places, count: int) -> NDArray[np.bool_]:
    """(n_pairs,): which are the format of ``count`` rows. Rows of the very same pairs are one."""
    sums = np.append(np.uint64(0), np.cumsum(scrambled(hashes)))
    ends = np.cumsum(np.bincount(rows, minlength=count))
    _, first = np.unique(sums[ends] - sums[np.append(0, ends[:-1])], return_index=True)
    is_first = np.zeros(count, dtype=np.bool_)
    is_first[first] = True
    once = is_first[rows]
    pairs, times = np.unique(hashes[once], return_counts=True)
    pairs = pairs[times > max(FORMAT_ROWS, FORMAT_SHARE * len(first))]
    in_rows = np.unique((rows[once, None] << 32) | words[once]) & 0xFFFFFFFF
    frequent, times = np.unique(in_rows, return_counts=True)
    frequent = frequent[times > max(FORMAT_ROWS, FORMAT_WORD_SHARE * len(first))].astype(np.uint32)
    is_format: NDArray[np.bool_] = np.isin(hashes, pairs) | np.isin(words, frequent).any(axis=1)
    return is_format


class RowMatcher:
    """Finds the rows of one dataset that another dataset has, whole or in pieces."""

    def __init__(self, mine: RowPairs, rules: Overlap) -> None:
        self._mine = mine
        self._rules = rules
        order = np.argsort(mine.hashes, kind="stable")
        self._hashes, self._rows = mine.hashes[order], mine.rows[order]
        self._known = Filter(mine.hashes)

    def matches(self, theirs: RowPairs) -> tuple[Places, Hashes]:
        """The places of the rows that are in ``theirs``, in order, and the line there of the most alike."""
        mine = self._mine
        hashes, here, there = self._together(theirs)
        pairs, inverse, common = np.unique(
            here * len(theirs.table) + there, return_inverse=True, return_counts=True
        )
        here, there = np.divmod(pairs, max(1, len(theirs.table)))
        level = np.maximum(mine.levels[here], theirs.levels[there]).astype(np.intp)
        sizes_here, sizes_there = mine.counts_at(here, level), theirs.counts_at(there, level)
        estimate = common << level  # of what they have in common, kept or not
        totals_here, totals_there = mine.totals[here], theirs.totals[there]
        alike = (
            (common >= self._rules.row_pairs)
            & (common >= self._rules.row_share * np.minimum(sizes_here, sizes_there))
            & (estimate >= self._rules.row_made_of * np.minimum(totals_here, totals_there))
        )
        shared = np.bincount(here[alike], estimate[alike], minlength=len(mine.table))
        is_theirs = shared >= self._rules.row_made_of * mine.totals
        found = alike & is_theirs[here]
        piece = ~is_theirs[here] & (2 * common >= sizes_here)
        of_piece = piece[inverse]
        once = np.unique((there[inverse][of_piece] << 32) | hashes[of_piece])
        covered = np.bincount(once >> 32, minlength=len(theirs.table))
        together = covered[there] >= np.maximum(MIN_PIECES, self._rules.pieces_share * sizes_there)
        found |= piece & together
        best = np.flatnonzero(found)
        best = best[np.lexsort((there[best], -common[best], here[best]))]
        places, first = np.unique(here[best], return_index=True)
        return places, theirs.lines[there[best[first]]]

    def _together(self, theirs: RowPairs) -> tuple[Counts, Places, Places]:
        """Each hash that is in a row here and in one there: itself, and the places of both rows."""
        near = self._known.among(theirs.hashes)
        hashes = theirs.hashes[near]
        order = np.argsort(hashes, kind="stable")
        near, hashes = near[order], hashes[order]
        start, end = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        here = end - start
        there = np.searchsorted(hashes, hashes, "right") - np.searchsorted(hashes, hashes, "left")
        few = (here > 0) & (here * there <= _MOST_TOGETHER)
        near, hashes, start, here = near[few], hashes[few], start[few], here[few]
        first = np.cumsum(here) - here
        places = np.repeat(start - first, here) + np.arange(here.sum())
        return (
            np.repeat(hashes, here).astype(np.int64),
            self._rows[places],
            np.repeat(theirs.rows_of(near), here),
        )
