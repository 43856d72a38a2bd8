import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flockoff.dataset.letters import letters_of
from tests.support.dataset_texts import EXAMPLES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def spelled(*texts: str) -> list[list[int]]:
    letters, ends = letters_of(texts)
    return [letters[start:end].tolist() for start, end in pairwise([0, *ends.tolist()])]


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
