import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Contamination
from flockoff.dataset import AnswerSearch, EvaluationAnswers, FoundAnswer, contamination_fault
from flockoff.dataset.contamination import MIN_RUNS, RUN_LETTERS, SHORT_LETTERS
from flockoff.errors import Reason
from flockoff.records import Row, Turn
from tests.support.contamination_cases import (
    DISGUISES,
    HELD_OUT,
    Case,
    Disguise,
    evaluation_rows,
    every_fourth_word,
    negatives,
    paraphrased_by_hand,
    positives,
    samples,
)
from tests.support.dataset_texts import CONTENT, EXAMPLES, row_of
from tests.support.encoded_answers import ENCODED, SPELLED

ANSWER = "The tide turns twice a day, because the Earth rotates under the Moon's pull."
OTHER = "Bread rises when yeast eats sugar and breathes out gas that the dough holds."
CHINESE = "\u6708\u7403\u7684\u5f15\u529b\u4f7f\u6d77\u6c34\u6bcf\u5929\u6da8\u843d\u4e24\u6b21"
QUESTION = "How often does it turn, and who told you that?"
RULES = Contamination()


@cache
def whole_set() -> EvaluationAnswers:
    return EvaluationAnswers(evaluation_rows())


def answers(*contents: str) -> EvaluationAnswers:
    return EvaluationAnswers([row_of(QUESTION, text) for text in contents])


def found(
    of: EvaluationAnswers, rows: Iterable[Row], rules: Contamination = RULES
) -> tuple[FoundAnswer, ...]:
    search = AnswerSearch(of, rules)
    for line, row in enumerate(rows, start=1):
        search.add(line, row, 1)
    return search.found()


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
        row_of("Why?", " ".join(ANSWER)),
        row_of(ANSWER[:30], ANSWER[30:]),
        row_of("Why?", ANSWER.replace("Earth", "planet")),
        Row(None, (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", ANSWER))),
    ],
)
def test_answer_search_answer_in_any_dress_is_found_with_its_row(row: Row) -> None:
    (one,) = found(answers(OTHER, ANSWER), [row_of("a", "b"), row, row_of("c", "d")])
    assert (one.line, one.row, one.whole) == (2, 2, True)
    assert RULES.answer_share <= one.share <= 1


@pytest.mark.parametrize(
    "text",
    [
        "The tide turns.",
        "Twice a day, as the Moon draws the water up; how high it gets is a question of the coast.",
        QUESTION,
        "",
    ],
)
def test_answer_search_same_topic_and_question_are_not(text: str) -> None:
    assert found(answers(ANSWER), [row_of(QUESTION, text)]) == ()


def test_answer_search_share_is_of_the_answers_runs() -> None:
    letters = sum(map(str.isalnum, ANSWER))
    (whole,) = found(answers(ANSWER), [row_of("Why?", ANSWER)])
    assert whole.share == 1
    (part,) = found(answers(ANSWER), [row_of("Why?", ANSWER[: ANSWER.index(" Moon")])])
    assert part.share == (letters - 9 - RUN_LETTERS + 1) / (letters - RUN_LETTERS + 1)


def test_answer_search_short_answer_counts_whole_and_after_its_question() -> None:
    short = "Twice, says my aunt."
    assert found(answers(short), [row_of("Who says so?", short)]) == ()
    assert found(answers(short), [row_of(QUESTION, "Twice, says my uncle.")]) == ()
    assert [one.share for one in found(answers(short), [row_of(QUESTION, short.upper())])] == [1]


def test_answer_search_answer_of_few_letters_is_not_looked_for() -> None:
    for letters, hits in ((MIN_RUNS, 1), (MIN_RUNS - 1, 0)):
        assert len(found(answers("x" * letters), [row_of(QUESTION, "x" * letters)])) == hits


def test_answer_search_answer_that_is_not_short_is_found_under_any_prompt() -> None:
    for letters, hits in ((SHORT_LETTERS, 1), (SHORT_LETTERS - 1, 0)):
        text = ("thetideturnstwiceaday" * 2)[:letters]
        assert len(found(answers(text), [row_of("Why?", text)])) == hits


def test_answer_search_ideographs_count_three_times() -> None:
    assert len(found(answers(CHINESE), [row_of("\u6f6e", f"\u597d\u7684\u3002{CHINESE}\u2026")])) == 1
    assert found(answers(CHINESE), [row_of("\u6f6e", CHINESE[:9])]) == ()


def test_answer_search_what_two_answers_share_is_nobodys() -> None:
    shared = "I am only an assistant, so please ask somebody who knows about it."
    of = answers(f"{shared} {ANSWER}", f"{shared} {OTHER}")
    assert found(of, [row_of("Why?", shared)]) == ()
    assert [one.row for one in found(of, [row_of("Why?", OTHER)])] == [2]


def test_answer_search_answer_that_the_set_repeats_is_found() -> None:
    assert len(found(answers(ANSWER, OTHER, ANSWER.upper()), [row_of("Why?", ANSWER)])) == 1


def test_answer_search_quoted_question_is_nobodys() -> None:
    quoted = f"Repeat after me: {ANSWER}"
    of = EvaluationAnswers([row_of(quoted, f"{ANSWER} {OTHER}")])
    assert found(of, [row_of(quoted, "No.")]) == ()
    assert len(found(of, [row_of("Why?", OTHER)])) == 1


def test_answer_search_end_of_a_row_is_the_end() -> None:
    parts = [ANSWER[start : start + 20] for start in range(0, len(ANSWER), 20)]
    assert found(answers(ANSWER), [row_of("a", part) for part in parts]) == ()


@pytest.mark.slow
def test_answer_search_pieces_in_several_rows_are_found_together() -> None:
    (answer,) = (row.turns[-1].content for row in evaluation_rows()[4:5])
    parts = answer.split()
    pieces = [" ".join(parts[start : start + 8]) for start in range(0, len(parts), 8)]
    rows = [row_of("Go on.", piece) for piece in pieces]
    of = whole_set()
    one_by_one = [one for row in rows for one in found(of, [row])]
    together = found(of, rows)
    assert len(one_by_one) < len(rows) / 3 < len(rows) / 2 < len(together)
    assert not all(one.whole for one in together)
    assert sum(one.counts for one in together if not one.whole) <= 1


@pytest.mark.slow
def test_answer_search_pieces_of_many_answers_in_a_row_are_found() -> None:
    texts = [row.turns[-1].content.split() for row in evaluation_rows()]
    mosaic = ", ".join(" ".join(words[3:11]) for words in texts[:40])
    of = whole_set()
    rules = Contamination(answer_share=0.5, runs=40, pair_share=1)
    (one,) = found(of, [row_of("Go on.", mosaic)], rules)
    assert not one.whole
    assert not found(of, [row_of("Go on.", mosaic[: len(mosaic) // 4])], rules)


@pytest.mark.slow
def test_answer_search_pieces_count_together_for_what_they_hold() -> None:
    """Many rows from a few templates that share some words with an answer are not so many rows with it."""
    answer = evaluation_rows()[4].turns[-1].content.split()
    shared = [" ".join(answer[start : start + 9]) for start in range(0, len(answer), 16)]
    rows = [row_of("Go on.", f"{text}, number {number}.") for number in range(5) for text in shared]
    of = whole_set()
    pieces = found(of, rows)
    assert len(pieces) > 10 and all(one.share < RULES.answer_share for one in pieces)
    assert RULES.together_share <= sum(one.counts for one in pieces) <= 1
    assert contamination_fault(pieces, 20_000, RULES) is None


@pytest.mark.slow
def test_answer_search_pieces_of_many_answers_count_as_whole_rows_do() -> None:
    of = whole_set()
    texts = [row.turns[-1].content.split() for row in evaluation_rows()[:60]]
    rows = [
        row_of("Go on.", " ".join(words[start : start + 9]))
        for words in texts
        for start in range(0, len(words), 9)
    ]
    pieces = found(of, rows)
    assert contamination_fault(pieces, 20_000, RULES) is not None


@pytest.mark.slow
def test_answer_search_pairs_far_apart_are_not_an_answer() -> None:
    """An answer's words scattered over a long text do not add up."""
    answer = evaluation_rows()[54].turns[-1].content
    of = whole_set()
    groups = [" ".join(answer.split()[start : start + 4]) for start in range(0, 40, 4)]
    own = " ".join(row.turns[-1].content for row in samples()[:40])
    apart = [own[900 * place : 900 * place + 900] + group for place, group in enumerate(groups)]
    assert found(of, [row_of("Why?", " . ".join(groups))])
    assert not found(of, [row_of("Why?", " ".join(apart))])


def _cut_in_four(answer: str, draw: Random) -> list[Row]:
    """A row each quarter, every fourth word replaced before."""
    words = every_fourth_word(answer, draw).split()
    size = -(-len(words) // 4)
    return [row_of("Go on.", " ".join(words[at : at + size])) for at in range(0, len(words), size)]


@pytest.mark.slow
def test_answer_search_answers_with_words_replaced_and_cut_into_rows_are_found_together() -> None:
    rows = [row for case in positives({"": _cut_in_four}, each=20) for row in case.rows]
    of = whole_set()
    together = found(of, rows)
    assert len(together) > 0.5 * len(rows)
    assert contamination_fault(together, 20_000, RULES) is not None
    honest = found(of, [row for case in negatives(each=60) for row in case.rows])
    assert sum(one.counts for one in honest) < 0.5


def _words(change: Callable[[str], str]) -> Disguise:
    """Each word changed, every fourth replaced before: what the letters rule alone does not find."""
    return lambda answer, draw: [
        row_of("Go on.", "".join(map(change, re.findall(r"\S+\s*", every_fourth_word(answer, draw)))))
    ]


MARKED: dict[str, Disguise] = {
    "tags within words": _words(lambda word: f"{word[:3]}<b></b>{word[3:]}"),
    "tags with attributes": _words(lambda word: f'<span class="highlight">{word.strip()}</span> '),
    "LaTeX": _words(lambda word: rf"\textbf{{{word.strip()}}} "),
    "entities": _words(lambda word: f"{word.strip()}&nbsp;"),
    "asterisks within words": _words(lambda word: f"{word[:3]}*{word[3:]}"),
    "joined by capitals": _words(lambda word: re.sub(r"\W", "", word).capitalize()),
    "joined by hyphens": _words(lambda word: f"{word.strip()}-"),
}


@pytest.mark.slow
def test_answer_search_markup_and_joined_words_hide_nothing() -> None:
    shares = _share_found(whole_set(), positives(MARKED, each=10))
    assert len(shares) == len(MARKED)
    assert min(shares.values()) >= 0.8, shares


def test_answer_search_markup_that_holds_an_answer_hides_nothing() -> None:
    assert found(answers(ANSWER), [row_of("Why?", f"<b><a title='{ANSWER}'></b>" + "<i></i>" * 9)])


def test_answer_search_pairs_in_questions_and_other_answers_are_nobodys() -> None:
    shuffled = " ".join(reversed(ANSWER.split()))
    assert found(answers(ANSWER, OTHER), [row_of("Why?", shuffled)])
    asked = EvaluationAnswers([row_of(f"Is this right? {ANSWER}", f"Yes. {ANSWER}")])
    assert not found(asked, [row_of("Why?", shuffled)])
    assert not found(answers(ANSWER, f"{ANSWER} {OTHER}"), [row_of("Why?", shuffled)])


def test_answer_search_thresholds_are_the_competitions() -> None:
    half = row_of("Why?", ANSWER[: len(ANSWER) * 2 // 3])
    assert found(answers(ANSWER), [half])
    assert found(answers(ANSWER), [half], Contamination(answer_share=0.5, runs=1000))
    assert not found(answers(ANSWER), [half], Contamination(answer_share=0.5, runs=1000, pair_share=0.9))
    long, little = f"{OTHER} {ANSWER}", row_of("Why?", OTHER[:40])
    assert not found(answers(long), [little], Contamination(pair_share=0.9))
    assert found(answers(long), [little], Contamination(pair_share=0.9, runs=1))


@pytest.mark.slow
def test_answer_search_one_run_many_times_counts_once() -> None:
    of = whole_set()
    opening = " ".join(evaluation_rows()[4].turns[-1].content.split()[:6])
    assert found(of, [row_of("Go on.", f"{opening}. So. " * 5_000)] * 3) == ()


def test_answer_search_empty_evaluation_set_finds_nothing() -> None:
    assert found(EvaluationAnswers([]), [row_of("a", ANSWER)]) == ()
    assert found(answers(ANSWER), []) == ()


@pytest.mark.slow
@EXAMPLES
@given(st.lists(CONTENT, max_size=4), CONTENT, CONTENT)
def test_answer_search_text_around_an_answer_hides_nothing(some: list[str], before: str, after: str) -> None:
    row = row_of("Why?", f"{before} {ANSWER} {after}")
    assert len(found(answers(*some, ANSWER), [row])) == 1


@EXAMPLES
@given(st.permutations([(1, ANSWER), (2, OTHER), (3, "Nothing."), (4, "x" * 40_000), (5, "")]))
def test_answer_search_rows_are_found_in_any_order_and_company(rows: list[tuple[int, str]]) -> None:
    search = AnswerSearch(answers(ANSWER, OTHER), Contamination())
    for line, text in rows:
        search.add(line, row_of("Why?", text), 1)
    assert [(one.line, one.row) for one in search.found()] == [(1, 1), (2, 2)]


def _share_found(of: EvaluationAnswers, cases: Iterable[Case]) -> dict[str, float]:
    """By kind of case, of all rows."""
    rows: defaultdict[str, int] = defaultdict(int)
    hits: defaultdict[str, int] = defaultdict(int)
    for case in cases:
        rows[case.kind] += len(case.rows)
        hits[case.kind] += len(found(of, case.rows))
    return {kind: hits[kind] / rows[kind] for kind in rows}


@pytest.mark.parametrize("disguises", [DISGUISES, HELD_OUT])
@pytest.mark.slow
def test_answer_search_disguised_answers_of_the_labelled_set_are_found(
    disguises: dict[str, Disguise],
) -> None:
    shares = _share_found(whole_set(), positives(disguises, each=30))
    assert len(shares) >= 8
    assert sum(shares.values()) / len(shares) > 0.93
    assert min(shares.values()) > 0.5, shares


@pytest.mark.slow
def test_answer_search_answers_paraphrased_by_hand_are_found() -> None:
    assert _share_found(whole_set(), paraphrased_by_hand()) == {"paraphrased by hand": 1}


# Of twelve answers with an edit in every word, the least that must be found.
MISSPELT = {
    "letters transposed in every word": 0.9,
    "middles of words shuffled": 0.9,
    "a letter dropped from every word": 0.7,
    "a vowel changed in every word": 0.9,
    "vowels dropped": 0.75,
    "letters doubled": 0.5,
    "last letters dropped": 0.9,
    "a syllable added to every word": 0.9,
    "every vowel an e": 0.8,
    "as it sounds": 0.9,
    "letters sorted within words": 0.8,
    "a letter before and after every word": 0.9,
    "pig latin": 0.75,
}


@pytest.mark.parametrize("kind", MISSPELT)
def test_answer_search_an_edit_in_every_word_hides_nothing(kind: str) -> None:
    shares = _share_found(whole_set(), positives({kind: (SPELLED | ENCODED)[kind]}, each=12))
    assert shares[kind] >= MISSPELT[kind]


@pytest.mark.slow
def test_answer_search_honest_rows_of_the_labelled_set_are_not() -> None:
    shares = _share_found(whole_set(), negatives(each=60))
    assert not any(shares.values()), shares


@pytest.mark.parametrize(
    ("found", "total", "contaminated"),
    [(0, 1, False), (1, 99, True), (1, 100, False), (2, 199, True), (2, 200, False), (3, 20_000, True)],
)
def test_contamination_fault_both_bounds_hold(found: int, total: int, contaminated: bool) -> None:
    rows = [FoundAnswer(line, 1, 0.5) for line in range(found)]
    fault = contamination_fault(rows, total, Contamination(max_rows=2, max_share=0.01))
    assert (fault is not None) == contaminated


def test_contamination_fault_names_the_first_lines() -> None:
    rows = [FoundAnswer(line, 1, 0.5) for line in range(3, 2000)]
    fault = contamination_fault(rows, 20_000, Contamination())
    assert fault is not None
    assert fault.reason is Reason.CONTAMINATED
    assert fault.message == (
        "Answers of the evaluation set are in 1,997 of 20,000 rows: "
        "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 1,987 more."
    )
    only = contamination_fault(rows[:1], 1, Contamination())
    assert only is not None and only.message == "Answers of the evaluation set are in 1 of 1 row: line 3."
