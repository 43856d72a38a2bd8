"""Rows with answers of the evaluation set, in whatever dress: what is looked for, and what counts as found.

The rule. Every text is taken as its letters (``letters.py``), a row as all its letters one after the other:
the system text and the turns, in order, as far as the context reaches. What is compared are runs of
``RUN_LETTERS`` letters, some five words.

- Runs that are in the evaluation set's own questions and system texts, or in different answers of several of
  its rows, are nobody's; the others in an answer are the answer's.
- A row contains an answer when it has ``Contamination.answer_share`` of that answer's runs, or
  ``Contamination.runs`` of them where that is less, and no fewer than ``MIN_RUNS``.
- A short answer, of fewer than ``SHORT_LETTERS``, may be anybody's. It counts only after its own question:
  its runs are those that end in it, of which the first begin in the turn before, and all are needed. One of
  fewer than ``MIN_RUNS`` letters is not looked for.
- A row contains answers in pieces when it has at least ``PIECE_RUNS`` runs of each of several, and
  ``MOSAIC`` times ``Contamination.runs`` in all.
- Rows with ``PIECE_RUNS`` runs of the same answer contain it together when they have
  ``Contamination.together_share`` of its runs between them.

Published work counts overlaps in the same way: runs of 13 words (Brown et al., "Language Models are Few-Shot
Learners", 2020, appendix C), 70 % of the runs of 8 words (Chowdhery et al., "PaLM", 2022, section 8), 50
letters without spaces and symbols (OpenAI, "GPT-4 Technical Report", 2023, appendix C). How well these runs
and thresholds tell disguised answers from honest rows is in the room's README.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Contamination
from flockoff.dataset.letters import Codes, Places, letters_of
from flockoff.errors import MinerFault, Reason
from flockoff.records import Row

RUN_LETTERS = 24
MIN_RUNS = 8
SHORT_LETTERS = RUN_LETTERS + MIN_RUNS
PIECE_RUNS = 6
MOSAIC = 4

_ROWS_IN_A_FAULT = 10
_FLUSH_CHARACTERS = 32 * 1024  # what fits a processor's cache is looked at several times as fast
_SLOT_BITS = 21
_BASE = 0x9E3779B97F4A7C15

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """The row on ``line`` has ``share`` (0 to 1) of an answer in the evaluation set's ``row``-th row.

    Of several answers it is the one of which it has most. ``whole``: whether that alone is contamination;
    else it is together with what other lines, or other answers, have.
    """

    line: int
    row: int
    share: float
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Answer:
    row: int  # in the evaluation set, from 1
    runs: Numbers
    whole: bool  # whether it counts only as a whole


class EvaluationAnswers:
    """The runs of an evaluation set's answers, to be found at the price of a look-up a letter.

    Of two runs in the same slot of the table one is left out: one in forty, at the size of FLock OFF's set.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.conversations = len(rows)  # of the whole set
        owners: dict[int, int] = {}  # by a run's hash: the answer that it is of, or -1 for nobody
        every = (answer for number, row in enumerate(rows, start=1) for answer in _answers_of(number, row))
        answers = [*{answer.runs.tobytes(): answer for answer in every}.values()]
        for place, answer in enumerate(answers):
            for run in answer.runs.tolist():
                owner = owners.setdefault(run, place)
                if owner >= 0 and answers[owner].row != answer.row:
                    owners[run] = -1
        for row in rows:
            for text in (row.system or "", *(turn.content for turn in row.turns if turn.role != "assistant")):
                owners.update(dict.fromkeys(_runs(letters_of([text])[0]).tolist(), -1))
        theirs = {run: owner for run, owner in owners.items() if owner >= 0}
        self._hashes = np.array([*theirs], dtype=np.uint64)
        self._slots = np.full(1 << _SLOT_BITS, -1, dtype=np.int32)
        self._slots[_slots_of(self._hashes)] = np.arange(len(theirs))
        kept = self._slots[_slots_of(self._hashes)] == np.arange(len(theirs))
        self.owners = np.array([*theirs.values()], dtype=np.intp)  # by run: the answer
        self.sizes = np.bincount(self.owners[kept], minlength=len(answers))  # by answer: how many runs
        self.rows = np.array([answer.row for answer in answers], dtype=np.intp)
        self.whole = np.array([answer.whole for answer in answers], dtype=np.bool_)

    def runs_in(self, letters: Codes) -> tuple[Places, Places]:
        """Where in ``letters`` runs of answers begin, in order, and which these are: places in ``owners``."""
        hashes = _runs(letters)
        runs = self._slots[_slots_of(hashes)]
        places = np.flatnonzero(runs >= 0)
        same = self._hashes[runs[places]] == hashes[places]
        return places[same], runs[places[same]].astype(np.intp)

    def contaminated_rows(self, rows: Iterable[Row], rules: Contamination | None = None) -> list[int]:
        """The 0-based places of the rows with answers."""
        search = AnswerSearch(self, rules or Contamination())
        for place, row in enumerate(rows):
            search.add(place, row, 0)
        return [found.line for found in search.found()]


