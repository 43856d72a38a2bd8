"""Any bytes get a sound verdict: a sample of ``fuzz_check.py``'s million, and cases worth keeping."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flockoff.errors import Reason
from tests.support.dataset_fuzz import LIMITS, examine, file_of, rows_by_the_book
from tests.support.dataset_texts import files, line_of, row_of, rows
from tests.support.examples import examples

SOME = settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
GOOD = line_of()
BOM = b"\xef\xbb\xbf"

KEPT: dict[str, tuple[bytes, Reason | None]] = {
    "BOM twice": (BOM + BOM + GOOD, Reason.NOT_JSON),
    "BOM before the second row": (GOOD + b"\n" + BOM + GOOD, Reason.NOT_JSON),
    "BOM alone": (BOM, Reason.EMPTY),
    "half a BOM": (BOM[:2] + GOOD, Reason.NOT_UTF8),
    "BOM and a blank line": (BOM + b"\n" + GOOD, None),
    "UTF-16": (GOOD.decode().encode("utf-16"), Reason.NOT_UTF8),
    "UTF-16 without BOM": (GOOD.decode().encode("utf-16-le"), Reason.FORBIDDEN_CHARACTER),
    "UTF-32": (GOOD.decode().encode("utf-32"), Reason.NOT_UTF8),
    "UTF-32 without BOM": (GOOD.decode().encode("utf-32-be"), Reason.FORBIDDEN_CHARACTER),
    "CR line ends": (GOOD + b"\r" + GOOD, Reason.NOT_JSON),
    "CR and white space": (GOOD + b"\r \t\r\n\r\r\n" + GOOD + b"\r\r", None),
    "LS line ends": (GOOD + "\u2028".encode() + GOOD, Reason.NOT_JSON),
    "LS in a text": (line_of("a\u2028b\x85c").decode("unicode_escape").encode(), None),
    "form feed between rows": (GOOD + b"\n\x0c\n" + GOOD, Reason.NOT_JSON),
    "no-break space alone": (GOOD + b"\n\xc2\xa0", Reason.NOT_JSON),
    "NUL at the end": (GOOD + b"\n\0", Reason.FORBIDDEN_CHARACTER),
    "NUL as an escape": (line_of("\0"), Reason.FORBIDDEN_CHARACTER),
    "NUL as an escape in a key": (b'{"\\u0000": 1}', Reason.UNKNOWN_KEY),
    "high surrogate": (line_of("\ud800"), Reason.FORBIDDEN_CHARACTER),
    "surrogates the wrong way round": (line_of("\udc00\ud800"), Reason.FORBIDDEN_CHARACTER),
    "surrogates with a space": (line_of("\ud83d \ude00"), Reason.FORBIDDEN_CHARACTER),
    "surrogate pair": (line_of("\U0001f600"), None),
    "surrogate bytes": (GOOD.replace(b"Hi", b"\xed\xa0\xbd\xed\xb8\x80"), Reason.NOT_UTF8),
    "surrogate in a key": (b'{"\\ud800": 1}', Reason.UNKNOWN_KEY),
    "surrogate in a role": (GOOD.replace(b'"user"', b'"\\udfff"'), Reason.WRONG_ROLE),
    "special token from escapes": (GOOD.replace(b"Hi", b"\\u003c|end\\u007c>"), Reason.SPECIAL_TOKEN),
    "special token over two turns": (line_of("<|be", "gin|>"), None),
    "special token over two rows": (line_of("Hi", "<|be") + b"\n" + line_of("gin|>"), None),
    "keys from escapes": (GOOD.replace(b"role", b"r\\u006fle"), None),
    "duplicate key in one turn": (GOOD.replace(b'"role"', b'"content": "", "role"', 1), Reason.DUPLICATE_KEY),
    "duplicate key after a good row": (GOOD[:-1] + b', "conversations": []}', Reason.DUPLICATE_KEY),
    "duplicate keys galore": (b'{"a":0' + b',"a":0' * 800 + b"}", Reason.DUPLICATE_KEY),
    "NaN where a text belongs": (GOOD.replace(b'"Hi"', b"NaN"), Reason.NOT_FINITE),
    "infinity by exponent": (GOOD.replace(b'"Hi"', b"1e999"), Reason.WRONG_TYPE),
    "5,000 digits": (b'{"system": ' + b"9" * 4900 + b"}", Reason.MISSING_KEY),
    "boolean role": (GOOD.replace(b'"user"', b"true"), Reason.WRONG_TYPE),
    "blank of no-break spaces": (line_of("\u00a0\u2003\u3000"), Reason.BLANK_CONTENT),
    "zero-width spaces alone": (line_of("\u200b\u200b"), Reason.BLANK_CONTENT),
    "comment": (b"// comment\n" + GOOD, Reason.NOT_JSON),
    "array of rows": (b"[" + GOOD + b"]", Reason.NOT_AN_OBJECT),
    "two rows on a line": (GOOD + b" " + GOOD, Reason.NOT_JSON),
    "deeply nested in a string": (line_of("[" * 97, "x"), Reason.NOTHING_TO_LEARN),
    "deeply nested beside a string": (GOOD + b"[" * 90, Reason.TOO_NESTED),
    "a row too many": (b"\n".join([line_of("a", "b")] * (LIMITS.max_rows + 1)), Reason.TOO_MANY_ROWS),
    "as many tokens as may be": (b"\n".join([line_of("a", "b" * 97)] * 3 + [line_of("a", "b" * 46)]), None),
    "a token too many": (
        b"\n".join([line_of("a", "b" * 97)] * 3 + [line_of("a", "b" * 47)]),
        Reason.TOO_MANY_TOKENS,
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


@pytest.mark.parametrize(("content", "reason"), KEPT.values(), ids=list(KEPT))
def test_check_dataset_kept_case_has_its_verdict(path: Path, content: bytes, reason: Reason | None) -> None:
    report = examine(content, path)
    assert (report.problems[0].reason if report.problems else None) is reason


@pytest.mark.slow
def test_check_dataset_damaged_files_get_sound_verdicts(path: Path) -> None:
    reports = [examine(file_of(number), path) for number in range(300)]
    reasons = {report.problems[0].reason for report in reports if report.problems}
    assert len(reasons) >= 10 and any(report.valid for report in reports)


@SOME
@given(content=st.binary(max_size=200))
def test_check_dataset_any_bytes_get_a_sound_verdict(path: Path, content: bytes) -> None:
    examine(content, path)


@pytest.mark.slow
@SOME
@given(data=st.data())
def test_check_dataset_any_damage_to_any_rows_gets_a_sound_verdict(path: Path, data: st.DataObject) -> None:
    content = data.draw(files(data.draw(st.lists(rows(), min_size=1, max_size=3))))
    place = data.draw(st.integers(0, len(content)))
    gone = data.draw(st.integers(0, 3))
    examine(content[:place] + data.draw(st.binary(max_size=6)) + content[place + gone :], path)


def test_rows_by_the_book_good_and_bad_file_are_told_apart() -> None:
    assert rows_by_the_book(GOOD) == [row_of("Hi", "Hello")]
    assert rows_by_the_book(GOOD + b"\n{}") is None
