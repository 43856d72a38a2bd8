"""Pairs of neighbouring content words: what changes them and what does not."""

from collections import Counter
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flockoff.dataset.letters import spelled
from flockoff.dataset.pairs import (
    FOLDS,
    REACH,
    Vocabulary,
    content_words,
    folded_pairs,
    folds_of,
    pairs_of,
)
from tests.support.dataset_texts import EXAMPLES

WORDS = ["tide", "moon", "harbour", "water", "seven", "boats", "winter", "sea"]


def pairs(*texts: str) -> list[Counter[int]]:
    """By text, how often each pair is in it."""
    found = pairs_of(content_words(spelled(texts)))
    return [Counter(found.hashes[found.texts == place].tolist()) for place in range(len(texts))]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("tide and moon", "The MOON, with its tide!"),
        ("moonlight harbours water", "moonlit harboured water"),
        ("lit harbour tides", "l1t h@rb0ur t\u00efdes"),
        ("well-known harbour", "wellknown harbour"),
    ],
)
def test_pairs_of_small_words_endings_order_and_dress_make_no_difference(text: str, other: str) -> None:
    first, second = pairs(text, other)
    assert first and (first.keys() & second.keys() or "lit" in text)


def test_pairs_of_neighbours_reach_over_a_few_words() -> None:
    every = [f"{letter * 4}" for letter in "abcdefgh"]
    [all_pairs] = pairs(" ".join(every))
    assert len(all_pairs) == sum(len(every) - reach for reach in range(1, REACH + 1))
    near, far = pairs(
        " ".join([every[0], *every[2:5], every[1]]), " ".join([every[0], *every[2:6], every[1]])
    )
    [one] = pairs(f"{every[0]} {every[1]}")
    assert one.keys() <= near.keys() and not one.keys() & far.keys()


def test_pairs_of_a_text_do_not_reach_into_the_next() -> None:
    assert pairs("tide moon", "harbour water")[0] == pairs("tide moon")[0]


def test_pairs_of_short_words_alone_and_common_words_are_none() -> None:
    assert (
        pairs("sea sun sky fog", "the return of which would have been", "\u6f6e\u6c50\u6f6e", "")
        == [Counter()] * 4
    )


def test_pairs_of_a_vocabulary_are_those_of_its_texts() -> None:
    words = Vocabulary([content_words(spelled(["tide moon harbour"]))])
    text = content_words(spelled(["tide moon winter harbour boats seven water"]))
    every, few = pairs_of(text), pairs_of(text, words)
    assert set(few.hashes.tolist()) == {
        *pairs_of(content_words(spelled(["tide moon harbour"]))).hashes.tolist()
    }
    assert set(few.hashes.tolist()) < set(every.hashes.tolist())


@EXAMPLES
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=4))
def test_pairs_of_several_texts_are_those_of_each_in_any_order_of_words(texts: list[list[str]]) -> None:
    together = pairs(*map(" ".join, texts))
    assert together == [pairs(" ".join(text))[0] for text in texts]
    assert together == [pairs(" ".join(reversed(text)))[0] for text in texts]


@EXAMPLES
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_pairs_of_words_are_in_order_of_the_first(words: list[str]) -> None:
    found = pairs_of(content_words(spelled([" ".join(words)])))
    assert np.all(np.diff(found.words) >= 0)


def folded(text: str) -> set[int]:
    texts = spelled([text])
    words = content_words(texts)
    wanted = np.ones(len(words.stems), dtype=np.bool_)
    hashes, *_ = folded_pairs(words, folds_of(texts, words), range(1, REACH + 1), wanted)
    return {*hashes[hashes > 0].tolist()}


@pytest.mark.parametrize(
    "text",
    [
        "harbuor lihgthouse",  # transposed
        "habour lighthose",  # dropped
        "harbrour lighthousse",  # added
        "harxour lighthoute",  # replaced
        "hrbr lghths",  # without vowels
        "herbeer leghtheese",
        "hhaarrbboouurr lliigghhtthhoouussee",
        "ruobrah esuohthgil",  # backwards
        "abhorru eghhiloustth",  # in another order
        "uharbour ulighthouse",
        "lighthouseo harbouro",
        "harbuor lighthose",  # one of each
    ],
)
def test_folded_pairs_what_is_misspelt_has_some_in_common(text: str) -> None:
    assert folded("harbour lighthouse") & folded(text)
    assert not folded("winter tide") & folded(text)


def folds(word: str) -> set[int]:
    texts = spelled([word])
    words = content_words(texts)
    assume(len(words.stems) == 1)
    return {*folds_of(texts, words)[0].tolist()} - {0}


@EXAMPLES
@given(
    st.text(ascii_lowercase, min_size=7, max_size=14), st.integers(0, 12), st.sampled_from(ascii_lowercase)
)
def test_folds_of_a_long_word_with_any_one_edit_one_is_the_same(word: str, place: int, letter: str) -> None:
    at = place % (len(word) - 1)
    before, here, after = word[:at], word[at : at + 2], word[at + 2 :]
    edited = [before + here[::-1] + after, before + here[1] + after, before + letter + here + after]
    for each in (*edited, before + letter + here[1] + after):
        assert folds(word) & folds(each)


def test_folded_pairs_are_of_the_words_that_are_wanted() -> None:
    texts = spelled(["tide moon harbour winter boats"])
    words = content_words(texts)
    _, first, other = folded_pairs(
        words, folds_of(texts, words), range(1, 3), np.array([False, False, True, False, False])
    )
    assert sorted(zip(first.tolist(), other.tolist(), strict=True)) == [(0, 2), (1, 2), (2, 3), (2, 4)]
    nothing = spelled(["the", ""])
    assert folds_of(nothing, content_words(nothing)).shape == (0, FOLDS)
