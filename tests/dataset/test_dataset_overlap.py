"""Whose rows are in a dataset: disguised copies are found, honest data is not affected."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Overlap
from flockoff.dataset import (
    Borrowed,
    BorrowedAnswer,
    Claim,
    Holding,
    Owner,
    borrowed,
    described_overlap,
    near_duplicate_fault,
)
from flockoff.errors import Reason
from flockoff.records import Row
from flockoff.text import short_names
from tests.support.dataset_texts import EXAMPLES, row_of
from tests.support.near_copies import DISGUISES, conversations, held, sketch_of, swapped, with_answers

RULES = Overlap()
VICTIM, OTHER, SPARE = conversations()[:110], conversations()[110:220], conversations()[220:]


def looked_at(
    rows: Sequence[Row], others: Sequence[Holding], *, hotkey: str = "me", block: int = 100
) -> Borrowed:
    return borrowed(sketch_of(rows), Claim("mine", hotkey, block, 0), others, RULES)


def is_near_duplicate(found: Borrowed, rows_left: int = 1) -> bool:
    return near_duplicate_fault(found, RULES, rows_left=rows_left) is not None


# --- copies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_borrowed_copy_in_disguise_is_a_near_duplicate(
    disguise: Callable[[Sequence[Row]], list[Row]],
) -> None:
    found = looked_at(disguise(VICTIM), [held("other", 5, OTHER), held("victim", 9, VICTIM)])
    assert found.share > 0.8
    assert {answer.owner.hotkey for answer in found.answers} == {"victim"}
    assert is_near_duplicate(found)


@pytest.mark.parametrize(("swaps", "least", "most"), [(0.05, 0.95, 1.0), (0.3, 0.85, 1.0), (0.7, 0.0, 0.2)])
def test_borrowed_share_falls_as_more_words_are_swapped(swaps: float, least: float, most: float) -> None:
    found = looked_at(with_answers(VICTIM, swapped(swaps)), [held("victim", 9, VICTIM)])
    assert least <= found.share <= most


def test_borrowed_copy_with_a_third_of_other_rows_is_a_near_duplicate() -> None:
    found = looked_at([*SPARE[:55], *VICTIM], [held("victim", 9, VICTIM)])
    assert 0.6 < found.share < 0.75
    assert found.lines == tuple(range(56, 166))
    assert is_near_duplicate(found)


def test_borrowed_mix_of_two_victims_names_both_with_their_shares() -> None:
    mix = [row for pair in zip(VICTIM, OTHER, strict=True) for row in pair]
    found = looked_at(mix, [held("first", 8, VICTIM), held("second", 9, OTHER)])
    assert found.share == pytest.approx(1, abs=0.01)
    owners = found.owners()
    assert {claim.hotkey for claim, _ in owners} == {"first", "second"}
    assert all(0.35 < share < 0.65 for _, share in owners)
    assert owners[0][1] >= owners[1][1]


def test_borrowed_example_rows_are_where_the_message_says() -> None:
    found = looked_at(VICTIM[::-1], [held("5Victim", 9, VICTIM)])
    for answer in found.answers:
        assert answer.line + answer.owner_line == len(VICTIM) + 1
    fault = near_duplicate_fault(found, RULES, rows_left=1)
    assert fault is not None and fault.reason is Reason.NEAR_DUPLICATE
    first = found.answers[0]
    example = f"line {first.line} is its line {first.owner_line}"
    assert f"nearly so: by hotkey 5Victim (block 9; {example})." in fault.message
    assert "at most 50%" in fault.remedy


def test_near_duplicate_of_many_is_told_in_a_line_with_the_largest_owner_and_the_remedy() -> None:
    hotkeys = [f"5{letter * 47}" for letter in "ABCDEFGHJK"]
    answers = tuple(
        BorrowedAnswer(line, 90 - 9 * (line - 1), Claim(f"{line}", hotkey, line, line), line + 6)
        for line, hotkey in enumerate(hotkeys, 1)
    )
    fault = near_duplicate_fault(Borrowed(495, answers), RULES, rows_left=0)
    assert fault is not None
    told = short_names(str(fault), {hotkeys[0]: 3})
    assert told == (
        "100.0% of the assistant tokens, in 10 rows, were committed before, word for word or nearly so: "
        "18.2% by uid 3 (5AAAA…AAAA) (block 1; line 1 is its line 7), 81.8% by 9 others. "
        "No row is left to train on. Replace them with rows of your own: at most 50% may be one other's."
    )
    assert fault.copied == tuple(hotkeys)
    one = described_overlap(Borrowed(100, answers[:1]))
    assert "in 1 row, were" in one


# --- below the threshold ---------------------------------------------------------------------------------


def test_borrowed_other_people_on_the_same_kinds_of_topics_have_nothing_of_each_other() -> None:
    found = looked_at(OTHER, [held("victim", 9, VICTIM), held("third", 10, SPARE)])
    assert found.share < 0.01
    assert not is_near_duplicate(found)


def test_borrowed_below_the_threshold_exactly_the_others_rows_are_told() -> None:
    mine = [*VICTIM[:30], *OTHER]
    found = looked_at(mine, [held("victim", 9, VICTIM)])
    assert found.lines == tuple(range(1, 31))
    assert 0.15 < found.share < 0.3
    assert not is_near_duplicate(found)
    assert is_near_duplicate(found, rows_left=0)
    assert "in 30 rows" in described_overlap(found)


def test_borrowed_row_with_one_answer_of_another_is_told_as_a_whole() -> None:
    stolen = VICTIM[0]
    padded = Row(None, (*OTHER[0].turns, *stolen.turns[:2], *OTHER[1].turns))
    found = looked_at([*SPARE[:9], padded], [held("victim", 9, VICTIM)])
    assert found.lines == (10,)
    assert found.share < 0.5


def test_borrowed_nothing_of_others_is_no_fault_even_without_a_row_left() -> None:
    assert not is_near_duplicate(looked_at(OTHER, []), rows_left=0)


def test_borrowed_generic_answers_are_nobodys() -> None:
    generic = [
        row_of("Thanks!", "You're welcome!"),
        row_of("Are you sure?", "I don't know."),
        row_of("?", "Yes."),
    ]
    assert looked_at(generic * 20, [held("grabber", 1, generic)]).answers == ()


# --- whose ------------------------------------------------------------------------------------------------


def test_borrowed_of_what_was_committed_later_there_is_nothing() -> None:
    assert looked_at(VICTIM, [held("copier", 101, VICTIM[::-1])]).answers == ()


def test_borrowed_earlier_of_several_copies_is_the_owner() -> None:
    copies = [held("first", 7, VICTIM), held("second", 8, VICTIM[::-1]), held("third", 9, VICTIM)]
    assert [claim.hotkey for claim, _ in looked_at(VICTIM, copies).owners()] == ["first"]


def test_borrowed_within_one_block_the_lower_uid_is_the_owner() -> None:
    rows = sketch_of(VICTIM)
    first, second = Claim("a", "z", 7, order=1), Claim("b", "a", 7, order=2)
    known = [Holding(first, rows), Holding(second, rows)]
    assert borrowed(rows, first, known, RULES).answers == ()
    assert borrowed(rows, second, known, RULES).share == pytest.approx(1)


def test_borrowed_owner_who_commits_more_keeps_what_was_copied_in_between() -> None:
    known = [held("me", 5, VICTIM), held("copier", 50, VICTIM[::-1])]
    assert looked_at([*VICTIM, *OTHER], known).answers == ()


def test_borrowed_dataset_itself_is_passed_over() -> None:
    mine = Holding(Claim("mine", "somebody", 1, 0), sketch_of(VICTIM))
    assert looked_at(VICTIM, [mine]).answers == ()


# --- common property --------------------------------------------------------------------------------------


def witnesses(coldkeys: Sequence[str], rows: Sequence[Row]) -> list[Holding]:
    """All of one block, so that none of them can have it from another."""
    return [held(f"hotkey {number}", 10, rows, witness=coldkey) for number, coldkey in enumerate(coldkeys)]


def test_borrowed_rows_of_many_good_datasets_are_common_property() -> None:
    source = VICTIM[:40]
    enough = witnesses("abcde", source)
    assert looked_at([*source, *OTHER], enough).answers == ()
    assert looked_at([*source, *OTHER], enough[:4]).lines == tuple(range(1, 41))


@pytest.mark.slow
def test_borrowed_sybils_of_one_coldkey_are_one_witness() -> None:
    assert looked_at(VICTIM, witnesses("aaaaaaaa", VICTIM)).share == pytest.approx(1)


@pytest.mark.slow
def test_borrowed_datasets_without_witness_make_nothing_common() -> None:
    sybils = [held(f"sybil {number}", 20 + number, VICTIM) for number in range(30)]
    assert looked_at(VICTIM, [held("victim", 9, VICTIM), *sybils]).share == pytest.approx(1)


@pytest.mark.slow
def test_borrowed_own_datasets_are_no_witnesses() -> None:
    known = [held("victim", 9, VICTIM, "a"), held("b", 9, VICTIM, "b"), held("c", 9, VICTIM, "c")]
    known += [held("d", 9, VICTIM, "d"), held("me", 9, VICTIM, "e")]
    assert looked_at(VICTIM, known).share == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(("sybils", "block"), [(5, 10), (5, 99), (30, 10)])
def test_borrowed_rows_are_not_laundered_by_winning_sybils(sybils: int, block: int) -> None:
    """Each has the victim's rows among four times as many of its own, and won: an exact copy stays a copy."""
    laundered = [
        held(
            f"sybil {number}",
            block,
            [*VICTIM[:20], *SPARE[number : number + 80]],
            witness=f"coldkey {number}",
        )
        for number in range(sybils)
    ]
    found = looked_at(VICTIM[:20], [held("victim", 9, VICTIM, "v"), *laundered])
    assert found.share == pytest.approx(1)
    assert [claim.hotkey for claim, _ in found.owners()] == ["victim"]
    assert is_near_duplicate(found)


