"""Sketches of a dataset's answers, by which modified copies are recognised.

An answer is one assistant turn, taken as the words that ``words_of`` finds in it: case, punctuation, quotes,
white space and the order of rows change nothing. Its shingles are all runs of ``SHINGLE_WORDS`` words; its
sketch is the ``HASHES`` smallest of their hashes (bottom-k sampling: Broder, "On the resemblance and
containment of documents", 1997). Two answers match when ``NEEDED`` hashes of their sketches coincide. Where
both have a share J of all their shingles, that happens with a probability of 0.997 for J = 0.8, 0.83 for
J = 0.5, 0.19 for J = 0.2 and 0.03 for J = 0.1 (simulated). A tenth of all words changed leaves J = 0.57, a
fifth 0.34; of pairs of answers of one language model to one question 99 in 100 had J < 0.12.

An answer of fewer than ``MIN_WORDS`` words, such as "Yes.", says nothing about who wrote it. It is judged by
the turn before it: only the same words in reply to a matching turn are a match. Where the two together have
fewer than ``MIN_WORDS`` words, or fewer than ``NEEDED`` different shingles, there is no sketch, and the
answer is nobody's.

What a dataset's answers, or the turns before short ones, have in common is their format, such as a task's
instruction, and nobody's: shingles that are in more than ``FORMAT_SHARE`` of a dataset's different answers,
and in more than ``FORMAT_ANSWERS``, are left out before sampling. Else three rows with somebody's instruction
would match all of theirs. Where less than ``TEMPLATE_SHARE`` of a row's pairs of words are its own and not
its dataset's format (``row_pairs.py``), as in a worked sum, all of an answer's words must be the same: two
honest miners with one template fill a slot with the same now and then, and hardly ever all.

The hashes depend on a secret key, so nobody can tell which few words to change. Sketches are comparable only
under the same key. Beside them is what every validator keeps alike: the rows' pairs (``row_pairs.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from flockoff.dataset.row_pairs import RowPairer, RowPairs, probes_of
from flockoff.dataset.words import words_of
from flockoff.records import Row

SHINGLE_WORDS = 3
HASHES = 6
NEEDED = 3
MIN_WORDS = 12
FORMAT_SHARE = 0.01
FORMAT_ANSWERS = 8
TEMPLATE_SHARE = 0.25
ANSWER_BITS = 5

_COLUMNS = 2 + HASHES
_CANDIDATES = 64  # smallest hashes of an answer, before those of its format are removed
_FLUSH_LETTERS = 128 * 1024  # of text at once: some 6 MB of numbers
_ORDER_BITS = np.uint64(44)  # of a hash, by which the smallest are found; the lower 32 of them are kept

Numbers = NDArray[np.uint64]
Table = NDArray[np.uint32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Sketch:
    """``assistant_tokens``: of the whole dataset, including answers without a sketch.

    ``table``: (n_answers, 2 + HASHES), an answer's 1-based line, its assistant tokens, and its hashes in
    the order of sampling, 0 where there are fewer. ``rows``: their pairs, which depend on no key.
    """

    assistant_tokens: int
    table: Table
    rows: RowPairs = field(default_factory=RowPairs)

    @property
    def lines(self) -> Table:
        return self.table[:, 0]

    @property
    def tokens(self) -> Table:
        return self.table[:, 1]

    @property
    def hashes(self) -> Table:
        return self.table[:, 2:]

    def probes(self) -> Places:
        """Numbers by which this dataset is found: those of its rows, and of the answers in rows without."""
        unpaired = ~np.isin(self.lines, self.rows.lines[self.rows.table[:, 3] > 0])
        return np.concatenate([self.rows.probes, _answer_probes(self.hashes[unpaired])])

    def lookups(self) -> Places:
        """The probes of others by which those are found that may have something of this one."""
        return np.concatenate([self.rows.probes, _answer_probes(self.hashes)])

    def without(self, others: Iterable["Sketch"]) -> "Sketch":
        """The answers and rows with other hashes than any in ``others``."""
        others = [*others]
        known = {hashes.tobytes() for other in others for hashes in other.hashes}
        kept = [hashes.tobytes() not in known for hashes in self.hashes]
        rows = self.rows.without(other.rows for other in others)
        return Sketch(self.assistant_tokens, self.table[np.array(kept, dtype=np.bool_)], rows)

    def to_bytes(self) -> bytes:
        """The table, little-endian: 32 bytes an answer."""
        return self.table.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, assistant_tokens: int, table: bytes, rows: bytes = b"") -> "Sketch":
        """The inverse of ``to_bytes``, and of the rows' own. Raises ValueError where it cannot be one."""
        numbers = np.frombuffer(table, dtype="<u4").astype(np.uint32, copy=False)
        return cls(assistant_tokens, numbers.reshape(-1, _COLUMNS), RowPairs.from_bytes(rows))


