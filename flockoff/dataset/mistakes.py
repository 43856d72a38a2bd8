"""Common mistakes in a dataset's file, by kind: many rows with one mistake give one message.

Needs no tokenizer, so it works immediately and offline.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from flockoff.competition import Limits
from flockoff.dataset.format import MAX_LINE_BYTES, read_rows
from flockoff.errors import Reason
from flockoff.records import RowProblem
from flockoff.text import counted

LINES_NAMED = 20

_LFS = b"version https://git-lfs.github.com/spec"
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)')
_TRAILING_COMMA = re.compile(r",\s*(?:[}\]]|\Z)")
_PYTHON = re.compile(r"\b(?:None|True|False)\b|'")
_ROLE_KEYS = {"from", "value"}
_CONVERT = "Convert it: flockoff convert FILE --out data.jsonl"
_SPREAD = (
    "JSON spread over several lines",
    "Write one object a line: jq -c '.[]' (of an array) or jq -c . (of objects)",
)
_NOT_JSON = frozenset({Reason.NOT_JSON, Reason.NOT_AN_OBJECT})


@dataclass(frozen=True, slots=True)
class Mistake:
    """One kind of mistake. ``lines``: the first rows with it, 1-based; empty for the file as a whole."""

    what: str
    remedy: str
    count: int
    lines: tuple[int, ...]

    def __str__(self) -> str:
        named = ", ".join(str(line) for line in self.lines)
        more = " …" if self.count > len(self.lines) else ""
        where = "file" if not self.lines else f"line {named}"
        if self.count > 1:
            where = f"{self.count:,} rows (lines {named}{more})"
        return f"{where}: {self.what}. {self.remedy}".rstrip()


@dataclass(frozen=True, slots=True)
class FormatCheck:
    """``problems``: all of them, in the file's order."""

    rows: int
    problems: tuple[RowProblem, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def count(self) -> str:
        """Such as "2 problems in 5 rows"; a file that is no text has no rows."""
        problems = counted(len(self.problems), "problem")
        return f"{problems} in {counted(self.rows, 'row')}" if self.rows else problems


def check_format(path: Path, limits: Limits) -> FormatCheck:
    """All problems of the file that need no tokenizer to find, so not special tokens. Raises SetupError as
    ``read_rows``; time and memory are bounded likewise.
    """
    rows, problems = 0, []
    for line, found in read_rows(path, limits, frozenset()):
        rows += line > 0
        if isinstance(found, RowProblem):
            problems.append(found)
    return FormatCheck(rows, tuple(problems), tuple(_grouped(path, problems)))


def _grouped(path: Path, problems: list[RowProblem]) -> Iterator[Mistake]:
    groups: dict[tuple[str, str], list[int]] = {}
    whole: tuple[str, str] | None = None
    for problem, raw in _with_text(path, problems):
        if problem.line == 1:
            whole = _of_all_lines(raw)
        known = whole if problem.reason in _NOT_JSON else None
        key = known or _named(raw, problem) or (f"{problem.reason}: {problem.detail}", "")
        groups.setdefault(key, []).append(problem.line)
    for (what, remedy), lines in groups.items():
        yield Mistake(what, remedy, len(lines), tuple(islice((line for line in lines if line), LINES_NAMED)))


def _with_text(path: Path, problems: list[RowProblem]) -> Iterator[tuple[RowProblem, bytes]]:
    """Each problem with the start of its line, or of the file if it is about the whole file."""
    with path.open("rb") as file:
        start = file.read(MAX_LINE_BYTES)
        file.seek(0)
        number, raw = 0, start
        for problem in problems:
            while number < problem.line:
                raw = file.readline(MAX_LINE_BYTES)
                rest = raw
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES)
                number += 1
            yield problem, raw


