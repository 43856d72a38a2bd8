"""Pairs of content words, which survive replacing, moving and inflecting words.

A content word is one of at least ``MIN_LETTERS`` letters (``letters.py``) that is none of the words that
every English text or program is made of; it counts by its first ``STEM_LETTERS`` letters, so that endings and
whatever is changed behind them make no difference. A pair is two content words of one text, in either order
and not both of ``MIN_LETTERS`` only, with at most ``REACH - 1`` other content words between them. So words
that are inserted, dropped or replaced cost a few pairs each, however regularly that is done, and small words
cost none.

Words that are misspelt, one letter in each or more, share no such beginnings. For them a content word has
``FOLDS`` folds, each of which some edits leave as it is: its different consonants, in any order; its first
letters; its last ones. A folded pair is a fold of one word beside a fold of another. They are less telling:
they stand for the pair of whole words in one text, and not for pairs of their own.

Scripts that are written without spaces have no words here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flockoff.dataset.letters import Codes, Places, Spelled, spelled

MIN_LETTERS = 3
STEM_LETTERS = 6
REACH = 4
FOLDS = 3
FOLD_LETTERS = 3  # of a word's beginning and end
_BESIDE = ([0, 1, 1, 2, 2], [0, 1, 2, 1, 2])  # the folds of two words that make folded pairs

_BASE = 0x9E3779B97F4A7C15
# English, three letters and more; then what most programming languages and their libraries share.
_COMMON_WORDS = """
about above across after again against almost along already also although always among another around away
back because been before behind being below beside between both cannot come could does doing done down
during each either else enough even ever every first from further give goes going have having here himself
herself however instead into itself just keep kept know last least less like likely little look made make
makes many maybe might mine more most much must need needs never next nothing often once only other others
otherwise ours over part perhaps quite rather really right said same says should since some something
sometimes soon still such sure take takes than that their theirs them themselves then there therefore these
they thing things this those though three through thus together took toward towards under unless until upon
used using very want wants well went were what whatever when where whether which while whole whom whose will
with within without would years your yours yourself ago all and any are but can did for get got had has her
him his how its let may new nor not now off old one our out own per put saw say see she the too two use via
was way who why yes yet you
args array assert async await bool break case catch char class const continue data def default dict elif end
enum error except exception false file final finally float func function global if import int interface
isinstance item items key keys lambda len list main map name none null number object open optional pass path
print private public raise range result return row self set start static str string struct super switch true
try tuple type typing utf value valueerror values var void yield
"""

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of several texts, one after the other, in order of their first word.

    ``hashes``: (n_pairs,), the same for the same two words. ``texts``: (n_pairs,), the text's place.
    ``words``, ``others``: (n_pairs,), where the first and the other word are among the content words of all
    texts. ``word_hashes``: (n_content_words,).
    """

    hashes: Numbers
    texts: Places
    words: Places
    others: Places
    word_hashes: Numbers


@dataclass(frozen=True, slots=True)
class ContentWords:
    """The content words of several texts, one text after the other. All (n_words,): ``stems``, hashes of the
    first letters; ``texts``, the text's index; ``are_long``, whether longer than ``MIN_LETTERS``; ``places``,
    the index among all words, content or not. ``sums``: the ``letter_sums`` of all texts.
    """

    sums: tuple[Numbers, Numbers]
    stems: Numbers
    texts: Places
    are_long: NDArray[np.bool_]
    places: Places


def content_words(texts: Spelled) -> ContentWords:
    lengths = np.diff(texts.words, append=len(texts.letters))
    places = np.flatnonzero(lengths >= MIN_LETTERS)
    starts, lengths = texts.words[places], lengths[places]
    sums = letter_sums(texts.letters)
    stems = _run_hashes(sums, starts, np.minimum(lengths, STEM_LETTERS))
    content = np.flatnonzero(_common()[_first_bits(stems)] != stems)
    of_text = np.searchsorted(texts.ends, starts[content], side="right")
    return ContentWords(sums, stems[content], of_text, lengths[content] > MIN_LETTERS, places[content])


def pairs_of(words: ContentWords, known: "Vocabulary | None" = None, reach: int = REACH) -> Pairs:
    """All pairs of each text, with repetitions; only of ``known`` words, if given.

    ``reach``: how many content words after the first the second may be.
    """
    every = words.stems
    wanted = np.ones(len(every), dtype=np.bool_) if known is None else known.may_have(every)
    of_text = np.where(wanted, words.texts, -1)
    are_pairs = np.zeros((len(every), reach), dtype=np.bool_)
    for gap in range(1, reach + 1):
        together = (of_text[gap:] == of_text[:-gap]) & wanted[gap:]
        are_pairs[:-gap, gap - 1] = together & (words.are_long[gap:] | words.are_long[:-gap])
    places = np.flatnonzero(are_pairs)
    first = places // reach
    mixed = scrambled(every)
    other = first + places % reach + 1
    return Pairs(scrambled(mixed[first] + mixed[other]), of_text[first], first, other, mixed)


