"""Hostile files: each gets a verdict, in bounded memory.

The peak is what Python allocates, on top of the file's rows that nobody keeps; how long it takes is
printed by tests/bench/bench_check.py and not asserted.
"""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from flockoff.competition import Limits
from flockoff.dataset import check_dataset
from flockoff.dataset.format import MAX_LINE_BYTES
from flockoff.errors import Reason
from flockoff.records import DatasetReport
from tests.support.dataset_texts import line_of
from tests.support.toy_encoder import CharacterEncoder

MIB = 1024 * 1024
PEAK = 20 * MIB
NEARLY_A_LINE = MAX_LINE_BYTES - 200

FILES: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "50 MB in one line": (lambda: b"a" * 50_000_000, Reason.TOO_LARGE),
    "50 MB in one string": (lambda: b'{"system": "' + b"a" * 50_000_000, Reason.TOO_LARGE),
    "100,000 brackets": (lambda: b"[" * 100_000, Reason.TOO_NESTED),
    "100,000 objects": (lambda: b'{"a":' * 45_000, Reason.TOO_NESTED),
    "brackets that close": (lambda: b"[" * 100_000 + b"]" * 100_000, Reason.TOO_NESTED),
    "brackets behind a quote": (lambda: b'"' + b'\\"' * 100_000 + b'",' + b"[" * 20_000, Reason.TOO_NESTED),
    "unterminated escapes": (lambda: b"[" * 20 + b'\\"' * 100_000, Reason.TOO_NESTED),
    "many quotes": (lambda: b"[" * 20 + b'"\\' * 100_000, Reason.TOO_NESTED),
    "many empty lists": (lambda: b"[" + b"[]," * (NEARLY_A_LINE // 3) + b"[]]", Reason.NOT_AN_OBJECT),
    "many empty objects": (lambda: b"[" + b"{}," * (NEARLY_A_LINE // 3) + b"{}]", Reason.NOT_AN_OBJECT),
    "many keys": (
        lambda: b"{" + b",".join(b'"%d":0' % n for n in range(25_000)) + b"}",
        Reason.UNKNOWN_KEY,
    ),
    "a huge integer": (lambda: b'{"system": ' + b"9" * 200_000 + b"}", Reason.MISSING_KEY),
    "a huge exponent": (lambda: b'{"system": 1e' + b"9" * 200_000 + b"}", Reason.MISSING_KEY),
    "a gzip bomb": (lambda: gzip.compress(b"\0" * 20 * MIB), Reason.NOT_UTF8),
    "zeros": (lambda: bytes(4 * MIB), Reason.TOO_LARGE),
    "a million blank lines": (lambda: b"\n" * 1_000_000, Reason.EMPTY),
    "a million lines of spaces": (lambda: b" \r\n" * 1_000_000, Reason.EMPTY),
    "100,000 bad rows": (lambda: b"x\n" * 100_000, Reason.NOT_JSON),
    "a key of a whole line": (lambda: b'{"' + b"k" * 200_000 + b'": 1}', Reason.UNKNOWN_KEY),
    "escapes of control characters": (
        lambda: b'{"' + b"\\u001b" * 40_000 + b'": 1}',
        Reason.UNKNOWN_KEY,
    ),
}

MANY_PARTS = {
    *("many empty lists", "many empty objects", "brackets that close"),
    *("a million blank lines", "a million lines of spaces", "100,000 bad rows"),
}


def check_within_peak(path: Path, peak: int = PEAK) -> DatasetReport:
    tracemalloc.start()
    try:
        report = check_dataset(path, Limits(), CharacterEncoder(4096))
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < peak
    return report


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] if name in MANY_PARTS else [])
        for name, case in FILES.items()
    ],
)
def test_check_dataset_hostile_file_ends_in_a_verdict(
    dataset: Callable[[bytes], Path], content: Callable[[], bytes], reason: Reason
) -> None:
    report = check_within_peak(dataset(content()))
    assert report.problems[0].reason is reason
    assert not report.valid
    assert all(len(problem.detail) <= 200 for problem in report.problems)


def test_check_dataset_file_over_the_limit_is_not_read(dataset: Callable[[bytes], Path]) -> None:
    path = dataset(b"")
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: takes no room, and would take hours to read
    report = check_within_peak(path, MIB)
    assert [(p.line, p.reason) for p in report.problems] == [(0, Reason.TOO_LARGE)]
    assert report.bytes == 1 << 40


@pytest.mark.slow
def test_check_dataset_large_legal_file_takes_no_more_memory(dataset: Callable[[bytes], Path]) -> None:
    longest = line_of("\U0001f600", "b" * NEARLY_A_LINE) + b"\n"
    report = check_within_peak(dataset(longest * 32))
    assert report.valid
    assert (report.rows, report.cut_rows) == (32, 32)
