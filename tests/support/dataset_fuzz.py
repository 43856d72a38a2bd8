"""Files to check by the million, each made from a number, and what must hold of the verdict on any."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from flockoff.competition import Limits
from flockoff.dataset import check_dataset, content_hash, fault_of, load_rows
from flockoff.dataset.content import canonical_bytes
from flockoff.records import DatasetReport, Row, Turn
from tests.support.dataset_texts import shows
from tests.support.toy_encoder import SPECIAL_TOKENS, CharacterEncoder

# So small that a small file can exceed each of them.
LIMITS = Limits(max_rows=6, max_bytes=5000, max_tokens=350)
CONTEXT = 100
_ENCODER = CharacterEncoder(CONTEXT)
_BOM = b"\xef\xbb\xbf"

# --- files -----------------------------------------------------------------------------------------------

_TEXTS = (
    *("Hi", "", " ", "\t\n", "a" * 120, "\u00a0\u2003", "\u200b", "\u2028", "\x85", "\x0b", "\x1f", "\x7f"),
    *("\0", "\ud800", "\udc00\ud800", "\U0001f600", "e\u0301", "\ufeff", "\ufffe", "\u202e", "\x1b[2J"),
    *("<|begin|>", "<|end|>of", "<|end", "|>", "role", "\\", '"', "\u0130", "\ufdfa", "漢字かな交じり文"),
)
_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1e308, float("nan"), float("-inf"), 10**30, [], {}, [[]], {"a": {}}),
    *({"role": "user"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}),
)
_KEYS = ("role", "content", "system", "conversations", "Role", "", "\0", "x" * 90, "\x1b", "\ud800")
_ROLES = ("user", "assistant", "system", "User", "tool", "")
_PIECES = (
    *(b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b"\x0b", b"\xe2\x80\xa8", b"\xc2\x85", _BOM, b"\xff\xfe"),
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"[" * 20, b"{}" * 20, b"null", b"NaN", b"-Infinity"),
    *(b"1e999", b"9" * 400, b"-0", b"\\u0000", b"\\ud800", b"\\ud83d\\ude00", b"\\u", b"\\x", b"'", b"//"),
    *(b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x1f\x8b", b"PK\x03\x04", b"BZh"),
    *(b'"role"', b'"content": ', b'"system": ', b'"conversations": [', b"<|begin|>", b"\\u003c|begin|>"),
)
_WORDS = (
    *(b'"role"', b'"content"', b'"conversations"', b'"system"', b'"user"', b'"assistant"', b'"Hi"', b'""'),
    *(
        b'"r\\u006fle"',
        b'"\\u0063ontent"',
        b"null",
        b"NaN",
        b"7",
        b"{",
        b"[",
        b",",
        b"},{",
        b"}",
        b"]",
        b"\n",
    ),
)


def file_of(number: int) -> bytes:
    """The file of that number: rows, most of them good, then damaged as objects, as text or as bytes."""
    draw = Random(number)
    lines = [_line(draw) for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 3, 9)))]
    content = draw.choice((b"\n", b"\n", b"\r\n", b"\n\n", b"\r")).join(lines)
    if draw.random() < 0.3:
        content = draw.choice((_BOM, b"\n", b" ", b"\xff")) + content + draw.choice((b"\n", b"\r", b"\0"))
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 6))):
        content = draw.choice(_DAMAGES)(draw, content)
    return content


def _line(draw: Random) -> bytes:
    row = _row(draw)
    if draw.random() < 0.2:
        _spoil(draw, row)
    ascii_only = draw.random() < 0.5 or "\\ud" in json.dumps(row)
    separators = draw.choice(((",", ":"), (", ", ": "), ("\t,\r", " : ")))
    text = json.dumps(row, ensure_ascii=ascii_only, separators=separators)
    if draw.random() < 0.03:  # a duplicate key in a valid row, which random damage never produces
        text = text.replace('{"role"', '{"role":"user","role"', 1)
    return text.encode()


def _row(draw: Random) -> dict[str, object]:
    texts = ("Hi", "Hello", "x y", "\U0001f600", "é" * 30) if draw.random() < 0.9 else _TEXTS
    conversations = [
        {"role": role, "content": draw.choice(texts)}
        for _ in range(draw.choice((1, 1, 2, 9)))
        for role in ("user", "assistant")
    ]
    row: dict[str, object] = {"conversations": conversations}
    if draw.random() < 0.4:
        row["system"] = draw.choice((None, draw.choice(texts)))
    return row


def _spoil(draw: Random, row: dict[str, object]) -> None:
    conversations = row["conversations"]
    assert isinstance(conversations, list)
    turn = draw.choice(conversations)
    value = draw.choice((draw.choice(_TEXTS), draw.choice(_VALUES)))
    match draw.randrange(7):
        case 0:
            row[draw.choice(_KEYS)] = value
        case 1:
            turn[draw.choice(_KEYS)] = value
        case 2:
            turn["role"] = draw.choice(_ROLES)
        case 3:
            turn["content"] = value
        case 4:
            conversations.insert(draw.randrange(len(conversations) + 1), value)
        case 5:
            conversations.remove(turn)
        case _:
            del turn[draw.choice(("role", "content"))]


def _insert(draw: Random, content: bytes) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(_PIECES) + content[place:]


def _flip(draw: Random, content: bytes) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def _cut(draw: Random, content: bytes) -> bytes:
    first, last = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + content[last:] if draw.random() < 0.5 else content[first:last]


def _repeat(draw: Random, content: bytes) -> bytes:
    first = draw.randrange(len(content) + 1)
    last = min(len(content), first + draw.choice((1, 2, 10, 200)))
    return content[:last] + content[first:last] * draw.choice((1, 1, 2, 9)) + content[last:]


def _exchange(draw: Random, content: bytes) -> bytes:
    old, new = draw.sample(_WORDS, 2)
    places = [place for place in range(len(content)) if content.startswith(old, place)]
    if not places:
        return content
    place = draw.choice(places)
    return content[:place] + new + content[place + len(old) :]


_DAMAGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _insert,
    _insert,
    _exchange,
    _exchange,
    _flip,
    _cut,
    _repeat,
)


# --- what must hold --------------------------------------------------------------------------------------


def examine(content: bytes, path: Path, draw: Random | None = None) -> DatasetReport:
    """The verdict on a file of that content, written to ``path``. Raises AssertionError at a broken rule.

    With ``draw`` only one other arrangement of the file is checked beside it, for speed; else all are.
    """
    report = _verdict(content, path)
    _is_sound(report, content)
    rows = rows_by_the_book(content)
    assert report.valid == (rows is not None), (report.problems[:1], rows)
    if rows is not None:
        assert load_rows(path, LIMITS, SPECIAL_TOKENS) == rows
        assert (report.rows, report.content_hash) == (len(rows), content_hash(rows))
    others = [*_rearranged(content, report, rows)]
    for arranged in others if draw is None else [draw.choice(others)]:
        if len(arranged) <= LIMITS.max_bytes:
            assert _verdict(arranged, path) == report, arranged
    return report


def _verdict(content: bytes, path: Path) -> DatasetReport:
    """The report, but for what depends on how the file is arranged: its bytes, and its lines' numbers."""
    path.write_bytes(content)
    report = check_dataset(path, LIMITS, _ENCODER)
    assert report.bytes == len(content)
    assert len(report.cut_lines) <= report.cut_rows
    return replace(report, bytes=0, cut_lines=())


