"""Logging of the neurons: the standard library's, set up once by the process that owns the terminal.

A line that begins with a time is one whole event, and nothing else is: what could start a line, colour a
terminal or move its cursor is escaped, and a traceback is set in behind bars. So no text from outside, of
which messages and exceptions are full, can pass for something that this program said.
"""

import json
import logging
import math
import os
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TextIO

from flockoff.text import printable, without

TRACE = 5  # below DEBUG: every request and every optimizer step

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_BAR = "    | "
_LINE_CHARACTERS = 10_000  # the weights of 256 uids take half of it
_COLOURS = ((logging.ERROR, "1;31"), (logging.WARNING, "33"), (logging.INFO, "32"))  # by least level
_FILE_BYTES = 10 * 1024 * 1024
_FILES_KEPT = 5

_log = logging.getLogger(__name__)
_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def set_up_logging(
    level: int,
    directory: Path | None,
    name: str,
    secrets: Collection[str] = frozenset(),
    *,
    as_json: bool = False,
) -> None:
    """Log this package's events to stderr and, with ``directory``, to rotated files ``name.log`` in it.

    Other libraries' warnings are shown too; their chatter is not. ``secrets`` are hidden wherever they turn
    up. Where lines cannot be written (closed terminal, full disk) the program goes on without them.
    ``as_json``: each event is one JSON object instead, for log collectors; see ``event``.
    """
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # else a line that cannot be written is dumped, raw, on the terminal
    terminal, plain = logging.StreamHandler(sys.stderr), _SafeFormatter(secrets)
    handlers: list[logging.Handler] = [terminal]
    if directory is not None:
        handlers.append(_LogFile(directory / f"{name}.log"))
    for handler in handlers:
        handler.setFormatter(_JsonFormatter(secrets) if as_json else plain)
    if not as_json and _shows_colours(sys.stderr):
        terminal.setFormatter(_ColourFormatter(secrets))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("flockoff").setLevel(level)


def say_on_stderr(secrets: Collection[str] = frozenset(), *, level: int = logging.WARNING) -> None:
    """Log for a command that somebody has just typed: a message on stderr is a sentence, without a time."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter(secrets, "%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("flockoff").setLevel(level)


def event(name: str, **fields: object) -> dict[str, object]:
    """``extra`` for a line's logger: the event's name, which stays the same, and what it is about.

    A line for people says these in its words; a line of JSON has them as ``event`` and by their own names.
    """
    return {"event": name, "fields": fields}


def _shows_colours(stream: TextIO | None) -> bool:
    """Whether it is a terminal that knows ANSI's sequences, and nobody objects (https://no-color.org)."""
    return (
        stream is not None
        and stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


class _SafeFormatter(logging.Formatter):
    def __init__(self, secrets: Collection[str], form: str = _FORMAT) -> None:
        super().__init__(form)
        self._secrets = frozenset(secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return self._safe(super().formatMessage(record))

    def formatException(self, ei: _ExceptionInfo) -> str:
        return self._set_in(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return self._set_in(super().formatStack(stack_info))

    def _safe(self, line: str) -> str:
        return printable(without(line, self._secrets), _LINE_CHARACTERS)

    def _set_in(self, text: str) -> str:
        return "\n".join(_BAR + self._safe(line) for line in text.split("\n"))


class _ColourFormatter(_SafeFormatter):
    """The level in colour. Bold as well where somebody may have to act: not everyone sees the red."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        colour = next((code for level, code in _COLOURS if record.levelno >= level), None)
        if colour is None:
            return line
        word = f"{record.levelname:<7}"
        return line.replace(word, f"\x1b[{colour}m{word}\x1b[0m", 1)


class _JsonFormatter(_SafeFormatter):
    """One object a line: ``time`` (UTC), ``level``, ``event``, ``message``, and the event's own fields.

    Nothing but printable ASCII: whatever else a text holds is escaped as JSON has it.
    """

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "message": self._shown(record.getMessage()),
            "logger": record.name,
        }
        for name, value in getattr(record, "fields", {}).items():
            told[name] = value if _is_plain(value) else self._shown(str(value))
        if record.exc_info:
            told["traceback"] = without(
                logging.Formatter.formatException(self, record.exc_info), self._secrets
            )
        return json.dumps(told)

    def _shown(self, text: str) -> str:
        return without(text[:_LINE_CHARACTERS], self._secrets)


def _is_plain(value: object) -> bool:
    """Whether JSON has it as it is: it knows no infinity, nor what is not a number."""
    return isinstance(value, int | None) or (isinstance(value, float) and math.isfinite(value))


class _LogFile(RotatingFileHandler):
    """While the file cannot be opened or written, each line tries anew; the first one to fail is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8", delay=True)
        self._trouble: BaseException | None = None

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        before, self._trouble = self._trouble, None
        super().emit(record)
        if self._trouble is not None and before is None:
            _log.error(
                "The log file %s cannot be written (%s). Lines go to the terminal alone until it can be.",
                self.baseFilename,
                self._trouble,
            )

    def handleError(self, record: logging.LogRecord) -> None:
        self._trouble = sys.exc_info()[1]
