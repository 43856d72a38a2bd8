"""Detects rows that contain answers of the evaluation set, also disguised.

**The letters rule** finds an answer that is there word for word, or nearly. Every text is taken as its
letters (``letters.py``), a row as all its letters one after the other: the system text and the turns, in
order, as far as the context reaches. What is compared are runs of ``RUN_LETTERS`` letters, some five words.

- Runs that are in the evaluation set's own questions and system texts, or in different answers of several of
  its rows, are nobody's; the others in an answer are the answer's.
- A row contains an answer when it has ``Contamination.answer_share`` of that answer's runs, or
  ``Contamination.runs`` of them where that is less, and no fewer than ``MIN_RUNS``.
- A short answer, of fewer than ``SHORT_LETTERS``, may be anybody's. It counts only after its own question:
  its runs are those that end in it, of which the first begin in the turn before, and all are needed. One of
  fewer than ``MIN_RUNS`` letters is not looked for.

**The pairs rule** finds an answer that was paraphrased close to its words. What is compared are pairs of
neighbouring content words (``pairs.py``). Those in a question, a system text or another row's answer are
nobody's, as above. A row contains an answer when it has ``Contamination.pair_share`` of that answer's pairs,
and no fewer than ``MIN_PAIRS``, within ``SPREAD`` times as many content words as the answer has. That bound
keeps what long rows have by chance from adding up.

**The folds rule** finds an answer whose words are misspelt: a letter transposed, dropped, added or replaced
in each, or its vowels changed. Where ``STRANGE`` of the words around are in no text of the set, pairs count
by their words' folds too (``pairs.py``). A row contains an answer when it has, by either,
``Contamination.folded_share`` of that answer's pairs, and no fewer than ``MIN_FOLDED``.

**Markup.** A turn that is full of tags, entities, commands or signs within words, or of words written as one,
is looked at a second time without them (``markup.py``). So is a text of whose words half begin, or end, with
the same letter, without that letter, and so on (``letters.py``): something was put around every word.

**Pieces** are less than it takes of one or several answers.

- A row contains answers in pieces when it has at least ``PIECE_RUNS`` runs of each of several, and
  ``MOSAIC`` times ``Contamination.runs`` in all.
- Rows with ``PIECE_RUNS`` runs of the same answer contain it together when they, and the rows that contain it
  by themselves, have ``Contamination.together_share`` of its runs between them. However many they are, they
  count together for what they have of the answer, as part of one row: many rows from one template that all
  share the same few words with an answer are one piece of it, not many.
- So do rows with ``PIECE_PAIRS`` different pairs of an answer within ``PIECE_WORDS`` content words, when all
  such pairs are ``Contamination.pairs_together_share`` of the answer's. So is found what had its words
  replaced and was then cut into rows, or into turns between long ones of one's own. Pairs by folds are added
  up likewise, for ``Contamination.folds_together_share``.

Published work counts overlaps of runs in the same way: 13 words (Brown et al., "Language Models are Few-Shot
Learners", 2020, appendix C), 70 % of the runs of 8 words (Chowdhery et al., "PaLM", 2022, section 8), 50
letters without spaces and symbols (OpenAI, "GPT-4 Technical Report", 2023, appendix C). How well these rules
and thresholds tell disguised answers from honest rows is in the room's README.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Contamination
from flockoff.dataset.filters import Filter
from flockoff.dataset.letters import Places, Spelled, spelled, without_frames
from flockoff.dataset.markup import without_markup
from flockoff.dataset.pairs import (
    REACH,
    ContentWords,
    Vocabulary,
    content_words,
    folded_pairs,
    folds_of,
    letter_sums,
    pairs_of,
    scrambled,
)
from flockoff.errors import MinerFault, Reason
from flockoff.records import Row
from flockoff.text import counted

RUN_LETTERS = 24
MIN_RUNS = 8
SHORT_LETTERS = RUN_LETTERS + MIN_RUNS
PIECE_RUNS = 6
MOSAIC = 4
MIN_PAIRS = 6
MIN_FOLDED = 10
PIECE_PAIRS = 7
PIECE_WORDS = 8
STRANGE = 0.4
AROUND = 8
LIKELY = 2
SPREAD = 3

_ROWS_IN_A_FAULT = 10
_FLUSH_CHARACTERS = 32 * 1024  # what fits a processor's cache is looked at several times as fast
_SLOT_BITS = 22

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """The row on ``line`` has ``share`` (0 to 1) of an answer in the evaluation set's ``row``-th row.

    Of several answers it is the one of which it has most. ``whole``: whether that alone is contamination;
    else it is together with what other lines, or other answers, have. ``counts``: for how much of a
    contaminated row it counts, 0 to 1.
    """

    line: int
    row: int
    share: float
    whole: bool = True
    counts: float = 1.0


@dataclass(frozen=True, slots=True)
class _Answer:
    row: int  # in the evaluation set, from 1
    text: Spelled
    words: ContentWords
    runs: Numbers
    pairs: Numbers
    whole: bool  # whether it counts only as a whole


class _Table:
    """A lookup table of known hashes, at most one in each slot."""

    def __init__(self, hashes: Numbers) -> None:
        """``hashes``: distinct. ``kept``: (n_hashes,), which can be found; the others lost their slot."""
        self._hashes = np.append(hashes, np.uint64(0))  # the last stands for an empty slot
        self._known = Filter((hashes >> np.uint64(16)).astype(np.uint32))
        self._slots = np.full(1 << _SLOT_BITS, -1, dtype=np.int32)
        slots = _slots_of(hashes)
        self._slots[slots] = np.arange(len(hashes))
        self.kept = self._slots[slots] == np.arange(len(hashes))

    def find(self, hashes: Numbers) -> tuple[Places, Places]:
        """The indices of known ``hashes``, in order, and the index of each among the known."""
        places = self._known.among((hashes >> np.uint64(16)).astype(np.uint32))
        slots = self._slots[_slots_of(hashes[places])]
        same = (slots >= 0) & (self._hashes[slots] == hashes[places])
        return places[same], slots[same].astype(np.intp)


class _Owned:
    """Hashes that belong to one answer each. Of two in the same slot one is dropped: one in eighty at the
    size of FLock OFF's set.
    """

    def __init__(self, answers: Sequence[_Answer], of: Sequence[Numbers], nobodys: Iterable[Numbers]) -> None:
        """``of``: each answer's hashes. ``nobodys``: hashes that are in texts other than answers."""
        counts = [len(hashes) for hashes in of]
        rows = np.repeat([answer.row for answer in answers], counts)
        hashes, self.owners = _of_one_row(_joined(of), rows, np.repeat(np.arange(len(of)), counts), nobodys)
        self._table = _Table(hashes)
        self.sizes = np.bincount(self.owners[self._table.kept], minlength=len(answers))  # how many, by answer

    def find(self, hashes: Numbers) -> tuple[Places, Places]:
        """Which of ``hashes`` belong to answers, in order, and each one's place in ``owners``."""
        return self._table.find(hashes)


