import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Limits
from flockoff.dataset import load_numbered_rows, load_rows, read_rows
from flockoff.dataset.format import MAX_DEPTH, MAX_DETAIL, MAX_LINE_BYTES
from flockoff.errors import MinerFault, Reason, SetupError
from flockoff.records import Row, RowProblem, Turn
from tests.support.dataset_texts import EXAMPLES, files, line_of, row_of, rows, shows
from tests.support.toy_encoder import SPECIAL_TOKENS

Write = Callable[[bytes], Path]
USER = '{"role": "user", "content": "Hi"}'
ANSWER = '{"role": "assistant", "content": "Hello"}'


def problems(path: Path, limits: Limits | None = None) -> list[RowProblem]:
    found = [row for _, row in read_rows(path, limits or Limits(), SPECIAL_TOKENS)]
    return [row for row in found if isinstance(row, RowProblem)]


def read_bytes(content: bytes, limits: Limits | None = None) -> list[tuple[int, Row | RowProblem]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        path.write_bytes(content)
        return list(read_rows(path, limits or Limits(), SPECIAL_TOKENS))


def turns(*contents: str) -> str:
    return '{"conversations": [' + ", ".join(contents) + "]}"


LINES: dict[str, tuple[bytes | str, Reason, str]] = {
    "latin-1": (b'{"system": "caf\xe9"}', Reason.NOT_UTF8, "byte 16 of the line (0xe9)"),
    "cut character": (b'{"system": "\xe2\x82', Reason.NOT_UTF8, "byte 13"),
    "overlong encoding": (b'{"system": "\xc0\xaf"}', Reason.NOT_UTF8, "byte 13"),
    "surrogate in UTF-8": (b'{"system": "\xed\xa0\x80"}', Reason.NOT_UTF8, "byte 13"),
    "text": ("hello", Reason.NOT_JSON, "Expecting value at column 1"),
    "cut short": ('{"conversations": [', Reason.NOT_JSON, "column 20"),
    "unterminated string": ('{"conversations', Reason.NOT_JSON, "Unterminated string"),
    "two objects": ("{} {}", Reason.NOT_JSON, "Extra data"),
    "trailing comma": (turns(USER, ANSWER + ","), Reason.NOT_JSON, "column"),
    "raw tab in a string": ('{"system": "\t"}', Reason.NOT_JSON, "control character"),
    "BOM inside": ("\ufeff" + turns(USER, ANSWER), Reason.NOT_JSON, "column 1"),
    "array": ("[]", Reason.NOT_AN_OBJECT, "an array"),
    "string": ('"row"', Reason.NOT_AN_OBJECT, "a string"),
    "number": ("1", Reason.NOT_AN_OBJECT, "a number"),
    "null": ("null", Reason.NOT_AN_OBJECT, "null"),
    "true": ("true", Reason.NOT_AN_OBJECT, "true"),
    "nested": ("[" * (MAX_DEPTH + 1), Reason.TOO_NESTED, "deeper than 16"),
    "duplicate key": ('{"system": null, "system": "x"}', Reason.DUPLICATE_KEY, "'system' appears twice"),
    "escaped duplicate key": ('{"system": null, "s\\u0079stem": ""}', Reason.DUPLICATE_KEY, "'system'"),
    "duplicate key in a turn": (
        turns('{"role": "user", "content": "a", "content": "b"}', ANSWER),
        Reason.DUPLICATE_KEY,
        "'content' appears twice",
    ),
    "unknown key": ('{"id": 1, "conversations": []}', Reason.UNKNOWN_KEY, "the row has the key 'id'"),
    "unknown key in a turn": (
        turns('{"role": "user", "content": "a", "name": "b"}', ANSWER),
        Reason.UNKNOWN_KEY,
        "turn 1 has the key 'name'",
    ),
    "no conversations": ('{"system": "x"}', Reason.MISSING_KEY, "the row has no 'conversations'"),
    "no content": (turns(USER, '{"role": "assistant"}'), Reason.MISSING_KEY, "turn 2 has no 'content'"),
    "system a list": ('{"system": [], "conversations": []}', Reason.WRONG_TYPE, "'system' is an array"),
    "system false": ('{"system": false, "conversations": []}', Reason.WRONG_TYPE, "'system' is false"),
    "conversations null": ('{"conversations": null}', Reason.WRONG_TYPE, "'conversations' is null"),
    "conversations an object": ('{"conversations": {}}', Reason.WRONG_TYPE, "an object"),
    "content a number": (
        turns('{"role": "user", "content": 1e9}', ANSWER),
        Reason.WRONG_TYPE,
        "the content of turn 1 is a number",
    ),
    "content in parts": (
        turns('{"role": "user", "content": [{"type": "text", "text": "a"}]}'),
        Reason.WRONG_TYPE,
        "the content of turn 1 is an array",
    ),
    "role null": (turns('{"role": null, "content": "a"}'), Reason.WRONG_TYPE, "the role of turn 1 is null"),
    "turn a string": (turns('"Hi"'), Reason.NOT_AN_OBJECT, "turn 1 is a string"),
    "NaN": ('{"system": NaN}', Reason.NOT_FINITE, "NaN"),
    "Infinity": ('{"system": -Infinity}', Reason.NOT_FINITE, "-Infinity"),
    "no turns": ('{"conversations": []}', Reason.NO_TURNS, "empty"),
    "assistant first": (turns(ANSWER), Reason.WRONG_ROLE, "turn 1 is 'assistant'; it must be 'user'"),
    "user twice": (turns(USER, USER), Reason.WRONG_ROLE, "turn 2 is 'user'"),
    "user last": (turns(USER), Reason.WRONG_ROLE, "ends with 'assistant'"),
    "system as a turn": (
        turns('{"role": "system", "content": "x"}', USER, ANSWER),
        Reason.WRONG_ROLE,
        "turn 1 is 'system'",
    ),
    "capital role": (turns('{"role": "User", "content": "x"}'), Reason.WRONG_ROLE, "'User'"),
    "empty content": (line_of(""), Reason.BLANK_CONTENT, "turn 1 is blank"),
    "blank content": (line_of("Hi", " \n\u3000"), Reason.BLANK_CONTENT, "turn 2 is blank"),
    "invisible content": (line_of("\u200b\u2060\ufeff"), Reason.BLANK_CONTENT, "turn 1 is blank"),
    "raw NUL": (b'{"system": "\0"}', Reason.FORBIDDEN_CHARACTER, "NUL character at column 13"),
    "escaped NUL": (line_of("a\0b"), Reason.FORBIDDEN_CHARACTER, "turn 1 has a NUL character"),
    "lone surrogate": (line_of("a", "\ud800"), Reason.FORBIDDEN_CHARACTER, "lone surrogate \\ud800"),
    "surrogates the wrong way": (line_of(system="\ude00\ud83d"), Reason.FORBIDDEN_CHARACTER, "'system'"),
    "special token": (
        line_of("a <|begin|> b"),
        Reason.SPECIAL_TOKEN,
        "turn 1 spells out the special token '<|b",
    ),
    "escaped special token": (
        line_of("a").replace(b'"a"', b'"\\u003c|end|>"'),
        Reason.SPECIAL_TOKEN,
        "'<|end|>'",
    ),
    "longest special token": (line_of(system="<|end|>of"), Reason.SPECIAL_TOKEN, "'<|end|>of'"),
}


@pytest.mark.parametrize(("line", "reason", "detail"), LINES.values(), ids=list(LINES))
def test_read_rows_bad_line_gives_its_number_and_reason(
    dataset: Write, line: bytes | str, reason: Reason, detail: str
) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    path = dataset(line_of() + b"\n\n" + raw + b"\r\n" + line_of("Bye", "Goodbye"))

    found = list(read_rows(path, Limits(), SPECIAL_TOKENS))

    assert [number for number, _ in found] == [1, 3, 4]
    assert [row for _, row in found][::2] == [row_of("Hi", "Hello"), row_of("Bye", "Goodbye")]
    problem = found[1][1]
    assert isinstance(problem, RowProblem)
    assert (problem.line, problem.reason) == (3, reason)
    assert detail in problem.detail


def test_read_rows_every_reason_of_a_line_is_covered() -> None:
    of_lines = {reason for _, reason, _ in LINES.values()}
    of_files = {Reason.TOO_LARGE, Reason.TOO_MANY_ROWS, Reason.EMPTY}
    of_others = {
        Reason.COMMITMENT_MISSING,
        Reason.COMMITMENT_MALFORMED,
        Reason.REPO_MISSING,
        Reason.COMMIT_MISSING,
        Reason.FILE_MISSING,
        Reason.TOO_MANY_TOKENS,
        Reason.NOTHING_TO_LEARN,
        Reason.DUPLICATE,
        Reason.NEAR_DUPLICATE,
        Reason.SAME_LOSS,
        Reason.CONTAMINATED,
        Reason.LOSS_NOT_FINITE,
    }
    assert of_lines | of_files | of_others == set(Reason)


@pytest.mark.slow
def test_read_rows_content_of_characters_that_show_as_nothing_is_blank(dataset: Write) -> None:
    nothing = [character for character in map(chr, range(1, sys.maxunicode + 1)) if not shows(character)]
    assert len(nothing) > 4000
    each = [line_of("Hi", character * 3) for character in nothing]
    found = problems(dataset(b"\n".join([*each, line_of("Hi", "".join(nothing))])))
    assert [problem.reason for problem in found] == [Reason.BLANK_CONTENT] * (len(nothing) + 1)


@pytest.mark.parametrize(
    "content", [".", "\u200b.", "a\ufe0f", "\u0301", "\u2801", "\U0001f441\ufe0f", "\u3165"]
)
def test_read_rows_content_that_shows_something_is_not_blank(dataset: Write, content: str) -> None:
    assert load_rows(dataset(line_of(content, content)), Limits(), SPECIAL_TOKENS) == [
        row_of(content, content)
    ]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (line_of(system=None), row_of("Hi", "Hello")),
        (line_of(system=""), row_of("Hi", "Hello", "")),
        (line_of(system="  "), row_of("Hi", "Hello", "  ")),
        (line_of("\U0001f600"), row_of("\U0001f600", "Hello")),  # a pair of surrogates once escaped
        (line_of("[" * 99, '"{\\"' * 99), row_of("[" * 99, '"{\\"' * 99)),
        (line_of("<|begin", "|end|>"), row_of("<|begin", "|end|>")),
        (b"\xef\xbb\xbf \t" + line_of() + b"\t ", row_of("Hi", "Hello")),
    ],
)
def test_read_rows_unusual_but_legal_line_is_a_row(dataset: Write, line: bytes, row: Row) -> None:
    assert load_rows(dataset(line), Limits(), SPECIAL_TOKENS) == [row]