def _named(raw: bytes, problem: RowProblem) -> tuple[str, str] | None:
    """The mistake and its remedy; None for an unknown kind."""
    for recognise in (_of_the_file, _of_the_text, _of_the_shape):
        if found := recognise(raw, problem):
            return found
    return None


def _of_all_lines(first: bytes) -> tuple[str, str] | None:
    """What is wrong with every line of a file that begins with this one, whatever each looks like."""
    start = first.removeprefix(BOM_UTF8).lstrip()
    if start.startswith(_LFS):
        return "a git-LFS pointer, not the data itself", "Fetch the data: git lfs pull"
    return _SPREAD if start.rstrip() in (b"[", b"{") else None


def _of_the_file(raw: bytes, problem: RowProblem) -> tuple[str, str] | None:
    start = raw.removeprefix(BOM_UTF8).lstrip()
    if problem.reason in _NOT_JSON and problem.line and start.rstrip() in (b"[", b"{", b"}", b"]", b"},"):
        return _SPREAD
    if problem.reason is Reason.NOT_AN_OBJECT and start.startswith(b"["):
        return "a JSON array", "Write one object a line: jq -c '.[]'"
    if problem.line > 1 and raw.startswith(BOM_UTF8):
        return (
            "a byte order mark inside the file, as when files were joined",
            "Remove it: sed 's/\\xEF\\xBB\\xBF//'",
        )
    return None


def _of_the_text(raw: bytes, problem: RowProblem) -> tuple[str, str] | None:
    if problem.reason is not Reason.NOT_JSON:
        return None
    bare = _STRINGS.sub('""', raw.decode("utf-8", "replace")).strip()
    if "\u00a0" in bare:
        return "a no-break space outside the strings", "Replace it with a space, or remove it."
    if bare.endswith(",") or _TRAILING_COMMA.search(bare):
        return "an extra comma, before a closing bracket or at the line's end", "Remove it."
    if _PYTHON.search(bare):
        return "Python's notation, not JSON", "Write the rows with json.dumps, not with str or print."
    return None


def _of_the_shape(raw: bytes, problem: RowProblem) -> tuple[str, str] | None:
    try:
        value = json.loads(raw.removeprefix(BOM_UTF8), parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    for what, remedy, fits in _SHAPES:
        if fits(value):
            return what, remedy
    roles = [turn.get("role") for turn in _turns(value) if isinstance(turn, dict)]
    if any(isinstance(role, str) and not role.isascii() for role in roles):
        return (
            "a role with a letter that only looks like one of 'user' or 'assistant'",
            "Retype the role in Latin letters.",
        )
    if "system" in roles:
        return "a turn of the role 'system'", "Its text belongs in the row's own key 'system'."
    if problem.reason is Reason.UNKNOWN_KEY:
        extra = sorted(set(value) - {"system", "conversations"})
        if extra:
            names = ", ".join(f"'{name[:40]}'" for name in extra[:8])
            return (
                f"keys that are not allowed in a row: {names}",
                "Remove them: only 'system' and 'conversations'.",
            )
    return None


def _turns(value: dict[str, Any]) -> list[Any]:
    turns = value.get("conversations")
    return turns if isinstance(turns, list) else []


def _share_gpt(value: dict[str, Any]) -> bool:
    turns = _turns(value)
    return bool(turns) and all(isinstance(turn, dict) and turn.keys() & _ROLE_KEYS for turn in turns)


_SHAPES: tuple[tuple[str, str, Callable[[dict[str, Any]], bool]], ...] = (
    (
        "OpenAI's `messages` format",
        _CONVERT,
        lambda value: isinstance(value.get("messages"), list),
    ),
    (
        "ShareGPT's format",
        _CONVERT,
        _share_gpt,
    ),
    (
        "Alpaca's format",
        _CONVERT,
        lambda value: {"instruction", "output"} <= value.keys(),
    ),
    (
        "prompt and completion",
        _CONVERT,
        lambda value: {"prompt", "completion"} <= value.keys(),
    ),
)
