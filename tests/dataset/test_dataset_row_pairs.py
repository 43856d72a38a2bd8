"""Rows by their pairs: disguises that anybody can script are found, honest rows are not, under any key."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Holding, Sketch, borrowed, near_duplicate_fault
from flockoff.dataset.row_pairs import KEPT, MOST_LEVEL, RowMatcher, RowPairer, RowPairs
from flockoff.records import Row, Turn
from tests.support.dataset_texts import row_of
from tests.support.near_copies import conversations, sketch_of
from tests.support.row_copies import (
    DISGUISES,
    HELD_OUT,
    HONEST,
    Disguise,
    answer_of,
    by_chance,
    own_text,
)

RULES = Overlap()
VICTIM, OTHER = conversations()[:165], conversations()[165:]
# Of the answers' words, the least that must be found; what is not here: 85 %.
LEAST = {
    "a sentence a row": 0.6,
    "every 4th word replaced": 0.75,
    "every 3rd word replaced": 0.5,
    "a word of 3 replaced, by chance": 0.55,
    "every 2nd content word replaced": 0.45,
    "every 2nd word replaced": 0.0,
    "a word of one's own after every 2nd": 0.6,
    "all sentences dealt over all rows": 0.45,
    "other endings": 0.0,
    "100 words before and after": 0.6,
    "three rows in one, every 4th word replaced": 0.65,
    "a sentence a row, every 5th word replaced": 0.15,
}


def pairs_of_rows(rows: Sequence[Row]) -> RowPairs:
    pairer = RowPairer()
    for line, row in enumerate(rows, start=1):
        pairer.add(line, row, 100)
    return pairer.pairs()


@cache
def victims() -> RowPairs:
    return pairs_of_rows(VICTIM)


def found(rows: Sequence[Row], theirs: RowPairs | None = None) -> list[int]:
    """The lines that are in ``theirs``, the victim's by default."""
    mine = pairs_of_rows(rows)
    places, _ = RowMatcher(mine, RULES).matches(victims() if theirs is None else theirs)
    return [int(line) for line in mine.lines[places]]


def share(rows: Sequence[Row], lines: Sequence[int]) -> float:
    """Of the answers' words."""
    words = [len(answer_of(row).split()) for row in rows]
    return sum(words[line - 1] for line in lines) / sum(words)


@pytest.mark.parametrize(("name", "disguise"), [*DISGUISES.items(), *HELD_OUT.items()])
def test_row_pairs_disguised_rows_are_found(name: str, disguise: Disguise) -> None:
    rows = disguise(VICTIM)
    assert share(rows, found(rows)) >= LEAST.get(name, 0.85)


@pytest.mark.parametrize("name", HONEST)
def test_row_pairs_honest_rows_with_much_in_common_are_not(name: str) -> None:
    mine, theirs = HONEST[name]()
    most = 0 if "squatter" in name else 0.02 * len(mine)
    assert len(found(mine, pairs_of_rows(theirs))) <= most


def equation(draw: random.Random) -> Row:
    factor, term, total = (draw.randrange(2, 99) for _ in range(3))
    left = total - term
    answer = (
        f"Take {term} from both sides of the equation, which leaves {factor}x = {left}. Divide both by "
        f"{factor}: the solution is {left / factor:.2f}. Put into the first equation, {factor}x comes to "
        f"{left}, and with {term} to {total}, as it should."
    )
    return row_of(f"What is x in {factor}x + {term} = {total}?", answer)


def function(draw: random.Random) -> Row:
    name, things, limit = (own_text(draw, 1) for _ in range(3))
    answer = (
        f"def {name}({things}, {limit}):\n    found = []\n    for one in {things}:\n"
        f"        if one % {limit} == {draw.randrange(9)}:\n"
        f"            found.append(one * {draw.randrange(99)})\n    return found\n\n"
        f"The loop visits each of the {things} once and compares its remainder with the {limit}."
    )
    return row_of(f"Write a function that filters {things} by {limit}.", answer)


def looked_at(mine: Sequence[Row], theirs: Sequence[Row]) -> Borrowed:
    known = [Holding(Claim("theirs", "they", 1, 0), sketch_of(theirs))]
    return borrowed(sketch_of(mine), Claim("mine", "me", 2, 0), known, RULES)


@pytest.mark.parametrize("template", [equation, function])
def test_row_pairs_who_has_the_same_template_is_no_copier_but_who_copies_filled_in_rows_is(
    template: Callable[[random.Random], Row],
) -> None:
    mine, theirs = ([template(random.Random(f"{who} {n}")) for n in range(400)] for who in "ab")
    assert len(looked_at(mine, theirs).lines) <= 0.02 * len(mine)
    assert len(looked_at(theirs[::-1], theirs).lines) > 0.95 * len(theirs)
    third = looked_at([*mine[:200], *theirs[:100]], theirs)  # the template is still nobody's
    assert len([line for line in third.lines if line > 200]) > 0.95 * 100
    assert len([line for line in third.lines if line <= 200]) <= 0.02 * 200


@pytest.mark.parametrize("name", HONEST)
def test_row_pairs_honest_rows_with_much_in_common_are_nobodys_by_their_answers_either(name: str) -> None:
    mine, theirs = HONEST[name]()
    assert len(looked_at(mine, theirs).lines) <= (0 if "squatter" in name else 0.02 * len(mine))