# --- claims that lapse and move ---------------------------------------------------------------------------

WINNER = Owner("w", registered=True, succeeded=False, evaluations=9, best_win_rate=0.7)
NEWCOMER = replace(WINNER, evaluations=0, best_win_rate=None)
LOSER = replace(WINNER, best_win_rate=0.49)
GONE = replace(WINNER, registered=False)


def borrowed_of(owner: Owner, rows: Sequence[Row] = VICTIM, **more: Owner) -> Borrowed:
    claim, owners = Claim("mine", "me", 100, 0), {"squatter": owner, **more}
    return borrowed(sketch_of(rows), claim, [held("squatter", 9, VICTIM)], RULES, owners=owners)


@pytest.mark.parametrize(
    ("owner", "stands"),
    [
        (WINNER, True),
        (NEWCOMER, True),
        (replace(LOSER, evaluations=RULES.proof_evaluations - 1), True),
        (replace(LOSER, evaluations=RULES.proof_evaluations), False),
        (replace(LOSER, best_win_rate=None), False),
        (GONE, False),
        (replace(GONE, succeeded=True), True),
    ],
)
def test_borrowed_claims_lapse_with_an_owner_that_left_or_never_won(owner: Owner, stands: bool) -> None:
    assert bool(borrowed_of(owner).answers) == stands