def _answer_probes(hashes: Table) -> Places:
    """Of two of an answer's first three hashes each a number, as ``RowPairs.probes`` are."""
    first, second = hashes[:, [0, 0, 1]].astype(np.uint64), hashes[:, [1, 2, 2]].astype(np.uint64)
    both = (first > 0) & (second > 0)
    return probes_of(_scrambled((first[both] << np.uint64(32)) | second[both]), ANSWER_BITS)


class Sketcher:
    """Sketches streamed rows; ``add`` is a ``RowVisitor``.

    Keeps at most 256 bytes an answer until its sketch is made, and no more than 4 a word. Takes some 2 s for
    the 64 MiB of the largest dataset.
    """

    def __init__(self, key: bytes) -> None:
        """``key``: at most 64 bytes."""
        self._key = key
        digest = blake2b(key=key, digest_size=8 * (SHINGLE_WORDS + 1)).digest()
        multipliers = np.frombuffer(digest, dtype="<u8").astype(np.uint64) | np.uint64(1)
        self._letter_multiplier = multipliers[0]
        self._word_multipliers = multipliers[1:]
        self._assistant_tokens = 0
        self._rows = RowPairer()
        self._waiting: list[tuple[int, int, int, list[str]]] = []  # line, tokens, salt, words
        self._waiting_letters = 0
        self._answers: list[Table] = []  # of each batch: lines and tokens, (n_answers, 2)
        self._texts: list[Numbers] = []  # of each batch: a number for each answer's words
        self._candidates: list[tuple[NDArray[np.int64], Table]] = []  # and how many hashes each has; these

    def add(self, line: int, row: Row, assistant_tokens: int) -> None:
        """``assistant_tokens``: the row's; they are divided among its answers by their length."""
        self._assistant_tokens += assistant_tokens
        self._rows.add(line, row, assistant_tokens)
        length = sum(len(turn.content) for turn in row.turns if turn.role == "assistant")
        done = 0
        prompt = ""
        if not length:
            return  # the context ends where the first answer would begin
        for turn in row.turns:
            if turn.role == "user":
                prompt = turn.content
                continue
            start, done = done, done + len(turn.content)
            tokens = assistant_tokens * done // length - assistant_tokens * start // length
            salt, words = self._identity(prompt, turn.content)
            if words:
                self._waiting.append((line, tokens, salt, words))
                self._waiting_letters += sum(map(len, words))
        if self._waiting_letters >= _FLUSH_LETTERS:
            self._flush()

    def sketch(self) -> Sketch:
        """The sketch of the rows so far."""
        self._flush()
        rows = self._rows.pairs()
        if not self._answers:
            return Sketch(self._assistant_tokens, np.empty((0, _COLUMNS), dtype=np.uint32), rows)
        answers = np.concatenate(self._answers)
        counts = np.concatenate([counts for counts, _ in self._candidates])
        hashes = np.concatenate([hashes for _, hashes in self._candidates])
        table = np.column_stack([answers, _without_format(counts, hashes)])
        of_template = np.isin(table[:, 0], rows.lines[rows.own_shares() < TEMPLATE_SHARE])
        table[of_template, 2:] = _salted(table[of_template, 2:], np.concatenate(self._texts)[of_template])
        enough = np.count_nonzero(table[:, 2:], axis=1) >= NEEDED
        return Sketch(self._assistant_tokens, table[enough], rows)

    def _identity(self, prompt: str, answer: str) -> tuple[int, list[str]]:
        """The words to sample, and what else must be the same, as a number. No words: nobody's."""
        words = words_of(answer)
        if len(words) >= MIN_WORDS:
            return 0, words
        prompt_words = words_of(prompt)
        if len(prompt_words) + len(words) < MIN_WORDS:
            return 0, []
        digest = blake2b("\n".join(words).encode(), key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "little"), prompt_words

    def _flush(self) -> None:
        if not self._waiting:
            return
        lines, tokens, salts, texts = zip(*self._waiting, strict=True)
        self._waiting, self._waiting_letters = [], 0
        ends = np.cumsum([len(words) for words in texts])
        hashes = self._word_hashes([word for words in texts for word in words])
        shingles, answers = self._shingles(hashes, ends, np.array(salts, dtype=np.uint64))
        self._answers.append(np.array([lines, tokens], dtype=np.uint32).T)
        self._texts.append(_sums(shingles, answers, len(texts)))
        self._candidates.append(_smallest(shingles, answers, len(texts)))

    def _word_hashes(self, words: list[str]) -> Numbers:
        """(n_words,): the word's UTF-8 as digits of a number to a secret base, modulo 2**64."""
        text = np.frombuffer(("\n".join(words) + "\n").encode(), dtype=np.uint8)  # no word has a line end
        ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        places = np.arange(len(text)) - np.repeat(starts, ends + 1 - starts)
        powers = np.multiply.accumulate(np.full(places.max() + 1, self._letter_multiplier))
        return np.add.reduceat(text * powers[places], starts)

    def _shingles(
        self, hashes: Numbers, ends: NDArray[np.int64], salts: Numbers
    ) -> tuple[Numbers, NDArray[np.int64]]:
        """Of each run of words within an answer its hash, of ``_ORDER_BITS`` bits, and whose it is."""
        lengths = np.diff(ends, prepend=0)
        last = len(hashes) - SHINGLE_WORDS + 1  # runs start before this word
        answers = np.repeat(np.arange(len(ends)), lengths)[: max(last, 0)]
        whole = np.arange(len(answers)) + SHINGLE_WORDS <= ends[answers]
        mixed = salts[answers]
        for place, multiplier in enumerate(self._word_multipliers):
            mixed = mixed + multiplier * hashes[place : place + len(answers)]
        return _scrambled(mixed)[whole] >> (np.uint64(64) - _ORDER_BITS), answers[whole]


