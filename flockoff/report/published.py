"""What validators publish: the numbers inside their report's page, or those of ``flockoff report --json``.

Whoever runs the server says whatever he likes: it is read within bounds, and only what has the right type is
taken over.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flockoff.errors import FlockoffError, SetupError
from flockoff.fetching import fetched
from flockoff.files import content_within
from flockoff.text import printable, without_key

MAX_BYTES = 16 * 1024 * 1024  # 256 miners and 1,000 epochs take under 3 MB
_SECONDS = 30.0  # for all of it
_MINERS = 4096
_WORD_CHARACTERS = 40
_BEGIN = '<script type="application/json" id="data">'
_END = "</script>"


@dataclass(frozen=True, slots=True)
class PublishedMiner:
    """One miner by one validator. Words are printable."""

    epoch: int | None  # of its last turn
    standing: str
    reason: str | None
    loss: float | None
    score: float | None
    weight: float | None


@dataclass(frozen=True, slots=True)
class PublishedReport:
    """``problem``: why it could not be read; then everything else is empty. By hotkey: ``miners``."""

    source: str
    validator: str | None = None  # hotkey, as it says itself
    netuid: int | None = None
    epoch: int | None = None
    rules: str | None = None
    base: float | None = None
    made_at: float | None = None  # UTC seconds
    miners: Mapping[str, PublishedMiner] = field(default_factory=dict)
    problem: str | None = None


def read_report(source: str) -> PublishedReport:
    """The report at an address or in a file; any error becomes its ``problem``."""
    shown = _shown(source)
    try:
        text = _text(source)
        return _parsed(shown, _numbers(text))
    except FlockoffError as error:
        return PublishedReport(shown, problem=error.message)
    except (ValueError, RecursionError):
        return PublishedReport(shown, problem="It is neither a report's page nor its numbers as JSON.")


def _is_address(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _shown(source: str) -> str:
    """For a public page: only the host of an address."""
    if not _is_address(source):
        return printable(Path(source).name, 200)
    try:
        return printable(without_key(source), 200)
    except ValueError:
        return "an address that is none"


def _text(source: str) -> str:
    if _is_address(source):
        return fetched(source, max_bytes=MAX_BYTES, seconds=_SECONDS).decode("utf-8")
    try:
        content = content_within(Path(source), MAX_BYTES)
    except OSError as error:
        raise SetupError(f"It cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise SetupError(f"It is larger than {MAX_BYTES // 2**20} MiB.")
    return content.decode("utf-8")


def _numbers(text: str) -> dict[str, Any]:
    begin = text.find(_BEGIN)
    if begin >= 0:
        begin += len(_BEGIN)
        text = text[begin : text.index(_END, begin)]
    found = json.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("miners"), list):
        raise ValueError("not a report's numbers")
    return found


def _parsed(source: str, numbers: Mapping[str, Any]) -> PublishedReport:
    miners = {
        hotkey: _miner(each)
        for each in numbers["miners"][:_MINERS]
        if isinstance(each, dict) and (hotkey := _word(each.get("hotkey"), 64))
    }
    return PublishedReport(
        source=source,
        validator=_word(numbers.get("validator"), 64),
        netuid=_whole(numbers.get("netuid")),
        epoch=_whole(numbers.get("epoch")),
        rules=_word(numbers.get("rules"), 64),
        base=_number(numbers.get("base")),
        made_at=_number(numbers.get("madeAt")),
        miners=miners,
    )


def _miner(data: Mapping[str, Any]) -> PublishedMiner:
    turns = data.get("turns")
    turn = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], list) else []
    return PublishedMiner(
        epoch=_whole(turn[0]) if turn else None,
        standing=_word(data.get("standing"), _WORD_CHARACTERS) or "no_turn",
        reason=_word(turn[2], _WORD_CHARACTERS) if len(turn) > 2 else None,
        loss=_number(data.get("loss")),
        score=_number(data.get("score")),
        weight=_number(data.get("weight")),
    )


def _word(value: object, limit: int) -> str | None:
    return printable(value, limit) if isinstance(value, str) and value else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 and math.isfinite(value) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