class _Folded:
    """The answers' folded pairs, each standing for a pair of whole words that belongs to one answer."""

    def __init__(
        self, pairs: _Owned, answers: Sequence[_Answer], others: Sequence[tuple[Spelled, ContentWords]]
    ) -> None:
        found = [_folded_pairs(answer.text, answer.words) for answer in answers]
        rows, meant = [], []
        for answer, (hashes, whole) in zip(answers, found, strict=True):
            of_answer, place = pairs.find(whole)
            stands_for = np.full(len(whole), -1)
            stands_for[of_answer] = place
            rows.append(np.full(len(hashes), answer.row))
            meant.append(stands_for)
        hashes, self._pairs = _of_one_row(
            _joined([hashes for hashes, _ in found]),
            np.concatenate([*rows, np.zeros(0, dtype=np.intp)]),
            np.concatenate([*meant, np.zeros(0, dtype=np.intp)]),
            [_folded_pairs(*other)[0] for other in others],
        )
        means_something = self._pairs >= 0
        self._pairs = self._pairs[means_something]
        self._table = _Table(hashes[means_something])

    def find(
        self, words: ContentWords, folds: Numbers, gaps: range, wanted: NDArray[np.bool_]
    ) -> tuple[Places, Places]:
        """The first word of each known folded pair, and the index in ``_Owned`` of the pair it stands for."""
        hashes, first, _ = folded_pairs(words, folds, gaps, wanted)
        places, found = self._table.find(hashes.ravel())
        return first[places // hashes.shape[1]], self._pairs[found]


class EvaluationAnswers:
    """The searchable runs and pairs of an evaluation set's answers."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.conversations = len(rows)  # of the whole set
        every = (answer for number, row in enumerate(rows, start=1) for answer in _answers_of(number, row))
        answers = [*{answer.runs.tobytes(): answer for answer in every}.values()]
        texts = [
            spelled([text])
            for row in rows
            for text in (row.system or "", *(turn.content for turn in row.turns if turn.role != "assistant"))
        ]
        others = [(text, content_words(text)) for text in texts]
        self.runs = _Owned(
            answers, [each.runs for each in answers], [_runs(words.sums) for _, words in others]
        )
        self.pairs = _Owned(
            answers, [each.pairs for each in answers], [pairs_of(words).hashes for _, words in others]
        )
        self.folded = _Folded(self.pairs, answers, others)
        self.words = Vocabulary([*(each.words for each in answers), *(words for _, words in others)])
        self.rows = np.array([answer.row for answer in answers], dtype=np.intp)
        self.whole = np.array([answer.whole for answer in answers], dtype=np.bool_)


class AnswerSearch:
    """Searches streamed rows for answers; ``add`` is a ``RowVisitor``. Keeps at most some 2 kB of each row
    that has pieces of answers.
    """

    def __init__(self, answers: EvaluationAnswers, rules: Contamination) -> None:
        self._answers = answers
        self._rules = rules
        runs, pairs = answers.runs.sizes, answers.pairs.sizes
        enough = np.minimum(rules.runs, rules.answer_share * runs)
        self._needed = np.maximum(MIN_RUNS, np.where(answers.whole, runs, enough))
        self._pairs_needed = np.maximum(MIN_PAIRS, rules.pair_share * pairs)
        self._folds_needed = np.maximum(
            np.maximum(self._pairs_needed, MIN_FOLDED), rules.folded_share * pairs
        )
        self._spread = np.maximum(1, SPREAD * pairs // REACH)  # content words
        self._waiting: list[tuple[int, list[str]]] = []
        self._characters = 0
        self._found: dict[int, FoundAnswer] = {}
        self._runs = _Pieces(answers.runs, np.maximum(self._needed, rules.together_share * runs))
        self._pairs = _Pieces(
            answers.pairs, np.maximum(self._pairs_needed, rules.pairs_together_share * pairs)
        )
        self._folds = _Pieces(
            answers.pairs, np.maximum(self._folds_needed, rules.folds_together_share * pairs)
        )

    def add(self, line: int, row: Row, _assistant_tokens: int) -> None:
        texts = [row.system or "", *[turn.content for turn in row.turns]]
        self._waiting.append((line, texts))
        self._characters += sum(map(len, texts))
        if self._characters >= _FLUSH_CHARACTERS:
            self._flush()

    @property
    def rows_found(self) -> int:
        """How many of the rows searched so far contain an answer by themselves."""
        return len(self._found)

    def found(self) -> tuple[FoundAnswer, ...]:
        """The rows so far that contain answers, in order."""
        self._flush()
        found = dict(self._found)
        for line, answer, share, counts in self._together():
            if line not in self._found and (line not in found or found[line].counts < counts):
                row = int(self._answers.rows[answer])
                found[line] = FoundAnswer(line, row, share, whole=False, counts=counts)
        return tuple(found[line] for line in sorted(found))

    def _together(self) -> Iterator[tuple[int, int, float, float]]:
        for pieces in (self._runs, self._pairs, self._folds):
            yield from pieces.together()

    def _flush(self) -> None:
        lines, texts = [], []
        plain = iter(without_markup([text for _, of_row in self._waiting for text in of_row]))
        for line, of_row in self._waiting:
            for text in {"\n".join(of_row): None, "\n".join(islice(plain, len(of_row))): None}:
                lines.append(line)
                texts.append(text)
        self._waiting, self._characters = [], 0
        spelling = spelled(texts)
        self._look(lines, spelling)
        plain_words, framed = without_frames(spelling)
        if len(framed):
            self._look([lines[place] for place in framed.tolist()], plain_words)

    def _look(self, lines: Sequence[int], texts: Spelled) -> None:
        words = content_words(texts)
        self._look_for_pairs(lines, texts, words)
        self._look_for_runs(lines, texts, words.sums)

    def _look_for_runs(self, lines: Sequence[int], texts: Spelled, sums: tuple[Numbers, Numbers]) -> None:
        places, runs = self._answers.runs.find(_runs(sums))
        rows = np.searchsorted(texts.ends, places, side="right")
        inside = places + RUN_LETTERS <= texts.ends[rows]  # not crossing into the next row
        count = len(self._answers.runs.owners)
        rows_runs = _once(rows[inside] * count + runs[inside])
        row_starts = np.searchsorted(rows_runs, np.arange(len(lines) + 1) * count)
        for place in np.flatnonzero(np.diff(row_starts) >= PIECE_RUNS).tolist():
            start, end = row_starts[place : place + 2]
            self._weigh(lines[place], rows_runs[start:end] - place * count)

    def _weigh(self, line: int, runs: Places) -> None:
        """Judge a row by its distinct runs of answers."""
        owners = self._answers.runs.owners[runs]
        counts = np.bincount(owners, minlength=len(self._needed))
        counts[counts < PIECE_RUNS] = 0
        most = int(np.argmax(counts / np.maximum(1, self._answers.runs.sizes)))
        if (enough := counts >= self._needed).any():
            most = int(np.argmax(np.where(enough, counts / self._needed, 0)))
            self._found[line] = self._as_found(line, most, counts[most], whole=True)
            self._runs.known[runs] = True
        elif line in self._found:
            return  # by its pairs
        elif counts.sum() >= MOSAIC * self._rules.runs:
            self._found[line] = self._as_found(line, most, counts[most], whole=False)
        elif counts.any():
            pieces = runs[counts[owners] > 0]
            self._runs.add(np.full(len(pieces), line), pieces)

    def _look_for_pairs(self, lines: Sequence[int], texts: Spelled, words: ContentWords) -> None:
        every = pairs_of(words, self._answers.words)
        places, pairs = self._answers.pairs.find(every.hashes)
        first = every.words[places]
        self._weigh_pairs(lines, words, (first, pairs), None, self._pairs_needed, self._pairs)
        folded = self._folded_pairs(texts, words, len(lines))
        if len(folded[0]):
            self._weigh_pairs(lines, words, (first, pairs), folded, self._folds_needed, self._folds)

    def _folded_pairs(self, texts: Spelled, words: ContentWords, count: int) -> tuple[Places, Places]:
        """Folded pairs with a word that is not in the set, where many nearby words are not. Pairs of words
        that are not adjacent are considered only in texts where some answer has adjacent ones. So most texts
        cost little.
        """
        strange = ~self._answers.words.may_have(words.stems)
        strange &= _share_around(strange, words.texts) >= STRANGE
        if not strange.any():
            nothing = np.zeros(0, dtype=np.intp)
            return nothing, nothing
        folds = folds_of(texts, words)
        first, pairs = self._answers.folded.find(words, folds, range(1, 2), strange)
        keys = words.texts[first] * len(self._needed) + self._answers.pairs.owners[pairs]
        hits = np.bincount(keys, minlength=count * len(self._needed)).reshape(count, len(self._needed))
        likely = hits.max(axis=1, initial=0) >= LIKELY
        farther = self._answers.folded.find(words, folds, range(2, REACH + 1), strange & likely[words.texts])
        return np.append(first, farther[0]), np.append(pairs, farther[1])

    def _weigh_pairs(
        self,
        lines: Sequence[int],
        words: ContentWords,
        whole: tuple[Places, Places],
        folded: tuple[Places, Places] | None,
        needed: NDArray[np.float64],
        pieces: "_Pieces",
    ) -> None:
        """Judge rows by the answers' pairs they contain. ``whole``, ``folded``: the index of each pair's
        first word, and of the pair. Given ``folded``, only answers that have some of those are considered.
        """
        # A key is a text and an answer. Nearly all are filtered out here: too few pairs, with repetitions.
        count = len(needed)
        firsts, pairs = whole if folded is None else map(np.append, whole, folded)
        keys = words.texts[firsts] * count + self._answers.pairs.owners[pairs]
        many = np.bincount(keys, minlength=len(lines) * count) >= PIECE_PAIRS
        if folded is not None:
            many &= np.bincount(keys[len(whole[0]) :], minlength=len(many)) > 0
        if not many.any():
            return
        of_many = many[keys]
        keys, firsts, pairs = keys[of_many], firsts[of_many], pairs[of_many]
        order = np.argsort(keys, kind="stable") if folded is None else np.lexsort((firsts, keys))
        keys, firsts, pairs = keys[order], firsts[order], pairs[order]
        starts, most = _most_within(self._spread[keys % count], keys, firsts, pairs)
        texts_of, answers = np.divmod(keys[starts], count)
        enough = most >= needed[answers]
        in_enough = np.repeat(enough, np.diff(starts, append=len(keys)))
        pieces.known[pairs[in_enough]] = True
        shares = most / self._answers.pairs.sizes[answers]
        for place in np.flatnonzero(enough).tolist():
            line, share = lines[texts_of[place]], float(shares[place])
            known = self._found.get(line)
            if known is None or known.share < share:
                self._found[line] = FoundAnswer(line, int(self._answers.rows[answers[place]]), share)
        keys, close = _close_together(*(each[~in_enough] for each in (keys, firsts, pairs)))
        pieces.add(np.array(lines)[keys // count], close)

    def _as_found(self, line: int, answer: int, runs: int, *, whole: bool) -> FoundAnswer:
        share = float(runs / self._answers.runs.sizes[answer])
        return FoundAnswer(line, int(self._answers.rows[answer]), share, whole)


class _Pieces:
    """What rows have of answers, each less than it takes, that may make up answers together."""

    def __init__(self, owned: _Owned, needed: NDArray[np.float64]) -> None:
        """``needed``: by answer, how many of its hashes all rows must have between them."""
        self._owned = owned
        self._needed = needed
        self._added: list[Places] = []  # each a line times how many hashes there are, plus one of them
        self.known = np.zeros(len(owned.owners), dtype=np.bool_)  # in rows that were found by themselves

    def add(self, lines: Places, hashes: Places) -> None:
        """``hashes``: (n,), places in ``owners``; ``lines``: (n,), where each is."""
        if len(hashes):
            self._added.append(_once(lines * len(self.known) + hashes))

    def together(self) -> Iterator[tuple[int, int, float, float]]:
        """Rows with pieces of answers that together make up the answers, or nearly: each one's line, the
        answer of which it has most, its share of that, and for how much of a row it counts.
        """
        if not self._added:
            return
        owners, sizes = self._owned.owners, self._owned.sizes
        lines, hashes = np.divmod(_once(np.concatenate(self._added)), len(self.known))
        every = _once(hashes)
        have = np.bincount(owners[every], minlength=len(sizes))
        in_all = np.bincount(owners[self.known], minlength=len(sizes))
        in_all += np.bincount(owners[every[~self.known[every]]], minlength=len(sizes))
        whole = in_all >= self._needed
        of_whole = whole[owners[hashes]]
        lines, hashes = lines[of_whole], hashes[of_whole]
        if not len(lines):
            return
        cells, counts = np.unique(lines * len(sizes) + owners[hashes], return_counts=True)
        lines, answers = np.divmod(cells, len(sizes))
        # What all pieces of an answer have of it is divided among them by what each has.
        total = np.bincount(answers, counts, minlength=len(sizes))
        weights = counts * have[answers] / (sizes * total)[answers]
        starts = np.flatnonzero(np.diff(lines, prepend=-1))
        most = np.lexsort((answers, -counts, lines))[starts]
        for line, answer, count, weight in zip(
            lines[starts].tolist(),
            answers[most].tolist(),
            counts[most].tolist(),
            np.add.reduceat(weights, starts).tolist(),
            strict=True,
        ):
            yield line, answer, float(count / sizes[answer]), min(1.0, weight)


def contamination_fault(
    found: Sequence[FoundAnswer],
    total_rows: int,
    rules: Contamination,
    *,
    sealed: Sequence[FoundAnswer] = (),
    is_whole: bool = True,
) -> MinerFault | None:
    """The fault of a dataset of ``total_rows`` rows, of which these contain answers.

    ``sealed``: others that contain answers of the sealed set; which ones is not disclosed, as that would
    reveal the set. ``is_whole``: else these are the first rows of more. None while all count for at most
    ``max_rows`` and at most ``max_share`` of all rows.
    """
    count = sum(each.counts for each in [*found, *sealed])
    if count <= rules.max_rows and count <= rules.max_share * total_rows:
        return None
    rows = counted(total_rows, "row") if is_whole else f"the first {counted(total_rows, 'row')}"
    if not found:
        return MinerFault(
            Reason.CONTAMINATED,
            f"Answers of the sealed evaluation set are in {len(sealed):,} of {rows}.",
            remedy="Remove what was taken from elsewhere, then upload and commit the dataset again.",
        )
    lines = ", ".join(str(each.line) for each in found[:_ROWS_IN_A_FAULT])
    more = f" and {len(found) - _ROWS_IN_A_FAULT:,} more" if len(found) > _ROWS_IN_A_FAULT else ""
    more += f"; those of the sealed one in {counted(len(sealed), 'other')}" if sealed else ""
    return MinerFault(
        Reason.CONTAMINATED,
        f"Answers of the evaluation set are in {len(found):,} of {rows}: "
        f"line{'s' if len(found) > 1 else ''} {lines}{more}.",
        remedy="Remove these rows, then upload and commit the dataset again.",
    )


def _answers_of(number: int, row: Row) -> Iterator[_Answer]:
    """The row's answers, in order, with all their runs and pairs."""
    before = spelled([row.system or ""])
    for turn in row.turns:
        text = spelled([turn.content])
        if turn.role == "assistant":
            short = len(text.letters) < SHORT_LETTERS
            start = before.letters[1 - RUN_LETTERS :] if short else before.letters[:0]
            words = content_words(text)
            pairs = np.unique(pairs_of(words).hashes)
            runs = _runs(letter_sums(np.concatenate([start, text.letters])))
            yield _Answer(number, text, words, runs, pairs, short)
        before = text


def _folded_pairs(text: Spelled, words: ContentWords) -> tuple[Numbers, Numbers]:
    """(n,): the hashes of a text's folded pairs, and of the pairs of whole words they stand for."""
    folds, stems = folds_of(text, words), scrambled(words.stems)
    hashes, first, other = folded_pairs(
        words, folds, range(1, REACH + 1), np.ones(len(folds), dtype=np.bool_)
    )
    pairs, combinations = np.nonzero(hashes)
    return hashes[pairs, combinations], scrambled(stems[first] + stems[other])[pairs]


def _of_one_row(
    hashes: Numbers, rows: Places, values: Places, nobodys: Iterable[Numbers]
) -> tuple[Numbers, Places]:
    """The distinct hashes that occur in only one of ``rows`` and are not ``nobodys``, each with its smallest
    value that is not negative, or -1 if it has none.
    """
    if not len(hashes):
        return hashes, values
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    values = values[order].astype(np.uintp)  # so that -1 comes last
    starts = np.flatnonzero(np.diff(hashes, prepend=hashes[:1] + np.uint64(1)))
    of_one = np.minimum.reduceat(rows, starts) == np.maximum.reduceat(rows, starts)
    of_one &= ~np.isin(hashes[starts], _joined([*nobodys]))
    return hashes[starts][of_one], np.minimum.reduceat(values, starts)[of_one].astype(np.intp)


def _joined(some: Sequence[Numbers]) -> Numbers:
    return np.concatenate([np.zeros(0, dtype=np.uint64), *some])


def _runs(of: tuple[Numbers, Numbers]) -> Numbers:
    """The hash of each run of ``RUN_LETTERS`` letters, from the letters' ``letter_sums``."""
    sums, inverses = of
    count = max(0, len(sums) - RUN_LETTERS)
    return (sums[RUN_LETTERS:] - sums[:count]) * inverses[:count]


def _share_around(are: NDArray[np.bool_], texts: Places) -> NDArray[np.float64]:
    """(n_words,): the share of true ``are`` around each word, within its text; ``texts`` are in order."""
    places = np.arange(len(are))
    starts = np.maximum(places - AROUND, np.searchsorted(texts, texts))
    ends = np.minimum(places + AROUND + 1, np.searchsorted(texts, texts, side="right"))
    done = np.append(0, np.cumsum(are))
    share: NDArray[np.float64] = (done[ends] - done[starts]) / (ends - starts)
    return share


def _most_within(spreads: Places, keys: Places, words: Places, pairs: Places) -> tuple[Places, Places]:
    """How many different ``pairs`` of each key there are at most within its ``spreads`` of words.

    All (n,), in the order of ``keys`` and, within one, of ``words``, which says where each pair is. One that
    comes again within the spread does not count again. Returns where each key begins, and (n_keys,) counts.
    """
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    ends = _window_ends(spreads, keys, words)
    new = np.append(0, np.cumsum(~_again(spreads, keys, words, pairs)))
    return starts, np.maximum.reduceat(new[ends] - new[:-1], starts)


def _close_together(keys: Places, words: Places, pairs: Places) -> tuple[Places, Places]:
    """The pairs that are among ``PIECE_PAIRS`` different ones of their key within ``PIECE_WORDS`` words, and
    the key of each. All as for ``_most_within``.
    """
    spreads = np.full(len(keys), PIECE_WORDS)
    new = ~_again(spreads, keys, words, pairs)
    keys, words, pairs = keys[new], words[new], pairs[new]
    begin = np.arange(len(keys))
    end = _window_ends(spreads[new], keys, words)
    enough = end - begin >= PIECE_PAIRS
    steps = np.bincount(begin[enough], minlength=len(keys) + 1)
    steps -= np.bincount(end[enough], minlength=len(keys) + 1)
    close = np.cumsum(steps[:-1]) > 0
    return keys[close], pairs[close]


def _window_ends(spreads: Places, keys: Places, words: Places) -> Places:
    """By place: the first one after it of another key, or so many words away."""
    width = int(words.max(initial=0)) + int(spreads.max(initial=0)) + 1
    along = keys * width + words
    return np.searchsorted(along, along + spreads)


def _again(spreads: Places, keys: Places, words: Places, pairs: Places) -> NDArray[np.bool_]:
    """By place: whether the same pair of the same key is within the spread before it."""
    order = np.lexsort((words, pairs, keys))
    keys, words, pairs = keys[order], words[order], pairs[order]
    again = np.zeros(len(keys), dtype=np.bool_)
    again[order[1:]] = (np.diff(keys) == 0) & (np.diff(pairs) == 0) & (np.diff(words) < spreads[order[1:]])
    return again


def _once(numbers: Places) -> Places:
    """Each number once, in order; none is negative. NumPy's ``unique`` takes many times as long for these."""
    ordered = np.sort(numbers)
    is_new: NDArray[np.bool_] = np.diff(ordered, prepend=-1) != 0
    return ordered[is_new]


def _slots_of(hashes: Numbers) -> Places:
    return (hashes >> np.uint64(64 - _SLOT_BITS)).astype(np.intp)