def test_read_rows_long_conversation_keeps_its_turns(dataset: Write) -> None:
    exchange = (Turn("user", "a"), Turn("assistant", "b"))
    line = json.dumps({"conversations": [{"role": t.role, "content": t.content} for t in exchange * 30]})
    assert load_rows(dataset(line.encode()), Limits(), SPECIAL_TOKENS) == [Row(None, exchange * 30)]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\t\r\n" * 9])
def test_read_rows_nothing_but_white_space_is_empty(dataset: Write, content: bytes) -> None:
    assert [(p.line, p.reason) for p in problems(dataset(content))] == [(0, Reason.EMPTY)]


def test_read_rows_last_row_allowed_is_read_and_one_more_ends_it(dataset: Write) -> None:
    path = dataset((line_of() + b"\n\n") * 3 + b"never read")
    assert [number for number, _ in read_rows(path, Limits(max_rows=4), SPECIAL_TOKENS)] == [1, 3, 5, 7]
    assert [(p.line, p.reason) for p in problems(path, Limits(max_rows=2))] == [(5, Reason.TOO_MANY_ROWS)]


def test_read_rows_bad_row_counts_as_a_row(dataset: Write) -> None:
    found = problems(dataset(b"x\n" * 3), Limits(max_rows=2))
    assert [p.reason for p in found] == [Reason.NOT_JSON, Reason.NOT_JSON, Reason.TOO_MANY_ROWS]


