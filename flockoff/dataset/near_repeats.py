"""Rows of one dataset that nearly repeat an earlier row of it.

A row counts by its pairs of content words (``row_pairs.py``): by its answers', or, where these have few, by
all its turns', and then only beside rows with the very same answers. Two rows are nearly the same when at
least ``ALIKE`` of the pairs of both together are common to them, estimated from the ``KEPT`` smallest hashes
of each (Broder, 1997): about one word in eight replaced. Unlike in a comparison with others' datasets,
nothing is left out as a format: what a dataset says again and again is what its miner wants to know. Rows
with fewer than ``MIN_PAIRS`` pairs are compared with none, so neither are those in scripts without spaces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flockoff.dataset.row_pairs import LABEL_PAIRS, MIN_PAIRS, distinct_pairs, text_hashes
from flockoff.records import Row

KEPT = 32
ALIKE = 0.5

_FLUSH_CHARACTERS = 32 * 1024
_Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NearRepeat:
    """The row on ``line`` nearly repeats the one on line ``earlier``; both 1-based."""

    line: int
    earlier: int


class NearRepeats:
    """Compares streamed rows with those before them; ``add`` is a ``RowVisitor``.

    Keeps at most 256 bytes a row, and compares each with at most ``KEPT`` others: time and memory grow with
    the number of rows only.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str, str]] = []  # line, answers, all turns
        self._characters = 0
        self._kept: list[_Numbers] = []  # of each row compared, by its place: its smallest hashes
        self._first: dict[int, int] = {}  # the place of the first row with a hash
        self._lines: list[int] = []
        self._found: list[NearRepeat] = []

    def add(self, line: int, row: Row, assistant_tokens: int) -> None:
        answers = "\n".join(turn.content for turn in row.turns if turn.role == "assistant")
        turns = "\n".join(turn.content for turn in row.turns)
        self._waiting.append((line, answers, turns))
        self._characters += len(turns)
        if self._characters >= _FLUSH_CHARACTERS:
            self._flush()

    def found(self) -> tuple[NearRepeat, ...]:
        """Of the rows so far, in the file's order: each that repeats another, with the one most like it among
        those that repeat nothing themselves."""
        self._flush()
        return tuple(self._found)

    def _flush(self) -> None:
        if not self._waiting:
            return
        lines, answers, turns = zip(*self._waiting, strict=True)
        self._waiting, self._characters = [], 0
        for line, hashes in zip(lines, _hashes(answers, turns), strict=True):
            if len(hashes) >= MIN_PAIRS:
                self._compare(line, hashes[:KEPT])

    def _compare(self, line: int, kept: _Numbers) -> None:
        numbers = kept.tolist()
        near = {self._first[number] for number in numbers if number in self._first}
        alike = {place: _alike(kept, self._kept[place]) for place in near}
        best = max(alike, key=lambda place: (alike[place], -place), default=None)
        if best is not None and alike[best] >= ALIKE:
            self._found.append(NearRepeat(line, self._lines[best]))
            return  # the first of a family stands for all of it
        place = len(self._lines)
        self._lines.append(line)
        self._kept.append(kept)
        for number in numbers:
            self._first.setdefault(number, place)


def _hashes(answers: Sequence[str], turns: Sequence[str]) -> list[_Numbers]:
    """Each row's different hashes, scrambled and in order."""
    found = _by_text(answers)
    short = [place for place, hashes in enumerate(found) if len(hashes) < LABEL_PAIRS]
    if short:
        salts = text_hashes([answers[place] for place in short])
        for place, hashes, salt in zip(
            short, _by_text([turns[place] for place in short]), salts, strict=True
        ):
            found[place] = np.sort(hashes ^ salt)
    return found


def _by_text(texts: Sequence[str]) -> list[_Numbers]:
    places, hashes, _ = distinct_pairs(texts)
    ends = np.searchsorted(places, np.arange(1, len(texts)))
    return np.split(hashes, ends)


def _alike(one: _Numbers, other: _Numbers) -> float:
    """Which share of the smallest hashes of both together are in both: 0 to 1."""
    together = np.union1d(one, other)[:KEPT]
    common = np.isin(together, one) & np.isin(together, other)
    return float(np.count_nonzero(common)) / len(together)