def _rearranged(content: bytes, report: DatasetReport, rows: list[Row] | None) -> Iterator[bytes]:
    """The same dataset in other files."""
    yield content
    if rows is not None:
        yield b"\n".join(map(canonical_bytes, rows))
        yield b"\r\n".join(map(_another_spelling, rows[::-1])) + b"\r\n"
    if not content.startswith(_BOM) and (report.valid or report.problems[0].line):
        yield _BOM + content
    if b"\r" not in content:
        yield content.replace(b"\n", b"\r\n")


def _is_sound(report: DatasetReport, content: bytes) -> None:
    assert report.valid == (report.content_hash is not None) == (report.problem_count == 0)
    assert len(report.problems) == min(20, report.problem_count)
    lines = content.removeprefix(_BOM).split(b"\n")
    numbers = [problem.line for problem in report.problems]
    assert sorted(numbers, key=lambda number: number or len(lines) + 1) == numbers
    for problem in report.problems:
        assert problem.detail.isprintable() and 0 < len(problem.detail) <= 200
        assert 0 <= problem.line <= len(lines)
        assert problem.line == 0 or lines[problem.line - 1].strip(b" \t\r")
    assert 0 <= report.assistant_tokens <= report.tokens <= LIMITS.max_tokens + CONTEXT
    assert report.cut_rows <= report.rows <= LIMITS.max_rows + 1
    if not report.valid:
        fault = fault_of(report)
        assert fault.reason is report.problems[0].reason
        assert str(fault).isprintable() and len(str(fault)) < 1000


def _another_spelling(row: Row) -> bytes:
    turns = [{"role": turn.role, "content": turn.content} for turn in row.turns]
    system = {"system": row.system} if row.system is not None or len(turns) > 2 else {}
    return json.dumps(system | {"conversations": turns}, separators=(" , ", "\t:")).encode()


def rows_by_the_book(content: bytes) -> list[Row] | None:
    """The file's rows by the README's rules, implemented again, however slowly; None if invalid."""
    if len(content) > LIMITS.max_bytes:
        return None
    try:
        lines = content.decode("utf-8").removeprefix("\ufeff").split("\n")
        rows = [_row_by_the_book(line.removesuffix("\r")) for line in lines if line.strip(" \t\r")]
    except (ValueError, TypeError, KeyError):
        return None
    tokens = sum(min(CONTEXT, _tokens(row)) for row in rows)
    if not 1 <= len(rows) <= LIMITS.max_rows or tokens > LIMITS.max_tokens:
        return None
    return rows


def _row_by_the_book(line: str) -> Row:
    value = json.loads(line, object_pairs_hook=_pairs, parse_constant=_refuse)
    _require(isinstance(value, dict) and set(value) <= {"system", "conversations"})
    system, turns = value.get("system"), value["conversations"]
    _require(system is None or isinstance(system, str))
    _require(isinstance(turns, list) and len(turns) > 0 and len(turns) % 2 == 0)
    for place, turn in enumerate(turns):
        _require(isinstance(turn, dict) and set(turn) == {"role", "content"})
        _require(turn["role"] == ("user", "assistant")[place % 2] and isinstance(turn["content"], str))
        _require(shows(turn["content"]))
    texts = [system or "", *(turn["content"] for turn in turns)]
    for text in texts:
        text.encode()
        _require("\0" not in text and not any(token in text for token in SPECIAL_TOKENS))
    # A mark each for system, user and assistant come before the first character to learn.
    _require(3 + len(texts[0]) + len(texts[1]) < CONTEXT)
    return Row(system, tuple(Turn(turn["role"], turn["content"]) for turn in turns))


def _tokens(row: Row) -> int:
    return 1 + len(row.system or "") + sum(1 + len(turn.content) for turn in row.turns)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _require(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def _refuse(constant: str) -> object:
    raise ValueError(constant)


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError
