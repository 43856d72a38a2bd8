"""The dataset format: reads rows and problems from a file, in bounded time and memory whatever it holds.

A dataset is UTF-8 text with one JSON object a line; README.md has the rules. Reading streams: at most one
block and one line are in memory. What bounds a hostile file:

- bytes: ``Limits.max_bytes``, checked on the file's size first, and on the bytes while reading;
- rows: reading stops at the first row over ``Limits.max_rows``; a bad row counts as a row;
- one line: ``MAX_LINE_BYTES``. A line is parsed, and rendered under the chat template, as a whole, and the
  objects that Python makes of it take up to 60 bytes for each of its bytes. The bound is some sixteen times
  what fills a context of 4096 tokens, so it refuses only rows of which nearly everything would be cut off;
- brackets: ``MAX_DEPTH``, counted before parsing, so the parser's recursion never goes deeper;
- numbers: none is legal in a row, so none is ever converted.
"""

import re
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import accumulate
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Literal, NoReturn

from flockoff.competition import Limits
from flockoff.errors import MinerFault, Reason, SetupError
from flockoff.files import remedy_for
from flockoff.records import Row, RowProblem, Turn
from flockoff.text import printable

MAX_LINE_BYTES = 256 * 1024
MAX_DEPTH = 16  # a legal row needs 3; more allows a better error message
MAX_DETAIL = 200  # characters