def _scrambled(numbers: Numbers) -> Numbers:
    """Each of the 64 bits depends on all: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _smallest(shingles: Numbers, answers: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], Table]:
    """How many different hashes each answer has, ``_CANDIDATES`` at most; and its smallest, in that order.

    (count,), and all answers' one after the other.
    """
    ordered = np.sort((answers.astype(np.uint64) << _ORDER_BITS) | shingles)
    ordered = ordered[np.diff(ordered, prepend=ordered[:1] + np.uint64(1)) != 0]
    owner = (ordered >> _ORDER_BITS).astype(np.int64)
    kept = _rank(owner) < _CANDIDATES
    hashes = np.maximum(ordered[kept].astype(np.uint32), 1)  # 0 is for "none"
    return np.bincount(owner[kept], minlength=count), hashes


def _without_format(counts: NDArray[np.int64], hashes: Table) -> Table:
    """(n_answers, HASHES): of each answer its smallest hashes that are not its dataset's format; then zeros.

    ``counts``, ``hashes``: of all answers, as ``_smallest`` gives them. Answers of the very same words are
    one.
    """
    answers = np.repeat(np.arange(len(counts)), counts)
    # The sum of an answer's hashes, each mixed, stands for its words.
    ends = np.zeros(len(hashes) + 1, dtype=np.uint64)
    np.cumsum(_scrambled(hashes.astype(np.uint64)), out=ends[1:])
    starts = np.cumsum(counts) - counts
    _, first = np.unique(ends[starts + counts] - ends[starts], return_index=True)
    is_first = np.zeros(len(counts), dtype=np.bool_)
    is_first[first] = True
    known, times = np.unique(hashes[is_first[answers]], return_counts=True)
    frequent = known[times > max(FORMAT_ANSWERS, FORMAT_SHARE * len(first))]
    own = ~np.isin(hashes, frequent)
    answers, hashes = answers[own], hashes[own]
    rank = _rank(answers)
    kept = rank < HASHES
    table = np.zeros((len(counts), HASHES), dtype=np.uint32)
    table[answers[kept], rank[kept]] = hashes[kept]
    return table


def _sums(shingles: Numbers, answers: NDArray[np.int64], count: int) -> Numbers:
    """(count,): a number for all shingles of each answer, with repetitions; ``answers`` are in order."""
    done = np.append(np.uint64(0), np.cumsum(_scrambled(shingles)))
    ends = np.searchsorted(answers, np.arange(count + 1))
    sums: Numbers = done[ends[1:]] - done[ends[:-1]]
    return sums


def _salted(hashes: Table, salts: Numbers) -> Table:
    """Others in their place, the same for the same salt only. 0 stays."""
    salted = np.maximum(_scrambled(hashes + salts[:, None]).astype(np.uint32), 1)
    return np.where(hashes > 0, salted, np.uint32(0))


def _rank(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each among those of the same owner; ``owners`` are in order."""
    return np.arange(len(owners)) - np.searchsorted(owners, owners)
