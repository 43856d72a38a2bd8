"""Letters: a text without everything that can be changed without changing its meaning.

White space, punctuation, marks and accents, case and invisible characters are removed, and lookalike
characters unified, including digits and signs that stand for letters ("l33t"). What remains is a stream of
letters and digits without gaps between words, so that the same letters are found however disguised, also in
scripts without spaces. An ideograph says as much as several letters and counts as three. Word starts are kept
beside the letters; hyphens, apostrophes, marks and invisible characters do not end a word.

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

_MOST = 4  # characters per code point; a ligature of a whole phrase is cut
_FRAME = 4  # letters that may be added at each end of every word
_FRAMED_WORDS = 10  # a text has at least, before it can have been framed
_REST = 2  # letters of a word that are left at least
_CODE_POINTS = 0x110000
_IDEOGRAPHS = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0x20000, 0x2F800), range(0x2FA20, 0x32400))
_SELECTORS = range(0xE0000, 0xE01F0)  # invisible: tags and variants of the character before
_WITHIN_WORDS = frozenset(["Mn", "Me", "Mc", "Cf", "Lm", "Sk"])  # marks, invisible characters, modifiers
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
    "авеікмнорстухѕјһԁԛԝѵьαβεζηικνορτυχωıłøđħŧɑɡl01345789@$€"  # noqa: RUF001
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡᴢҽհոսօց",
    "abeikmhopctyxsjhdqwvbabezhikvoptyxwiiodhtagioieastbgaseabcdefghijkimnoprtuvwzehnuog",
)
_JOINING = frozenset("-\u2010\u2011'\u2019\u02bc`\u00b4\u2018")
# Thai, Lao and kana are written without spaces, as ideographs are.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x3040, 0x3100), *_IDEOGRAPHS)


@dataclass(frozen=True)
class _Table:
    """By code point: the number of its letters, the first, and where in ``letters`` they start.
    ``ends_word``: it separates words. ``is_word``: it is a word by itself.
    """

    counts: NDArray[np.uint8]
    first: Codes
    starts: Codes
    letters: Codes
    ends_word: NDArray[np.bool_]
    is_word: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spelled:
    """The concatenated ``letters`` of all texts: (n_letters,).

    ``ends``: (n_texts,), where each text's letters end. ``words``: (n_words,), where each word begins.
    """

    letters: Codes
    ends: Places
    words: Places


def spelled(texts: Sequence[str]) -> Spelled:
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
        letters, letter_ends = table.first[codes[kept]], np.searchsorted(kept, ends)
    else:
        done = np.cumsum(counts, dtype=np.intp)
        before = table.starts[codes] - (done - counts)
        letters = table.letters[np.repeat(before, counts) + np.arange(done[-1])]
        letter_ends = np.append(0, done)[ends]
        kept = np.repeat(np.arange(len(codes)), counts)
    return Spelled(letters, letter_ends, _word_starts(table, codes, kept, letter_ends))


def _word_starts(table: _Table, codes: NDArray[np.uint8] | Codes, kept: Places, ends: Places) -> Places:
    """Where words begin. ``kept``: by letter, the place of its character in ``codes``."""
    starts = np.zeros(len(kept), dtype=np.bool_)
    starts[:1] = True
    gaps = np.flatnonzero(np.diff(kept) > 1)  # nearly all of them a space, which the first look finds
    before, after = kept[gaps] + 1, kept[gaps + 1] - 1
    parted = table.ends_word[codes[before]] | table.ends_word[codes[after]]
    long = np.flatnonzero(~parted & (after - before > 1))
    if len(long):
        stops = np.cumsum(table.ends_word[codes], dtype=np.int32)
        parted[long] = stops[after[long]] != stops[before[long]]
    starts[gaps[parted] + 1] = True
    if codes.dtype != np.uint8:
        is_next = np.diff(kept) > 0  # not one more letter of the same character
        alone = table.is_word[codes[kept]]
        starts[1:] |= (alone[1:] | alone[:-1]) & is_next
    starts[ends[ends < len(kept)]] = True
    return np.flatnonzero(starts)


def without_frames(texts: Spelled) -> tuple[Spelled, Places]:
    """Texts of which half of the words begin, or end, with the same letter, without that letter, and so on up
    to ``_FRAME`` of them; and which of ``texts`` these are. No natural text is like that.
    """
    count = len(texts.ends)
    begin, end = texts.words.copy(), np.append(texts.words[1:], len(texts.letters))
    words = np.diff(np.searchsorted(texts.words, texts.ends), prepend=0)
    of_text = np.repeat(np.arange(count), words)
    framed = np.zeros(count, dtype=np.bool_)
    for _ in range(_FRAME if len(begin) else 0):
        before = end - begin
        for edge, at, step in ((begin, 0, 1), (end, -1, -1)):
            bits = (texts.letters[edge + at] & np.uint32(63)).astype(np.intp)
            tally = np.bincount(of_text * 64 + bits, minlength=count * 64).reshape(count, 64)
            common = (2 * tally.max(axis=1, initial=0) >= words) & (words >= _FRAMED_WORDS)
            cut = common[of_text] & (bits == tally.argmax(axis=1)[of_text]) & (end - begin > _REST)
            edge[cut] += step
        changed = end - begin < before
        if not changed.any():
            break
        framed[of_text[changed]] = True
    which = np.flatnonzero(framed)
    steps = np.zeros(len(texts.letters) + 1, dtype=np.intp)
    inside = framed[of_text]
    np.add.at(steps, begin[inside], 1)
    np.add.at(steps, end[inside], -1)
    kept = np.cumsum(steps[:-1]) > 0
    done = np.cumsum(kept, dtype=np.intp)
    return Spelled(texts.letters[kept], done[texts.ends[which] - 1], done[begin[inside]] - 1), which


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
    is_word = np.zeros(_CODE_POINTS, dtype=np.bool_)
    for unspaced in _UNSPACED:
        is_word[unspaced.start : unspaced.stop] = True
    ends_word = counts == 0
    ends_word[_SELECTORS.start : _SELECTORS.stop] = False
    for code in chain(*_OTHERS):
        if ends_word[code] and (chr(code) in _JOINING or unicodedata.category(chr(code)) in _WITHIN_WORDS):
            ends_word[code] = False
    return _Table(counts, every[starts], starts, every, ends_word, is_word)


def _spelled() -> Iterator[tuple[int, list[int]]]:
    """Each character that is a letter or digit and no ideograph, with the letters that stand for it."""
    for code in chain(*_OTHERS):
        folded = unicodedata.normalize("NFKD", chr(code)).casefold().translate(_ALIKE)
        found = [each for each in unicodedata.normalize("NFKD", folded) if each.isalnum()][:_MOST]
        if found:
            yield code, [letter for each in found for letter in _weighed(ord(each))]


def _weighed(code: int) -> list[int]:
    return (code + _THREE).tolist() if any(code in ideographs for ideographs in _IDEOGRAPHS) else [code]
