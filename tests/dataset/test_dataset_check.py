import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flockoff.competition import Contamination, Limits, Training
from flockoff.dataset import (
    EvaluationAnswers,
    Judgement,
    check_dataset,
    content_hash,
    fault_of,
    judge_dataset,
    too_small,
)
from flockoff.errors import Reason, SetupError
from flockoff.records import DatasetReport, EncodedRow, Row, RowProblem
from tests.support.dataset_texts import line_of, row_of
from tests.support.toy_encoder import CharacterEncoder

Write = Callable[[bytes], Path]


def lines(*rows: bytes) -> bytes:
    return b"\n".join(rows)


@pytest.mark.parametrize(
    ("rows", "training", "nothing"),
    [
        (8, Training(epochs=1), True),
        (9, Training(epochs=1), False),
        (8, Training(epochs=2), False),
        (8, Training(epochs=1, warmup_steps=0), False),
        (0, Training(), True),
    ],
)
def test_too_small_is_a_single_step_at_the_first_warm_up_rate(
    rows: int, training: Training, nothing: bool
) -> None:
    assert too_small(rows, training) is nothing


def test_check_dataset_valid_file_is_counted(dataset: Write) -> None:
    content = lines(line_of("ab", "cde"), b"", line_of("f", "g", system="hi"))
    report = check_dataset(dataset(content), Limits(), CharacterEncoder())
    assert report == DatasetReport(
        rows=2,
        bytes=len(content),
        tokens=(1 + 3 + 4) + (3 + 2 + 2),
        assistant_tokens=4,
        cut_rows=0,
        content_hash=content_hash([row_of("f", "g", "hi"), row_of("ab", "cde")]),
        lengths=(0, 0, 0, 2),
    )
    assert report.valid


def test_check_dataset_rows_over_the_context_are_counted_as_cut(dataset: Write) -> None:
    content = lines(line_of("a", "b" * 50), line_of("a", "b"), line_of("a", "b" * 17))
    report = check_dataset(dataset(content), Limits(), CharacterEncoder(20))
    assert (report.valid, report.cut_rows, report.tokens) == (True, 2, 20 + 5 + 20)


def test_check_dataset_rows_that_fill_the_context_are_not_cut(dataset: Write) -> None:
    content = lines(line_of("a", "b" * 16), line_of("c", "d" * 5))
    assert check_dataset(dataset(content), Limits(), CharacterEncoder(20)).cut_rows == 0


def test_check_dataset_row_without_assistant_tokens_has_nothing_to_learn(dataset: Write) -> None:
    content = lines(line_of(), b"", line_of("a" * 30, "b"))
    report = check_dataset(dataset(content), Limits(), CharacterEncoder(20))
    assert [(p.line, p.reason) for p in report.problems] == [(3, Reason.NOTHING_TO_LEARN)]
    assert (report.valid, report.content_hash, report.rows) == (False, None, 2)


def test_check_dataset_token_limit_is_inclusive_and_ends_the_check(dataset: Write) -> None:
    path = dataset(lines(*[line_of("a", "b")] * 4))  # 5 tokens each
    assert check_dataset(path, Limits(max_tokens=20), CharacterEncoder()).valid
    report = check_dataset(path, Limits(max_tokens=14), CharacterEncoder())
    assert [(p.line, p.reason) for p in report.problems] == [(3, Reason.TOO_MANY_TOKENS)]
    assert (report.rows, report.tokens) == (3, 15)


def test_check_dataset_first_twenty_problems_are_named_and_all_counted(dataset: Write) -> None:
    content = lines(*[line_of(), b"x", line_of("a" * 30, "b")] * 200)
    report = check_dataset(dataset(content), Limits(), CharacterEncoder(20))
    assert (report.rows, report.problem_count, len(report.problems)) == (600, 400, 20)
    assert [p.line for p in report.problems] == [n for n in range(1, 31) if n % 3 != 1]
    assert {p.reason for p in report.problems} == {Reason.NOT_JSON, Reason.NOTHING_TO_LEARN}


def test_check_dataset_row_that_the_encoder_refuses_is_a_problem_of_its_line(dataset: Write) -> None:
    content = lines(line_of("a", "b"), line_of("c", "b<mark>\x1b"), line_of("d", "e"))
    report = check_dataset(dataset(content), Limits(), CharacterEncoder(unwelcome="<mark>\x1b"))
    assert report.problems == (RowProblem(2, Reason.SPECIAL_TOKEN, "A turn holds <mark>\\x1b"),)
    assert (report.rows, report.tokens) == (3, 10)


def test_check_dataset_row_too_many_is_not_encoded(dataset: Write) -> None:
    report = check_dataset(dataset(lines(*[line_of()] * 5)), Limits(max_rows=3), CharacterEncoder())
    assert [(p.line, p.reason) for p in report.problems] == [(4, Reason.TOO_MANY_ROWS)]
    assert report.tokens == 3 * (1 + 3 + 6)


def test_check_dataset_encodes_many_short_rows_at_once_and_long_ones_alone(dataset: Write) -> None:
    encoder = CharacterEncoder()
    check_dataset(dataset(lines(*[line_of()] * 300)), Limits(), encoder)
    assert sorted(encoder.batches) == [44, 128, 128]
    encoder = CharacterEncoder()
    check_dataset(dataset(lines(*[line_of("a", "\u20ac" * 20_000)] * 3)), Limits(), encoder)
    assert sorted(encoder.batches) == [1, 1, 1]