_BLOCK_BYTES = 256 * 1024
_JSON_SPACE = b" \t\r"
_ROW_KEYS = ("system", "conversations")
_TURN_KEYS = ("role", "content")
_FOREIGN_FORMATS = (
    (b"\x1f\x8b", "gzip-compressed"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"\xfd7zXZ", "xz-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)

# The possessive loop, and allowing a string to end at the line's end, keep this linear on any input.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_STEP = tuple(1 if code in b"[{" else -1 for code in range(256))
# What shows as nothing, by code point, so that all versions of Python agree: white space, control and
# format characters, Unicode's default ignorables (variation selectors, Hangul fillers, joiners, tags), the
# braille pattern without dots, the musical note head that is not drawn.
_INVISIBLE = (
    *("\1- ", "\x7f-\xa0", "\xad", "\u034f", "\u0600-\u0605", "\u061c", "\u06dd", "\u070f", "\u0890-\u0891"),
    *("\u08e2", "\u115f-\u1160", "\u1680", "\u17b4-\u17b5", "\u180b-\u180f", "\u2000-\u200f"),
    *("\u2028-\u202f", "\u205f-\u206f", "\u2800", "\u3000", "\u3164", "\ufe00-\ufe0f", "\ufeff", "\uffa0"),
    *("\ufff0-\ufffb", "\U000110bd", "\U000110cd", "\U00013430-\U0001343f", "\U0001bca0-\U0001bca3"),
    *("\U0001d159", "\U0001d173-\U0001d17a", "\U000e0000-\U000e0fff"),
)
_VISIBLE = re.compile(f"[^{''.join(_INVISIBLE)}]")
_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


class _Rejected(Exception):
    """Why a line, or the whole file, is not accepted. Never leaves this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def at(self, line: int) -> RowProblem:
        return RowProblem(line, self.reason, printable(self.detail, MAX_DETAIL))


def read_rows(
    path: Path, limits: Limits, special_tokens: frozenset[str]
) -> Iterator[tuple[int, Row | RowProblem]]:
    """Each row of the file, or its problem, with its 1-based line; 0 for the file as a whole.

    ``special_tokens``: those that no text may spell out. A problem of the whole file ends the reading: too
    large, not text, too many rows (at the first row too many), no rows.
    Raises SetupError where the file cannot be read.
    """
    forbidden = _any_of(special_tokens)
    rows = 0
    try:
        for number, line in _lines(_blocks(path, limits.max_bytes)):
            rows += 1
            if rows > limits.max_rows:
                detail = f"this is row {rows:,}; a dataset has at most {limits.max_rows:,}"
                yield number, RowProblem(number, Reason.TOO_MANY_ROWS, detail)
                return
            yield number, _row_or_problem(number, line, forbidden)
        if rows == 0:
            _reject(Reason.EMPTY, "the file has no rows")
    except _Rejected as rejected:
        yield 0, rejected.at(0)


def load_numbered_rows(path: Path, limits: Limits, special_tokens: frozenset[str]) -> list[tuple[int, Row]]:
    """All rows with their 1-based lines.

    Raises MinerFault for the first problem, and SetupError if the file cannot be read.
    """
    numbered: list[tuple[int, Row]] = []
    for number, row in read_rows(path, limits, special_tokens):
        if isinstance(row, RowProblem):
            raise MinerFault(row.reason, f"The dataset is not valid: {described(row)}.")
        numbered.append((number, row))
    return numbered


def load_rows(path: Path, limits: Limits, special_tokens: frozenset[str]) -> list[Row]:
    """All rows in the file's order. Raises as ``load_numbered_rows``."""
    return [row for _, row in load_numbered_rows(path, limits, special_tokens)]


def file_size(path: Path) -> int:
    """The file's size in bytes. Raises SetupError if it does not exist or is not a regular file."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise SetupError(
            f"Cannot read the dataset {path}: it is not a regular file.",
            remedy="Give the path of a JSONL file.",
        )
    return status.st_size


def described(problem: RowProblem) -> str:
    return f"line {problem.line}: {problem.detail}" if problem.line else problem.detail


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise _Rejected(reason, detail)


def _unreadable(path: Path, error: OSError) -> SetupError:
    return SetupError(
        f"Cannot read the dataset {path}: {error.strerror or error}.",
        remedy=remedy_for(error, path),
    )


# --- bytes to lines --------------------------------------------------------------------------------------


def _blocks(path: Path, max_bytes: int) -> Iterator[bytes]:
    """The file's bytes without a leading BOM. Rejects more than ``max_bytes``, even if the file grows."""
    size = file_size(path)
    if size > max_bytes:
        _reject(Reason.TOO_LARGE, f"the file has {size:,} bytes; a dataset has at most {max_bytes:,}")
    read = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                read += len(block)
                if read > max_bytes:
                    _reject(Reason.TOO_LARGE, f"the file has more than the {max_bytes:,} bytes of a dataset")
                if read == len(block):
                    _refuse_foreign_format(block)
                    block = block.removeprefix(BOM_UTF8)
                yield block
    except OSError as error:
        raise _unreadable(path, error) from error


def foreign_format(start: bytes) -> str | None:
    """What a file that begins so is ("gzip-compressed"); None if it may be UTF-8 text."""
    return next((name for magic, name in _FOREIGN_FORMATS if start.startswith(magic)), None)


def _refuse_foreign_format(start: bytes) -> None:
    if name := foreign_format(start):
        _reject(Reason.NOT_UTF8, f"the file is {name}; data.jsonl must be plain UTF-8 text")


def _lines(blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Non-blank lines without their ends, with 1-based numbers; None for one too long."""
    number = 0
    tail = b""  # of the last block: an incomplete line
    overlong = False  # that line was too long and already reported
    for block in blocks:
        lines = (tail + block).split(b"\n")
        tail = lines.pop()
        for line in lines:
            number += 1
            if overlong:
                overlong = False
            elif line.strip(_JSON_SPACE):
                yield number, line.removesuffix(b"\r") if len(line) <= MAX_LINE_BYTES else None
        if len(tail) > MAX_LINE_BYTES:
            if not overlong:
                yield number + 1, None
            overlong = True
        if overlong:
            tail = b""
    if tail.strip(_JSON_SPACE):
        yield number + 1, tail.removesuffix(b"\r")


# --- a line to a row -------------------------------------------------------------------------------------


def _row_or_problem(number: int, line: bytes | None, forbidden: re.Pattern[str] | None) -> Row | RowProblem:
    try:
        if line is None:
            _reject(
                Reason.TOO_LARGE,
                f"the line is longer than {MAX_LINE_BYTES:,} bytes, far more than a context holds",
            )
        row = _row(_parse(line))
        _check_texts(row, forbidden)
    except _Rejected as rejected:
        return rejected.at(number)
    return row


def _parse(line: bytes) -> object:
    """The JSON value of one line."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        _reject(
            Reason.NOT_UTF8,
            f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8: save the file as plain UTF-8",
        )
    if "\0" in text:
        _reject(
            Reason.FORBIDDEN_CHARACTER, f"the line has a NUL character at column {text.index(chr(0)) + 1}"
        )
    if _depth(line) > MAX_DEPTH:
        _reject(Reason.TOO_NESTED, f"brackets are nested deeper than {MAX_DEPTH}")
    try:
        return _DECODER.decode(text)
    except JSONDecodeError as error:
        _reject(Reason.NOT_JSON, f"not JSON: {error.msg} at column {error.colno}")


def _depth(line: bytes) -> int:
    """The nesting depth of brackets outside strings; a lower bound if the line is not JSON."""
    openings = line.count(b"[") + line.count(b"{")
    if openings <= MAX_DEPTH:
        return openings
    brackets = _STRING.sub(b"", line).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                _reject(Reason.DUPLICATE_KEY, f"the key '{printable(key, 40)}' appears twice in one object")
            seen.add(key)
    return found


def _not_finite(constant: str) -> NoReturn:
    _reject(Reason.NOT_FINITE, f"{constant} is not JSON")


# Numbers are illegal in a row, so their length is used instead: a million digits cost nothing.
_DECODER = JSONDecoder(object_pairs_hook=_object, parse_int=len, parse_float=len, parse_constant=_not_finite)


def _row(value: object) -> Row:
    if not isinstance(value, dict):
        _reject(Reason.NOT_AN_OBJECT, f"the line is {_kind(value)}; every line is one object")
    _check_keys(value, _ROW_KEYS, ("conversations",), 0)
    system = value.get("system")
    if not isinstance(system, str | None):
        _reject(Reason.WRONG_TYPE, f"'system' is {_kind(system)}; it must be a string or null")
    conversation = value["conversations"]
    if not isinstance(conversation, list):
        _reject(Reason.WRONG_TYPE, f"'conversations' is {_kind(conversation)}; it must be an array")
    if not conversation:
        _reject(Reason.NO_TURNS, "'conversations' is empty")
    turns = tuple(_turn(place, turn) for place, turn in enumerate(conversation, start=1))
    if turns[-1].role != "assistant":
        _reject(Reason.WRONG_ROLE, "the last turn is the user's; a conversation ends with 'assistant'")
    return Row(system, turns)


def _turn(place: int, value: object) -> Turn:
    if not isinstance(value, dict):
        _reject(Reason.NOT_AN_OBJECT, f"turn {place} is {_kind(value)}; every turn is an object")
    _check_keys(value, _TURN_KEYS, _TURN_KEYS, place)
    role, content = value["role"], value["content"]
    if not isinstance(role, str):
        _reject(Reason.WRONG_TYPE, f"the role of turn {place} is {_kind(role)}; it must be a string")
    expected: Literal["user", "assistant"] = "user" if place % 2 else "assistant"
    if role != expected:
        shown = printable(role, 40)
        _reject(Reason.WRONG_ROLE, f"the role of turn {place} is '{shown}'; it must be '{expected}'")
    if not isinstance(content, str):
        _reject(Reason.WRONG_TYPE, f"the content of turn {place} is {_kind(content)}; it must be a string")
    if not _VISIBLE.search(content):
        _reject(Reason.BLANK_CONTENT, f"the content of turn {place} is blank")
    return Turn(expected, content)


def _check_keys(
    value: dict[str, object], allowed: tuple[str, ...], needed: tuple[str, ...], place: int
) -> None:
    """``place``: the turn's; 0 for the row itself."""
    if tuple(value) == allowed:
        return
    where = f"turn {place}" if place else "the row"
    for key in value:
        if key not in allowed:
            names = " and ".join(f"'{name}'" for name in allowed)
            _reject(
                Reason.UNKNOWN_KEY, f"{where} has the key '{printable(key, 40)}'; only {names} are allowed"
            )
    for key in needed:
        if key not in value:
            _reject(Reason.MISSING_KEY, f"{where} has no '{key}'")


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return {str: "a string", int: "a number", list: "an array", dict: "an object"}[type(value)]


def _texts(row: Row) -> Iterator[tuple[int, str]]:
    """Each text with its turn's place; 0 for the system prompt."""
    if row.system:
        yield 0, row.system
    for place, turn in enumerate(row.turns, start=1):
        yield place, turn.content


def _check_texts(row: Row, forbidden: re.Pattern[str] | None) -> None:
    everything = "\n".join(text for _, text in _texts(row))
    if _UNENCODABLE.search(everything) or (forbidden and forbidden.search(everything)):
        for place, text in _texts(row):  # a match only across the join is in none of them
            _check_text(text, f"the content of turn {place}" if place else "'system'", forbidden)


def _check_text(text: str, where: str, forbidden: re.Pattern[str] | None) -> None:
    if found := _UNENCODABLE.search(text):
        name = "a NUL character" if found[0] == "\0" else f"the lone surrogate {printable(found[0], 6)}"
        _reject(Reason.FORBIDDEN_CHARACTER, f"{where} has {name}")
    if forbidden and (found := forbidden.search(text)):
        _reject(Reason.SPECIAL_TOKEN, f"{where} spells out the special token '{printable(found[0], 60)}'")


def _any_of(tokens: frozenset[str]) -> re.Pattern[str] | None:
    # Longest first, so that the message names the full token if one is a prefix of another.
    ordered = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
