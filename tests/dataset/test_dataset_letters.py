import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flockoff.dataset.letters import spelled as spell
from flockoff.dataset.letters import without_frames
from tests.support.dataset_texts import EXAMPLES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def spelled(*texts: str) -> list[list[int]]:
    found = spell(texts)
    return [found.letters[start:end].tolist() for start, end in pairwise([0, *found.ends.tolist()])]


def letters(text: str) -> list[int]:
    (found,) = spelled(text)
    return found


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        (" \t\n.,;!?*_-`\u200b\u00ad\u0301", ""),
        ("Hello, World!", "helloworld"),
        ("t h e  t i d e", "thetide"),
        ("\uff34\uff48\uff45 ti\u200bde", "thetide"),
        ("Stra\u00dfe", "strasse"),
        ("e\u0301t\u00e9", "ete"),
        ("\ufb03", "ffi"),
        ("\u0441\u043e\u0440\u0443", "copy"),  # Cyrillic
        ("\u00d8re \u0141\u00f3d\u017a", "orelodz"),
        ("2\u00b2 \u2164", "22v"),
        ("l33t P@$$w0rd", "leetpassword"),
        ("Iron1 |", "lronl"),  # of letters that look alike any stands for all
        ("\u1112\u1161\u11ab", "\ud55c"),  # Hangul in parts
    ],
)
def test_letters_of_dress_makes_no_difference(text: str, plain: str) -> None:
    assert letters(text) == letters(plain)
    assert len(letters(plain)) == len(unicodedata.normalize("NFD", plain))


def test_letters_of_different_texts_differ() -> None:
    texts = ("tide", "tied", "\u6f6e\u6c50", "\u6c50\u6f6e", "\u0434\u0430", "\u0928\u0940")
    assert len({tuple(letters(text)) for text in texts}) == len(texts)


def test_letters_of_an_ideograph_are_three() -> None:
    assert len(letters("\u6f6e")) == 3
    assert letters("\u2f00") == letters("\u4e00")  # a radical and the ideograph it is
    assert len(letters("\u6f6e a")) == 4


def test_letters_of_a_ligature_of_a_phrase_are_bounded() -> None:
    assert len(letters("\ufdfa" * 1000)) == 4000


def test_letters_of_long_runs_of_marks_are_none() -> None:
    # Python's normalisation takes a minute for this.
    assert letters("a" + "\u0301\u0316" * 130_000 + "b") == letters("ab")


def words(text: str) -> list[str]:
    found = spell([text])
    ends = [*found.words.tolist(), len(found.letters)]
    return [
        "".join(chr(c) for c in found.letters[start:end] if c < 0x110000) for start, end in pairwise(ends)
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("two words", ["two", "words"]),
        ("weii-known, don't", ["weiiknown", "dont"]),
        ("in\u00advisi\u200bbie m\u0336arks\u0336", ["invisibie", "marks"]),
        ("a_b/c.d", ["a", "b", "c", "d"]),
        ("dash \u2014 or' 'quote '- '", ["dash", "or", "quote"]),
        ("\u6f6e\u6c50 tide", ["\u6f6e", "\u6c50", "tide"]),
        ("tide\u6f6e", ["tide", "\u6f6e"]),
        (" \u2010 ", []),
    ],
)
def test_letters_of_words_begin_where_words_do(text: str, plain: list[str]) -> None:
    assert words(text) == plain


@EXAMPLES
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_letters_of_every_text_begins_with_a_word(texts: list[str]) -> None:
    found = spell(texts)
    starts = {0, *found.ends[:-1].tolist()} & set(range(len(found.letters)))
    assert starts <= set(found.words.tolist())
    assert sorted(set(found.words.tolist())) == found.words.tolist()


@EXAMPLES
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_letters_of_several_texts_are_those_of_each(texts: list[str]) -> None:
    assert spelled(*texts) == [letters(text) for text in texts]


@EXAMPLES
@given(TEXTS)
@example("\U0002f800")  # an ideograph that stands for another one
def test_letters_of_a_text_decomposed_are_the_same(text: str) -> None:
    assert letters(unicodedata.normalize("NFD", text)) == letters(text)


@EXAMPLES
@given(TEXTS, st.sampled_from(" \n\u200b\u0301-,"))
def test_letters_of_a_text_with_gaps_are_the_same(text: str, gap: str) -> None:
    assert letters(gap.join(text)) == letters(text)


def test_letters_without_frames_are_those_of_the_words() -> None:
    plain = "The quick brown fox jumps over the lazy dog every single morning before breakfast"
    framed = " ".join(f"kr{word}t" for word in plain.split())
    found, which = without_frames(spell([plain, framed, "tt tt", "", framed]))
    assert which.tolist() == [1, 4]
    assert found.letters.tolist() == 2 * letters(plain)
    once = spell([plain])
    assert found.ends.tolist() == [len(once.letters), 2 * len(once.letters)]
    assert found.words.tolist() == [*once.words, *(once.words + len(once.letters))]


@EXAMPLES
@given(st.lists(TEXTS, max_size=5))
def test_letters_without_frames_are_some_of_the_letters(texts: list[str]) -> None:
    spelling = spell(texts)
    found, which = without_frames(spelling)
    assert len(found.ends) == len(which) and len(found.letters) <= len(spelling.letters)
    assert found.ends.tolist()[-1:] == [len(found.letters)][: len(which)]