def test_read_rows_size_limit_is_inclusive(dataset: Write) -> None:
    path = dataset(line_of())
    assert not problems(path, Limits(max_bytes=len(line_of())))
    (problem,) = problems(path, Limits(max_bytes=len(line_of()) - 1))
    assert (problem.line, problem.reason) == (0, Reason.TOO_LARGE)
    assert "dataset has at most" in problem.detail


@pytest.mark.slow
def test_read_rows_file_that_grows_is_stopped_at_the_limit(dataset: Write) -> None:
    path = dataset((line_of() + b"\n") * 10_000)
    reading = read_rows(path, Limits(max_bytes=path.stat().st_size), SPECIAL_TOKENS)
    next(reading)
    with path.open("ab") as file:
        file.write(line_of())
    *_, (number, last) = reading
    assert isinstance(last, RowProblem)
    assert (number, last.reason) == (0, Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "zip"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"PAR1", "Parquet"),
    ],
)
def test_read_rows_foreign_format_is_named(dataset: Write, start: bytes, name: str) -> None:
    (problem,) = problems(dataset(start + b"\n" * 9))
    assert (problem.line, problem.reason) == (0, Reason.NOT_UTF8)
    assert name in problem.detail


def test_read_rows_line_limit_is_inclusive_whatever_follows(dataset: Write) -> None:
    longest = line_of("a" * (MAX_LINE_BYTES - len(line_of("", "b"))), "b")
    assert len(longest) == MAX_LINE_BYTES
    too_long = longest.replace(b"aaa", b"aaaa", 1)
    content = b"\n".join(
        [longest, too_long, line_of(), too_long + b"a" * MAX_LINE_BYTES * 3, line_of(), longest]
    )
    found = list(read_rows(dataset(content), Limits(), SPECIAL_TOKENS))
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6]
    assert [row.reason if isinstance(row, RowProblem) else None for _, row in found] == [
        None,
        Reason.TOO_LARGE,
        None,
        Reason.TOO_LARGE,
        None,
        None,
    ]
    assert [p.line for p in problems(dataset(too_long))] == [1]


