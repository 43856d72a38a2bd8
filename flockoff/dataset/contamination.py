"""Rows that contain the evaluation set's answers, whatever their case, punctuation and white space.

What counts as containing one is words, in order, without a gap, within one turn or the system text, as far
as the context reaches: nothing beyond is trained on, and normalising it could take a minute.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from flockoff.competition import Contamination
from flockoff.errors import MinerFault, Reason
from flockoff.records import Row

MIN_ANSWER_WORDS = 8
"""Shorter answers of the evaluation set are not looked for: anybody may have written them."""

_ROWS_IN_A_FAULT = 10
# Thai, Lao, kana and Han, which are written without spaces: each letter counts as a word.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
# Python's normalisation takes time quadratic in the length of a run of combining marks: minutes for one line.
_PIECE = re.compile(r"\S{1,1000}")
# Soft hyphens, zero-width characters, direction marks, and combining marks that belong to no letter.
_INVISIBLE = re.compile("[\u00ad\u0300-\u036f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]+")


def words_of(text: str) -> list[str]:
    """The words that are compared: runs of letters and digits after NFKC, without invisibles, case-folded."""
    if not text.isascii():
        text = _PIECE.sub(lambda piece: unicodedata.normalize("NFKC", piece[0]), text)
        text = _INVISIBLE.sub("", text)
    return _WORD.findall(text.casefold())


def windows(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """Every run of ``length`` words, in order."""
    return zip(*(words[start:] for start in range(length)), strict=False)


class EvaluationAnswers:
    """The evaluation set's answers of at least ``MIN_ANSWER_WORDS`` words, indexed by their first words."""

    def __init__(self, rows: Iterable[Row]) -> None:
        by_opening: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for row in rows:
            for turn in row.turns:
                if turn.role == "assistant":
                    answer = tuple(words_of(turn.content))
                    if len(answer) >= MIN_ANSWER_WORDS:
                        by_opening[answer[:MIN_ANSWER_WORDS]].add(answer)
        self._by_opening = dict(by_opening)
        self._openings = frozenset(by_opening)

    def contaminated_rows(self, rows: Iterable[Row]) -> list[int]:
        """The 0-based places of the rows in which a turn, or the system text, contains a whole answer."""
        return [place for place, row in enumerate(rows) if self.is_in(row)]

    def is_in(self, row: Row) -> bool:
        """Whether a turn, or the system text, contains a whole answer."""
        texts = [row.system or "", *(turn.content for turn in row.turns)]
        # What ASCII text is too short for that many words and their gaps needs no look.
        return any(
            self._is_in_words(words_of(text))
            for text in texts
            if len(text) >= 2 * MIN_ANSWER_WORDS - 1 or not text.isascii()
        )

    def _is_in_words(self, words: list[str]) -> bool:
        # Nearly all texts end here, at the speed of a set's look-ups.
        if self._openings.isdisjoint(windows(words, MIN_ANSWER_WORDS)):
            return False
        return any(
            tuple(words[start : start + len(answer)]) == answer
            for start, window in enumerate(windows(words, MIN_ANSWER_WORDS))
            if window in self._openings
            for answer in self._by_opening[window]
        )


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
