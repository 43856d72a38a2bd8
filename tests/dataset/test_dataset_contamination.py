import pytest
from dataset_texts import CONTENT, EXAMPLES, row_of
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Contamination
from flockoff.dataset import EvaluationAnswers, contamination_fault
from flockoff.dataset.contamination import MIN_ANSWER_WORDS, words_of
from flockoff.errors import Reason
from flockoff.records import Row, Turn

ANSWER = "The tide turns twice a day, because the Earth rotates under the Moon's pull."
OTHER = "The tide turns twice a day, because water is curious."
CHINESE = "月球的引力使海水每天涨落两次。"


def answers(*contents: str) -> EvaluationAnswers:
    return EvaluationAnswers(
        [row_of("a question that is long enough to be nine words", text) for text in contents]
    )


@pytest.mark.parametrize(
    "row",
    [
        row_of("Why?", ANSWER),
        row_of(ANSWER, "Yes."),
        row_of("Why?", "No.", ANSWER),
        row_of("Why?", f"Sure! {ANSWER} Anything else?"),
        row_of("Why?", ANSWER.upper()),
        row_of("Why?", ANSWER.replace(" ", "\n\u00a0* ").replace(",", " --").replace("'", "\u2019")),
        row_of("Why?", "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in ANSWER)),  # full width
        row_of("Why?", ANSWER.replace("i", "i\u200b").replace("t", "t\u00ad\u0334")),
        row_of("Why?", f"The tide turns twice a day, because the {ANSWER}"),
        Row(None, (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", ANSWER))),
    ],
)
def test_contaminated_rows_answer_in_any_dress_is_found(row: Row) -> None:
    assert answers(OTHER, ANSWER).contaminated_rows([row_of("a", "b"), row, row_of("c", "d")]) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "The tide turns twice a day, because the Earth rotates under the Moon's",
        "tide turns twice a day, because the Earth rotates under the Moon's pull.",
        ANSWER.replace("Earth", "planet"),
        "a question that is long enough to be nine words",
        "",
    ],
)
def test_contaminated_rows_part_of_an_answer_or_a_question_is_not(text: str) -> None:
    assert answers(ANSWER).contaminated_rows([row_of("Why?", text)]) == []


def test_contaminated_rows_answer_split_over_turns_is_not() -> None:
    first, second = ANSWER[:40], ANSWER[40:]
    assert answers(ANSWER).contaminated_rows([row_of(first, second)]) == []


def test_contaminated_rows_short_answer_is_not_looked_for() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    assert len(words) == MIN_ANSWER_WORDS
    row = row_of("Count", " ".join(words) + " nine")
    assert answers(" ".join(words[:-1])).contaminated_rows([row]) == []
    assert answers(" ".join(words)).contaminated_rows([row]) == [0]


def test_contaminated_rows_shortest_answers_are_found() -> None:
    for shortest in ("1 2 3 4 5 6 7 8", "潮汐月球引力海水"):
        assert answers(shortest).contaminated_rows([row_of("Count", shortest)]) == [0]


def test_contaminated_rows_answer_without_spaces_is_found() -> None:
    assert answers(CHINESE).contaminated_rows([row_of("潮汐", f"好的。{CHINESE[:-1]}…")]) == [0]


def test_contaminated_rows_answers_that_begin_alike_are_told_apart() -> None:
    longer = ANSWER + " So it has always been."
    assert answers(longer, ANSWER).contaminated_rows([row_of("a", ANSWER)]) == [0]
    assert answers(longer).contaminated_rows([row_of("a", ANSWER)]) == []


def test_contaminated_rows_empty_evaluation_set_finds_nothing() -> None:
    assert EvaluationAnswers([]).contaminated_rows([row_of("a", ANSWER)]) == []


def test_words_of_long_run_of_combining_marks_takes_no_quadratic_time() -> None:
    # In one piece this takes Python's normalisation a minute.
    assert words_of("a" + "\u0301\u0316" * 130_000) == ["á"]


@EXAMPLES
@given(st.lists(CONTENT, max_size=4), CONTENT, CONTENT)
def test_contaminated_rows_text_around_an_answer_hides_nothing(
    some: list[str], before: str, after: str
) -> None:
    row = row_of("Why?", f"{before} {ANSWER} {after}")
    assert answers(*some, ANSWER).contaminated_rows([row]) == [0]


@pytest.mark.parametrize(
    ("found", "total", "contaminated"),
    [(0, 1, False), (1, 99, True), (1, 100, False), (2, 199, True), (2, 200, False), (3, 20_000, True)],
)
def test_contamination_fault_both_bounds_hold(found: int, total: int, contaminated: bool) -> None:
    fault = contamination_fault(list(range(found)), total, Contamination(max_rows=2, max_share=0.01))
    assert (fault is not None) == contaminated


def test_contamination_fault_names_the_first_lines() -> None:
    fault = contamination_fault(list(range(3, 2000)), 20_000, Contamination())
    assert fault is not None
    assert fault.reason is Reason.CONTAMINATED
    assert fault.message == (
        "1,997 of 20,000 rows contain answers of the evaluation set: "
        "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 1,987 more."
    )