def test_read_rows_no_special_tokens_forbids_none(dataset: Write) -> None:
    assert load_rows(dataset(line_of("<|begin|>")), Limits(), frozenset()) == [row_of("<|begin|>", "Hello")]


def test_read_rows_detail_is_printable_and_short(dataset: Write) -> None:
    path = dataset(json.dumps({"\x1b[31m\u202e" + "k" * 5000: 1}).encode())
    (problem,) = problems(path)
    assert len(problem.detail) <= MAX_DETAIL
    assert problem.detail.isprintable()
    assert "\\x1b[31m\\u202ekkk" in problem.detail


def test_load_rows_bad_rows_raises_the_first(dataset: Write) -> None:
    path = dataset(line_of() + b"\n\nx\n{}")
    with pytest.raises(MinerFault, match=r"^The dataset is not valid: line 3: not JSON") as caught:
        load_rows(path, Limits(), SPECIAL_TOKENS)
    assert caught.value.reason is Reason.NOT_JSON


def test_load_numbered_rows_blank_lines_count_as_lines(dataset: Write) -> None:
    path = dataset(b"\n" + line_of("a") + b"\n\n" + line_of("b"))
    assert load_numbered_rows(path, Limits(), SPECIAL_TOKENS) == [
        (2, row_of("a", "Hello")),
        (4, row_of("b", "Hello")),
    ]


def test_read_rows_missing_file_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file") as caught:
        list(read_rows(tmp_path / "none.jsonl", Limits(), SPECIAL_TOKENS))
    assert caught.value.remedy


def test_read_rows_directory_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a regular file"):
        list(read_rows(tmp_path, Limits(), SPECIAL_TOKENS))


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in the file system")
def test_read_rows_pipe_is_a_setup_error_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.jsonl")
    with pytest.raises(SetupError, match="not a regular file"):
        list(read_rows(tmp_path / "data.jsonl", Limits(), SPECIAL_TOKENS))


@EXAMPLES
@given(st.data(), st.lists(rows(), min_size=1, max_size=5))
def test_read_rows_any_arrangement_gives_the_rows(data: st.DataObject, some_rows: list[Row]) -> None:
    found = [row for _, row in read_bytes(data.draw(files(some_rows)))]
    assert sorted(map(repr, found)) == sorted(map(repr, some_rows))


def pieces() -> Iterator[bytes]:
    for line, _, _ in LINES.values():
        yield line if isinstance(line, bytes) else line.encode()
    yield from (
        line_of(),
        b"\n",
        b"\r",
        b'"',
        b"\\",
        b"[",
        b"}",
        b"\xef\xbb\xbf",
        b"\\u",
        b"\x1f\x8b",
        b"9" * 5000,
    )


@EXAMPLES
@given(st.lists(st.binary(max_size=12) | st.sampled_from(list(pieces())), max_size=12))
def test_read_rows_any_bytes_end_in_rows_and_problems(parts: list[bytes]) -> None:
    content = b"".join(parts)
    found = read_bytes(content, Limits(max_rows=4, max_bytes=8000))
    assert found
    for number, row in found:
        assert 0 <= number <= content.count(b"\n") + 1
        if isinstance(row, RowProblem):
            assert row.line == number
            assert row.detail.isprintable()
            assert 0 < len(row.detail) <= MAX_DETAIL