def test_row_pairs_rows_are_where_they_were_told_to_be() -> None:
    shuffled = random.Random(1).sample(VICTIM, len(VICTIM))
    mine = pairs_of_rows(shuffled)
    places, lines = RowMatcher(mine, RULES).matches(victims())
    assert len(places) > 160
    assert all(
        shuffled[here - 1] == VICTIM[there - 1] for here, there in zip(mine.lines[places], lines, strict=True)
    )


def test_row_pairs_label_counts_by_its_input_and_beside_the_same_label_only() -> None:
    inputs = [own_text(random.Random(number), 30) for number in range(20)]
    theirs = pairs_of_rows([row_of(text, "Positive.") for text in inputs])
    assert len(found([row_of(text.upper(), "positive") for text in inputs], theirs)) == 20
    assert not found([row_of(text, "Negative.") for text in inputs], theirs)


def test_row_pairs_quotation_in_a_long_text_of_ones_own_is_no_copy() -> None:
    draw = random.Random(2)
    quoting = [row_of("Go on.", f"{own_text(draw, 800)} {answer_of(row)[:200]}") for row in VICTIM[:30]]
    assert not found(quoting)


def test_row_pairs_short_texts_and_unspaced_scripts_have_none() -> None:
    rows = [row_of("Why?", "Yes."), row_of("?", "\u6f6e\u6c50" * 30), row_of("?", "of the and to in " * 9)]
    assert len(pairs_of_rows(rows).table) == 0
    assert len(RowPairer().pairs().table) == 0


def test_row_pairs_bytes_give_the_same_back_and_damage_is_seen() -> None:
    data = victims().to_bytes()
    again = RowPairs.from_bytes(data)
    assert np.array_equal(again.table, victims().table) and np.array_equal(again.hashes, victims().hashes)
    assert len(RowPairs.from_bytes(b"").table) == 0
    assert np.array_equal(again.probes, victims().probes) and len(again.probes) > 1000
    for broken in (data[:-4], data[:8], data + b"1234", b"123"):
        with pytest.raises(ValueError):
            RowPairs.from_bytes(broken)


def test_row_pairs_keep_what_was_promised() -> None:
    every = pairs_of_rows([*VICTIM, row_of("?", own_text(random.Random(3), 3000))])
    assert every.table[every.levels < MOST_LEVEL, 3].max() <= 1.5 * KEPT
    places = np.arange(len(every.table))
    for level in range(MOST_LEVEL + 1):
        left = every.rows[every.hashes < (1 << (32 - level))]
        counts = every.counts_at(places, np.full(len(places), level))
        assert (counts == np.bincount(left, minlength=len(places))).all()
    assert len(every.table.tobytes() + every.hashes.tobytes()) / len(every.table) < 150


def test_row_pairs_without_knows_rows_by_all_their_hashes() -> None:
    left = victims().without([pairs_of_rows(VICTIM[10:])])
    assert set(left.lines.tolist()) <= set(range(1, 11))
    assert len(victims().without([victims()]).table) == 0
    assert len(victims().without([]).hashes) == len(victims().hashes)


# --- whatever the key -------------------------------------------------------------------------------------

KEYS = [bytes([number]) * 16 for number in range(3)]


def borderline() -> list[list[Row]]:
    """Datasets with about half of a victim's in them, and of changed rows of which about half are found."""
    draw = random.Random(4)
    by_count = [[*VICTIM[:30], *OTHER[:count]] for count in range(24, 38)]
    by_words = [by_chance(part / 100, lambda _, d: own_text(d, 1))(VICTIM[:30]) for part in range(40, 56, 2)]
    return [draw.sample(rows, len(rows)) for rows in (*by_count, *by_words)]


def is_near_duplicate(mine: Sketch, theirs: Sketch) -> bool:
    known = [Holding(Claim("victim", "victim", 1, 0), theirs)]
    found_here = borrowed(mine, Claim("mine", "me", 2, 0), known, RULES)
    return near_duplicate_fault(found_here, RULES, rows_left=1) is not None


@pytest.mark.slow
def test_row_pairs_validators_agree_on_borderline_datasets_whatever_their_keys() -> None:
    datasets = borderline()
    theirs = {key: sketch_of(VICTIM[:30], key) for key in KEYS}
    verdicts = [[is_near_duplicate(sketch_of(rows, key), theirs[key]) for key in KEYS] for rows in datasets]
    assert len(datasets) >= 20
    assert {each[0] for each in verdicts} == {False, True}
    assert all(len(set(each)) == 1 for each in verdicts)


def test_row_pairs_what_only_a_key_shows_is_left_out_but_no_fault() -> None:
    rows = [Row(None, (Turn("user", "Go on."), Turn("assistant", answer_of(row)))) for row in VICTIM[:40]]
    sketch, mine = sketch_of(rows), sketch_of(rows)
    hidden = replace(mine, rows=replace(mine.rows, hashes=mine.rows.hashes ^ np.uint32(1)))
    known = [Holding(Claim("victim", "victim", 1, 0), sketch)]
    found_here = borrowed(hidden, Claim("mine", "me", 2, 0), known, RULES)
    assert len(found_here.lines) >= 38
    assert near_duplicate_fault(found_here, RULES, rows_left=1) is None
    assert near_duplicate_fault(found_here, RULES, rows_left=0) is not None
