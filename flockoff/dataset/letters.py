"""Letters: what is left of a text once all is gone that can be changed without changing what it says.

White space, punctuation, marks and accents, case, invisible characters, and the difference between characters
that look alike go. What stays is a stream of letters and digits, without gaps between words: so the same
letters are found again however they were dressed, in scripts that are written without spaces too. An
ideograph says as much as several letters and counts as three.

Everything is a look-up by code point, so a text's cost is proportional to its length whatever is in it.
Unicode's own normalisation takes time quadratic in the length of a run of combining marks.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Places = NDArray[np.intp]

_MOST = 4  # characters that stand for one; a ligature of a whole phrase is cut
_CODE_POINTS = 0x110000
_IDEOGRAPHS = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0x20000, 0x2F800), range(0x2FA20, 0x32400))
# Beyond them are no letters yet. Surrogates are in no text, and private use means nothing.
_OTHERS = (
    range(0x3400),
    range(0x4DC0, 0x4E00),
    range(0xA000, 0xD800),
    range(0xF900, 0x20000),
    range(0x2F800, 0x2FA20),
)
# Of the three letters of an ideograph two are numbers that no character has.
_THREE = np.array([0, _CODE_POINTS, 2 * _CODE_POINTS], dtype=np.uint32)
# Cyrillic, Greek and other letters, and digits, as the Latin letter that they pass for.
_ALIKE = str.maketrans(
    "авеікмнорстухѕјһԁԛԝѵьαβεζηικνορτυχωıłøđħŧɑɡ01",  # noqa: RUF001
    "abeikmhopctyxsjhdqwvbabezhikvoptyxwilodhtagol",
)


@dataclass(frozen=True)
class _Table:
    """By code point: how many letters stand for it, the first, and where in ``letters`` they begin."""

    counts: NDArray[np.uint8]
    first: Codes
    starts: Codes
    letters: Codes


def letters_of(texts: Sequence[str]) -> tuple[Codes, Places]:
    """The letters of all texts, one after the other, and where each text's end: (n_letters,), (n_texts,)."""
    text = "".join(texts)
    table = _table()
    if text.isascii():
        codes: NDArray[np.uint8] | Codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    counts = table.counts[codes]
    ends = np.cumsum([len(each) for each in texts], dtype=np.intp)
    if text.isascii() or counts.max() <= 1:
        kept = np.flatnonzero(counts)
        return table.first[codes[kept]], np.searchsorted(kept, ends)
    done = np.cumsum(counts, dtype=np.intp)
    before = table.starts[codes] - (done - counts)
    return table.letters[np.repeat(before, counts) + np.arange(done[-1])], np.append(0, done)[ends]


@cache
def _table() -> _Table:
    counts = np.zeros(_CODE_POINTS, dtype=np.uint8)
    starts = np.zeros(_CODE_POINTS, dtype=np.uint32)
    letters: list[int] = []
    for code, found in _spelled():
        counts[code], starts[code] = len(found), len(letters)
        letters += found
    parts = [np.array(letters, dtype=np.uint32)]
    for ideographs in _IDEOGRAPHS:
        numbers = np.arange(ideographs.start, ideographs.stop, dtype=np.uint32)
        counts[numbers] = len(_THREE)
        starts[numbers] = sum(map(len, parts)) + len(_THREE) * np.arange(len(numbers))
        parts.append((numbers[:, None] + _THREE).ravel())
    every = np.concatenate(parts)
    return _Table(counts, every[starts], starts, every)


def _spelled() -> Iterator[tuple[int, list[int]]]:
    """Each character that is a letter or digit and no ideograph, with the letters that stand for it."""
    for code in chain(*_OTHERS):
        folded = unicodedata.normalize("NFKD", chr(code)).casefold().translate(_ALIKE)
        found = [each for each in unicodedata.normalize("NFKD", folded) if each.isalnum()][:_MOST]
        if found:
            yield code, [letter for each in found for letter in _weighed(ord(each))]


def _weighed(code: int) -> list[int]:
    return (code + _THREE).tolist() if any(code in ideographs for ideographs in _IDEOGRAPHS) else [code]