class AnswerSearch:
    """Looks for answers in rows that come one by one; ``add`` is a ``RowVisitor``.

    Keeps at most some 2 kB of each row that has pieces of answers.
    """

    def __init__(self, answers: EvaluationAnswers, rules: Contamination) -> None:
        self._answers = answers
        self._rules = rules
        enough = np.minimum(rules.runs, rules.answer_share * answers.sizes)
        self._needed = np.maximum(MIN_RUNS, np.where(answers.whole, answers.sizes, enough))
        self._waiting: list[tuple[int, str]] = []
        self._characters = 0
        self._found: dict[int, FoundAnswer] = {}
        self._pieces: list[tuple[int, Places]] = []  # lines with less than it takes, and which runs

    def add(self, line: int, row: Row, _assistant_tokens: int) -> None:
        text = "".join([row.system or "", *[turn.content for turn in row.turns]])
        self._waiting.append((line, text))
        self._characters += len(text)
        if self._characters >= _FLUSH_CHARACTERS:
            self._flush()

    def found(self) -> tuple[FoundAnswer, ...]:
        """Of the rows so far, in order, those that contain answers."""
        self._flush()
        found = self._found | {each.line: each for each in self._together()}
        return tuple(found[line] for line in sorted(found))

    def _flush(self) -> None:
        lines, texts = [line for line, _ in self._waiting], [text for _, text in self._waiting]
        self._waiting, self._characters = [], 0
        letters, ends = letters_of(texts)
        places, runs = self._answers.runs_in(letters)
        rows = np.searchsorted(ends, places, side="right")
        inside = places + RUN_LETTERS <= ends[rows]  # and not half in the next row
        count = len(self._answers.owners)
        rows_runs = _once(rows[inside] * count + runs[inside])
        row_starts = np.searchsorted(rows_runs, np.arange(len(lines) + 1) * count)
        for place in np.flatnonzero(np.diff(row_starts) >= PIECE_RUNS):
            start, end = row_starts[place : place + 2]
            self._weigh(lines[place], rows_runs[start:end] - place * count)

    def _weigh(self, line: int, runs: Places) -> None:
        """Takes the different runs of answers that are in a row."""
        owners = self._answers.owners[runs]
        counts = np.bincount(owners, minlength=len(self._needed))
        counts[counts < PIECE_RUNS] = 0
        most = int(np.argmax(counts / np.maximum(1, self._answers.sizes)))
        if (enough := counts >= self._needed).any():
            most = int(np.argmax(np.where(enough, counts / self._needed, 0)))
            self._found[line] = self._as_found(line, most, counts[most], whole=True)
        elif counts.sum() >= MOSAIC * self._rules.runs:
            self._found[line] = self._as_found(line, most, counts[most], whole=False)
        elif counts.any():
            self._pieces.append((line, runs[counts[owners] > 0]))

    def _together(self) -> Iterator[FoundAnswer]:
        """The rows with pieces of answers that are whole, or nearly, when taken together."""
        if not self._pieces:
            return
        answers = self._answers
        every = _once(np.concatenate([runs for _, runs in self._pieces]))
        have = np.bincount(answers.owners[every], minlength=len(answers.sizes))
        whole = have >= np.maximum(self._needed, self._rules.together_share * answers.sizes)
        for line, runs in self._pieces:
            counts = np.bincount(answers.owners[runs], minlength=len(answers.sizes)) * whole
            if counts.any():
                most = int(np.argmax(counts))
                yield self._as_found(line, most, counts[most], whole=False)

    def _as_found(self, line: int, answer: int, runs: int, *, whole: bool) -> FoundAnswer:
        share = float(runs / self._answers.sizes[answer])
        return FoundAnswer(line, int(self._answers.rows[answer]), share, whole)


