"""Sketches of answers: what changes them and what does not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.dataset import BorrowedAnswer, Sketch, Sketcher
from flockoff.dataset.row_pairs import RowPairs
from flockoff.dataset.sketch import HASHES, MIN_WORDS, NEEDED
from flockoff.records import Row, Turn
from tests.support.dataset_texts import EXAMPLES, row_of
from tests.support.near_copies import DISGUISES, KEY, conversations, sketch_of
from tests.support.near_copies import matched as matched_by_all

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"
WORDS = st.lists(st.sampled_from([*LONG.split(), "fourteen", "über", "東", "x2"]), min_size=1, max_size=40)


def one(answer: str, prompt: str = "Count.", tokens: int = 10) -> Sketch:
    sketcher = Sketcher(KEY)
    sketcher.add(1, row_of(prompt, answer), tokens)
    return sketcher.sketch()


def matched(sketch: Sketch, other: Sketch) -> tuple[BorrowedAnswer, ...]:
    """By the answers' shingles alone."""
    return matched_by_all(replace(sketch, rows=RowPairs()), other)


def are_alike(first: Sketch, second: Sketch) -> bool:
    return bool(matched(first, second))


def test_sketch_answer_has_its_line_its_tokens_and_different_hashes() -> None:
    sketch = one(LONG, tokens=17)
    assert sketch.assistant_tokens == 17
    assert (sketch.lines.tolist(), sketch.tokens.tolist()) == ([1], [17])
    [hashes] = sketch.hashes.tolist()
    assert len(set(hashes)) == HASHES and min(hashes) > 0


def test_sketch_answers_of_a_row_share_its_tokens_by_their_length() -> None:
    turns = (
        Turn("user", "a"),
        Turn("assistant", LONG),
        Turn("user", "b"),
        Turn("assistant", f"{LONG} {LONG}"),
    )
    sketcher = Sketcher(KEY)
    sketcher.add(5, Row(None, turns), 100)
    sketch = sketcher.sketch()
    assert sketch.lines.tolist() == [5, 5]
    assert sketch.tokens.tolist() == [33, 67]


def test_sketch_of_nothing_is_empty() -> None:
    sketch = Sketcher(KEY).sketch()
    assert (sketch.assistant_tokens, sketch.table.shape) == (0, (0, 2 + HASHES))


def test_sketch_bytes_give_the_same_sketch_back() -> None:
    sketch = sketch_of(conversations()[:20])
    again = Sketch.from_bytes(sketch.assistant_tokens, sketch.to_bytes())
    assert np.array_equal(again.table, sketch.table)
    assert len(sketch.to_bytes()) == 32 * len(sketch.table)
    with pytest.raises(ValueError):
        Sketch.from_bytes(1, b"12345")


def test_sketch_under_another_key_has_nothing_in_common() -> None:
    rows = conversations()[:50]
    assert not matched(sketch_of(rows), sketch_of(rows, b"another"))


@pytest.mark.parametrize("words", [MIN_WORDS - 1, MIN_WORDS])
def test_sketch_short_answer_to_a_short_prompt_is_nobodys(words: int) -> None:
    answer = " ".join(LONG.split()[:words])
    assert len(one(answer, prompt="-").table) == (words >= MIN_WORDS)


def test_sketch_short_answer_counts_by_its_prompt_and_its_own_words() -> None:
    prompt = f"Is this positive or negative? {LONG}"
    assert are_alike(one("Positive.", prompt), one("positive", prompt.upper()))
    assert not are_alike(one("Positive.", prompt), one("Negative.", prompt))
    assert not are_alike(one("Positive.", prompt), one("Positive.", " ".join(reversed(prompt.split()))))


def test_sketch_answer_of_the_same_words_over_and_over_is_nobodys() -> None:
    assert len(one("ha " * 100).table) == 0
    assert len(one("tick tock " * 50).table) == 0


@pytest.mark.slow
def test_sketch_does_not_depend_on_how_often_rows_come_or_where_a_batch_ends() -> None:
    """Answers are worked on many at a time; and the very same words over again are no format."""
    once = sketch_of(conversations()).hashes.tolist()
    assert sketch_of([*conversations()] * 5).hashes.tolist() == once * 5


def test_sketch_leaves_out_what_many_different_answers_share() -> None:
    own = [" ".join(f"w{number}x{place}" for place in range(20)) for number in range(300)]
    shared = [f"{LONG} {text}" for text in own]

    def hashes(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = sketch_of([row_of("?", text) for text in texts]).hashes.tolist()
        return found

    alone = hashes(own)
    assert len(set(map(tuple, alone))) == 300
    few = sum(bool({*mine} & {*theirs}) for mine, theirs in zip(hashes(shared), alone, strict=True))
    assert few == 300
    format_of_all = {one for text in hashes(shared) for one in text} & {*hashes([LONG])[0]}
    assert not format_of_all
    assert {*hashes([LONG])[0]} & {one for text in hashes(shared[:4]) for one in text}


@EXAMPLES
@given(WORDS)
def test_sketch_of_any_words_is_the_same_however_they_are_written(words: list[str]) -> None:
    plain, shouted = one(" ".join(words)), one("  (" + " -- ".join(words).upper() + ")!")
    assert plain.hashes.tolist() == shouted.hashes.tolist()
    shingles = {tuple(words[start : start + 3]) for start in range(len(words) - 2)}
    expected = len(words) >= MIN_WORDS and len(shingles) >= NEEDED
    assert len(plain.table) == expected
    if expected:
        assert np.count_nonzero(plain.hashes) == min(HASHES, len(shingles))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("common", "expected"),
    [(0.8, 0.997), (0.5, 0.83), (0.2, 0.19), (0.1, 0.034)],
)
def test_sketch_match_has_the_stated_probability(common: float, expected: float) -> None:
    """Random words; ``common``: the part of two answers' shingles that both have."""
    numbers = np.random.default_rng(1)

    def words(count: int) -> list[str]:
        return [f"w{number}" for number in numbers.integers(1 << 60, size=count)]

    shared = int(400 * common / (1 + common))
    pairs = 400
    first, second = Sketcher(KEY), Sketcher(KEY)
    for line in range(pairs):
        beginning = words(shared)
        for sketcher in (first, second):
            answer = " ".join(beginning + words(200 - shared))
            sketcher.add(line, row_of("?", answer), 1)
    found = len(matched(first.sketch(), second.sketch()))
    assert found / pairs == pytest.approx(expected, abs=4 * (expected * (1 - expected) / pairs) ** 0.5 + 0.01)


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_sketch_of_rows_in_disguise_is_one_of_valid_lines(
    disguise: Callable[[tuple[Row, ...]], list[Row]],
) -> None:
    rows = disguise(conversations()[:40])
    sketch = sketch_of(rows)
    assert set(sketch.lines.tolist()) <= set(range(1, len(rows) + 1))
    assert sketch.tokens.sum() <= sketch.assistant_tokens