def test_borrowed_of_a_lapsed_claim_the_next_owner_is_the_first() -> None:
    known = [held("squatter", 9, VICTIM), held("second", 20, VICTIM[::-1])]
    claim = Claim("mine", "me", 100, 0)
    found = borrowed(sketch_of(VICTIM), claim, known, RULES, owners={"squatter": LOSER})
    assert [claim.hotkey for claim, _ in found.owners()] == ["second"]


def test_borrowed_claim_moves_with_the_coldkey_once_the_old_hotkey_is_gone() -> None:
    moved = replace(GONE, succeeded=True)
    assert borrowed_of(moved, me=WINNER).answers == ()
    assert borrowed_of(moved, me=replace(WINNER, coldkey="another")).answers
    assert borrowed_of(
        WINNER, me=WINNER
    ).answers  # two hotkeys of one person are two as long as both are there


def test_near_duplicate_only_one_winning_owner_has_most_of() -> None:
    found = borrowed_of(NEWCOMER, [*VICTIM, *OTHER[:30]])
    assert found.share > 0.6
    assert near_duplicate_fault(found, RULES, rows_left=30, owners={"squatter": NEWCOMER}) is None
    assert near_duplicate_fault(found, RULES, rows_left=0, owners={"squatter": NEWCOMER}) is not None
    assert near_duplicate_fault(found, RULES, rows_left=30, owners={"squatter": WINNER}) is not None