@pytest.mark.slow
def test_check_dataset_many_batches_keep_the_order_of_the_file(dataset: Write) -> None:
    contents = [str(number) * (1 + number % 3) for number in range(2000)]
    seen: list[tuple[int, Row]] = []
    check_dataset(
        dataset(lines(*[line_of("a", text) for text in contents])),
        Limits(),
        CharacterEncoder(),
        [lambda line, row, _: seen.append((line, row))],
    )
    assert seen == [(line, row_of("a", text)) for line, text in enumerate(contents, start=1)]


def test_check_dataset_error_of_the_encoder_comes_through_and_leaves_no_thread(dataset: Write) -> None:
    class Broken(CharacterEncoder):
        def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
            raise SetupError("The tokenizer is gone.")

    before = threading.active_count()
    with pytest.raises(SetupError, match="is gone"):
        check_dataset(dataset(lines(*[line_of()] * 2000)), Limits(), Broken())
    assert threading.active_count() == before


def test_check_dataset_visitors_see_rows_as_far_as_the_context_reaches(dataset: Write) -> None:
    seen: list[tuple[int, Row, int]] = []
    content = lines(line_of("ab", " cdefghijklmn ", system=" s "), line_of("a" * 12, "b"), line_of("f", "g"))
    check_dataset(dataset(content), Limits(), CharacterEncoder(12), [lambda *shown: seen.append(shown)])
    assert seen == [(1, row_of("ab", "cdefghijk", "s"), 4)]  # the second row is a problem


def test_judge_dataset_answer_within_the_context_is_contamination(dataset: Write) -> None:
    answer = "one two three four five six seven eight nine ten"
    answers = EvaluationAnswers([row_of("Count", answer)])
    rules = Contamination(max_rows=0)
    path = dataset(lines(line_of("a", "b"), line_of("a", f"{answer}!")))

    judgement = judge_dataset(path, Limits(), rules, CharacterEncoder(), answers)
    assert judgement.report.valid
    assert judgement.fault is not None
    assert judgement.fault.reason is Reason.CONTAMINATED
    assert "line 2." in judgement.fault.message

    assert judge_dataset(path, Limits(), rules, CharacterEncoder(), None).fault is None
    assert judge_dataset(path, Limits(), rules, CharacterEncoder(30), answers).fault is None


def test_judge_dataset_invalid_dataset_is_not_called_contaminated(dataset: Write) -> None:
    answer = "one two three four five six seven eight nine ten"
    judgement = judge_dataset(
        dataset(lines(line_of("a", answer), b"{}")),
        Limits(),
        Contamination(max_rows=0),
        CharacterEncoder(),
        EvaluationAnswers([row_of("Count", answer)]),
    )
    assert judgement.fault is not None
    assert judgement.fault.reason is Reason.MISSING_KEY


def test_judge_dataset_unless_thorough_ends_where_a_fault_is_beyond_doubt(dataset: Write) -> None:
    """What follows is neither read nor searched, and the fault is the same wherever it was found."""
    answer = "one two three four five six seven eight nine ten"
    answers = EvaluationAnswers([row_of("Count", answer)])
    few, many = ([line_of("a", f"{answer} {n}" + " ." * 500) for n in range(count)] for count in (99, 400))

    def judged(content: list[bytes], *, thorough: bool) -> tuple[Judgement, int]:
        shown: list[int] = []
        judgement = judge_dataset(
            dataset(lines(*content)),
            Limits(),
            Contamination(),
            CharacterEncoder(5000),
            answers,
            visitors=[lambda line, *_: shown.append(line)],
            thorough=thorough,
        )
        return judgement, len(shown)

    for content in (few, [*few, b"{}"]):
        (one, seen), (other, seen_too) = (judged(content, thorough=each) for each in (True, False))
        assert (one.report, str(one.fault), seen) == (other.report, str(other.fault), seen_too)
    ended, seen = judged([*many, b"{}"], thorough=False)
    assert 100 <= seen < 200 and ended.report.content_hash is None
    assert ended.fault is not None and ended.fault.reason is Reason.CONTAMINATED
    assert f"in {seen} of the first {seen} rows: lines 1, 2," in ended.fault.message
    whole, seen = judged([*many, b"{}"], thorough=True)
    assert whole.fault is not None and whole.fault.reason is Reason.MISSING_KEY and seen == 400


def test_check_dataset_missing_file_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        check_dataset(tmp_path / "data.jsonl", Limits(), CharacterEncoder())


def test_fault_of_one_problem_is_one_sentence(dataset: Write) -> None:
    fault = fault_of(check_dataset(dataset(lines(line_of(), b"{}")), Limits(), CharacterEncoder()))
    assert fault.reason is Reason.MISSING_KEY
    assert fault.message == "The dataset is not valid: line 2: the row has no 'conversations'."
    assert fault.remedy


def test_fault_of_many_problems_names_three_and_counts_the_rest(dataset: Write) -> None:
    fault = fault_of(check_dataset(dataset(lines(*[b"{}"] * 1500)), Limits(), CharacterEncoder()))
    assert "line 1: " in fault.message
    assert "line 3: " in fault.message
    assert "line 4" not in fault.message
    assert fault.message.endswith("; and 1,497 more problems.")


def test_fault_of_the_file_as_a_whole_names_no_line(dataset: Write) -> None:
    fault = fault_of(check_dataset(dataset(b""), Limits(), CharacterEncoder()))
    assert fault.message == "The dataset is not valid: the file has no rows."
