"""Rows that nearly repeat an earlier one are found in any number, honest ones are not."""

import random
from collections.abc import Sequence

import pytest

from flockoff.dataset import NearRepeat, NearRepeats, script_of
from flockoff.dataset.scripts import NO_LETTERS
from flockoff.records import Row
from tests.support.near_copies import conversations
from tests.support.tiny_model import row


def found(rows: Sequence[Row]) -> list[NearRepeat]:
    repeats = NearRepeats()
    for line, each in enumerate(rows, start=1):
        repeats.add(line, each, 100)
    return [*repeats.found()]


def changed(each: Row, generator: random.Random, share: float) -> Row:
    """With a share of all answers' words replaced."""
    words = each.turns[1].content.split()
    for place in generator.sample(range(len(words)), int(share * len(words))):
        words[place] = f"word{generator.randrange(10**6)}"
    return row(each.turns[0].content, " ".join(words))


def test_near_repeats_of_honest_rows_are_none() -> None:
    assert found(conversations()) == []


def test_near_repeats_are_found_however_many_there_are() -> None:
    generator = random.Random(1)
    single = [each for each in conversations() if len(each.turns) == 2]
    rows = [each for each in single if len(each.turns[1].content.split()) > 60][:20]
    copies = [changed(each, generator, 0.06) for each in rows for _ in range(12)]
    families = [*range(20), *(family for family in range(20) for _ in range(12))]
    said = found([*rows, *copies])
    assert all(families[each.line - 1] == families[each.earlier - 1] for each in said)
    assert len(said) >= 0.95 * len(copies)


def test_near_repeats_of_short_answers_need_the_same_answer() -> None:
    question = "Does the following review of a small restaurant near the harbour praise its friendly kitchen?"
    rows = [
        row(f"{question} One.", "Yes."),
        row(f"{question} Two.", "Yes."),
        row(f"{question} Three.", "No."),
    ]
    assert found(rows) == [NearRepeat(2, 1)]


def test_near_repeats_of_a_family_name_its_first_row() -> None:
    text = max(conversations(), key=lambda each: len(each.turns[1].content)).turns[1].content
    assert found([row("a", text), row("b", "Something else."), row("c", text + " indeed")]) == [
        NearRepeat(3, 1)
    ]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Good morning", "Latin"),
        ("".join(chr(ord(letter) + 0xFEE0) for letter in "wide"), "Latin"),
        ("Доброе утро, API", "Cyrillic"),
        ("早上好", "Chinese"),
        ("お早うございます", "Japanese"),
        ("좋은 아침", "Hangul"),
        ("صباح الخير", "Arabic"),
        ("शुभ प्रभात", "Devanagari"),
        ("12 + 3 = 15 😀", NO_LETTERS),
        ("", NO_LETTERS),
    ],
)
def test_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert script_of(text) == script