def test_near_duplicate_hotkeys_of_one_coldkey_are_one_owner() -> None:
    known = [held("a", 8, VICTIM), held("b", 9, OTHER)]
    found = looked_at([*VICTIM, *OTHER, *SPARE[:40]], known)
    assert max(share for _, share in found.owners()) < 0.5
    assert near_duplicate_fault(found, RULES, rows_left=40) is None
    both = {"a": WINNER, "b": WINNER}
    assert near_duplicate_fault(found, RULES, rows_left=40, owners=both) is not None


def test_borrowed_public_sample_is_nobodys() -> None:
    public = sketch_of(with_answers(VICTIM[:40], str.upper))
    found = borrowed(
        sketch_of(VICTIM[:60]), Claim("mine", "me", 100, 0), [held("grabber", 1, VICTIM)], RULES, public
    )
    assert found.lines == tuple(range(41, 61))


# --- formats ----------------------------------------------------------------------------------------------


def reviews(first: int, count: int) -> list[Row]:
    """Rows with one instruction, inputs of some 30 words of their own, and a word in answer."""
    words = [word for row in conversations() for turn in row.turns for word in turn.content.split()]
    instruction = (
        "Read the following review of a product with care. Decide whether its author is on the whole"
        " satisfied or not, and answer with a single word, positive or negative, and nothing else at all."
    )
    draw = random.Random(first)
    return [
        row_of(
            f"{instruction}\n\n{' '.join(draw.choices(words, k=30))}", draw.choice(["Positive.", "Negative."])
        )
        for _ in range(count)
    ]


def test_borrowed_squatter_of_a_format_takes_nothing() -> None:
    honest = looked_at(reviews(1, 400), [held("squatter", 1, reviews(2, 3))])
    assert honest.answers == ()


def test_borrowed_honest_datasets_of_one_format_have_little_of_each_other() -> None:
    assert len(looked_at(reviews(1, 400), [held("other", 1, reviews(2, 400))]).lines) <= 8


@pytest.mark.slow
def test_borrowed_copies_of_one_format_are_found_by_their_inputs() -> None:
    theirs = reviews(2, 400)
    copied = [
        row_of(swapped(0.03)(row.turns[0].content), row.turns[1].content) for row in reviews(2, 400)[:200]
    ]
    found = looked_at([*copied, *reviews(1, 200)], [held("victim", 1, theirs)])
    assert len(found.lines) >= 0.87 * 200
    assert set(found.lines) <= set(range(1, 201))


@pytest.mark.slow
def test_borrowed_rows_repeated_word_for_word_are_no_format() -> None:
    assert looked_at(VICTIM * 8, [held("victim", 9, VICTIM)]).share > 0.95


# --- properties -------------------------------------------------------------------------------------------

PLACES = st.lists(st.integers(0, 59), unique=True, max_size=25)


@pytest.mark.slow
@EXAMPLES
@given(PLACES, st.randoms(use_true_random=False))
def test_borrowed_order_of_rows_does_not_matter(places: list[int], draw: random.Random) -> None:
    known = [held("victim", 9, VICTIM[:30])]
    rows = [conversations()[place] for place in places]
    shuffled = draw.sample(rows, len(rows))
    first, second = looked_at(rows, known), looked_at(shuffled, known)
    assert first.tokens == second.tokens
    assert {rows[line - 1] for line in first.lines} == {shuffled[line - 1] for line in second.lines}


@pytest.mark.slow
@EXAMPLES
@given(PLACES, PLACES)
def test_borrowed_more_of_the_victims_rows_are_never_less(places: list[int], more: list[int]) -> None:
    known = [held("victim", 9, VICTIM[:30])]
    rows = [conversations()[place] for place in places]
    extra = [conversations()[place] for place in more]
    assert looked_at(rows, known).tokens <= looked_at([*rows, *extra], known).tokens
    larger_victim = [held("victim", 9, VICTIM[:60])]
    assert set(looked_at(rows, known).lines) <= set(looked_at(rows, larger_victim).lines)