def contamination_fault(
    line_numbers: Sequence[int], total_rows: int, rules: Contamination, *, sealed: int = 0
) -> MinerFault | None:
    """The fault of a dataset of ``total_rows`` rows, of which those on these lines contain answers.

    ``sealed`` more rows contain answers of the sealed set; which ones is not told, for it would tell what is
    in that set. None while all are at most ``max_rows`` and at most ``max_share`` of all rows.
    """
    found = len(line_numbers)
    if found + sealed <= rules.max_rows and found + sealed <= rules.max_share * total_rows:
        return None
    if not found:
        return MinerFault(
            Reason.CONTAMINATED,
            f"{sealed:,} of {total_rows:,} rows contain answers of the sealed evaluation set.",
            remedy="Remove what was taken from elsewhere, then upload and commit the dataset again.",
        )
    lines = ", ".join(str(number) for number in line_numbers[:_ROWS_IN_A_FAULT])
    more = f" and {found - _ROWS_IN_A_FAULT:,} more" if found > _ROWS_IN_A_FAULT else ""
    more += f"; {sealed:,} other{'s' if sealed > 1 else ''} of the sealed one" if sealed else ""
    return MinerFault(
        Reason.CONTAMINATED,
        f"{found:,} of {total_rows:,} rows contain answers of the evaluation set: "
        f"line{'s' if found > 1 else ''} {lines}{more}.",
        remedy="Remove these rows, then upload and commit the dataset again.",
    )


def _answers_of(number: int, row: Row) -> Iterator[_Answer]:
    """The row's answers, in order, with all their runs."""
    before, _ = letters_of([row.system or ""])
    for turn in row.turns:
        letters, _ = letters_of([turn.content])
        if turn.role == "assistant":
            short = len(letters) < SHORT_LETTERS
            start = before[1 - RUN_LETTERS :] if short else before[:0]
            yield _Answer(number, _runs(np.concatenate([start, letters])), short)
        before = letters


def _runs(letters: Codes) -> Numbers:
    """Of each run of ``RUN_LETTERS`` letters its hash: its letters as digits of a number modulo 2**64."""
    count = len(letters) - RUN_LETTERS + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    powers, inverses = _powers(1 << (len(letters) - 1).bit_length())
    sums = np.cumsum(letters * powers[: len(letters)], dtype=np.uint64)
    runs = sums[RUN_LETTERS - 1 :].copy()
    runs[1:] -= sums[:-RUN_LETTERS]
    return runs * inverses[:count]


@cache
def _powers(count: int) -> tuple[Numbers, Numbers]:
    """The first powers of an odd number modulo 2**64, and of its inverse."""
    inverse = pow(_BASE, -1, 1 << 64)
    first, second = (np.full(count, base, dtype=np.uint64) for base in (_BASE, inverse))
    return np.multiply.accumulate(first), np.multiply.accumulate(second)


def _once(numbers: Places) -> Places:
    """Each number once, in order; none is negative. NumPy's ``unique`` takes many times as long for these."""
    ordered = np.sort(numbers)
    is_new: NDArray[np.bool_] = np.diff(ordered, prepend=-1) != 0
    return ordered[is_new]


def _slots_of(hashes: Numbers) -> Places:
    return (hashes >> np.uint64(64 - _SLOT_BITS)).astype(np.intp)