def folds_of(texts: Spelled, words: ContentWords) -> Numbers:
    """(n_words, FOLDS): a number for each fold of each word, 0 where the word is too short for it."""
    if not len(words.stems):
        return np.zeros((0, FOLDS), dtype=np.uint64)
    starts = texts.words[words.places]
    ends = np.append(texts.words, len(texts.letters))[words.places + 1]
    consonants = np.bitwise_or.reduceat(_consonant_bits(texts.letters), texts.words)[words.places]
    consonants[consonants & (consonants - np.uint64(1)) == 0] = 0  # too many words share a single one
    few = np.minimum(ends - starts, FOLD_LETTERS)
    first, last = (_run_hashes(words.sums, places, few) for places in (starts, ends - few))
    last[~words.are_long] = 0
    folds = np.stack([consonants, first, last], axis=1)
    return np.where(folds > 0, scrambled(folds * np.arange(1, 2 * FOLDS, 2, dtype=np.uint64)), np.uint64(0))


def folded_pairs(
    words: ContentWords, folds: Numbers, gaps: range, wanted: NDArray[np.bool_]
) -> tuple[Numbers, Places, Places]:
    """The hashes of folded pairs, (n_pairs, 5), and the indices of their first and other word, (n_pairs,).

    Consonants are paired with consonants, beginnings and ends with either. 0 where a word has no such fold.
    ``gaps``: the distances between the two words. ``wanted``: (n_words,); a pair needs one of these.
    """
    firsts = []
    for gap in gaps:
        together = words.texts[gap:] == words.texts[:-gap]
        together &= words.are_long[gap:] | words.are_long[:-gap]
        firsts.append(np.flatnonzero(together & (wanted[gap:] | wanted[:-gap])))
    first = np.concatenate(firsts)
    other = first + np.repeat(gaps, [len(each) for each in firsts])
    one, two = folds[first][:, _BESIDE[0]], folds[other][:, _BESIDE[1]]
    hashes = one + two
    hashes[(one == 0) | (two == 0)] = 0
    return hashes, first, other


class Vocabulary:
    """The content words of some texts: a cheap filter for pairs that cannot be in them."""

    def __init__(self, texts: Sequence[ContentWords]) -> None:
        self._marks = np.zeros(1 << 16, dtype=np.bool_)
        for words in texts:
            self._marks[_first_bits(words.stems)] = True

    def may_have(self, words: Numbers) -> NDArray[np.bool_]:
        return self._marks[_first_bits(words)]


def letter_sums(letters: Codes) -> tuple[Numbers, Numbers]:
    """Sums from which any run's hash follows. For letters ``[i:j]`` it is
    ``(sums[j] - sums[i]) * inverses[i]``, the letters as digits of a number modulo 2**64.
    """
    powers, inverses = _powers(1 << max(1, len(letters)).bit_length())
    sums = np.zeros(len(letters) + 1, dtype=np.uint64)
    np.cumsum(letters * powers[: len(letters)], out=sums[1:])
    return sums, inverses


def _run_hashes(of: tuple[Numbers, Numbers], starts: Places, lengths: Places) -> Numbers:
    sums, inverses = of
    # Times the base, since the first letter would be in none of the bits but the last.
    hashes: Numbers = (sums[starts + lengths] - sums[starts]) * inverses[starts] * np.uint64(_BASE)
    return hashes


def scrambled(numbers: Numbers) -> Numbers:
    """Each of the 64 bits depends on all: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _first_bits(hashes: Numbers) -> Places:
    return (hashes >> np.uint64(48)).astype(np.intp)


def _consonant_bits(letters: Codes) -> Numbers:
    """A bit for each letter except vowels, among them y; other scripts' letters share these bits."""
    return _bits()[letters & np.uint32(0xFF)] if len(letters) else np.zeros(0, dtype=np.uint64)


@cache
def _bits() -> Numbers:
    """(256,): by the last byte of a letter's code."""
    bits: Numbers = np.uint64(1) << (np.arange(256, dtype=np.uint64) & np.uint64(63))
    bits[[*b"aeiouy"]] = 0
    return bits


@cache
def _common() -> Numbers:
    """(2**16,): by its first bits the hash of each common word."""
    words = spelled(_COMMON_WORDS.split())
    lengths = np.minimum(np.diff(words.words, append=len(words.letters)), STEM_LETTERS)
    hashes = np.unique(_run_hashes(letter_sums(words.letters), words.words, lengths))
    table = np.zeros(1 << 16, dtype=np.uint64)
    table[_first_bits(hashes)] = hashes
    return table


@cache
def _powers(count: int) -> tuple[Numbers, Numbers]:
    """The first powers of an odd number modulo 2**64, and of its inverse."""
    inverse = pow(_BASE, -1, 1 << 64)
    first, second = (np.full(count, base, dtype=np.uint64) for base in (_BASE, inverse))
    return np.multiply.accumulate(first), np.multiply.accumulate(second)
