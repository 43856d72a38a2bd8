"""The neurons' logging: the standard library's, set up once by the process that owns the terminal.

A line that starts with a time is one event, and nothing else is: control characters are escaped, and
tracebacks are indented behind bars. So no text from outside, in messages or exceptions, can pass for a log
line.
"""

import json
import logging
import math
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TextIO

from flockoff.surroundings import proxy_secrets
from flockoff.text import printable, without

TRACE = 5  # below DEBUG: every request and every optimizer step

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_BAR = "    | "
_PLAIN = "message"  # the event of lines that have none
_LINE_CHARACTERS = 10_000  # 256 uids' weights take half of it
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

    Other libraries log from WARNING up. ``secrets`` are hidden wherever they appear. Where lines cannot be
    written (closed terminal, full disk) the program continues without them.
    ``as_json``: each event is one JSON object instead, for log collectors; see ``event``.
    """
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # else a line that cannot be written is dumped raw on the terminal
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
    """Log for an interactive command: messages on stderr are sentences, without a time."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter(secrets, "%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("flockoff").setLevel(level)


def as_logged(text: str) -> str:
    """``text`` as the log on the terminal would show it: printable, without the secrets."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    ours = next((each for each in formatters if isinstance(each, _SafeFormatter)), _SafeFormatter(()))
    return ours.safe(text)


def event(name: str, **fields: object) -> dict[str, object]:
    """``extra`` for a log call: the event's stable name and its fields, which JSON lines include."""
    return {"event": name, "fields": fields}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a JSON log, without its time, level and fields."""

    event: str  # "message" where it has no other name
    message: str
    traceback: str = ""


def read_entry(line: str) -> Entry:
    """Read a line of a JSON log. Any other line, from before logging is set up, is a message as it stands."""
    try:
        found = json.loads(line)
        return Entry(str(found["event"]), str(found["message"]), str(found.get("traceback", "")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return Entry(_PLAIN, line)


def _shows_colours(stream: TextIO | None) -> bool:
    """Whether it is a terminal with ANSI colours, and NO_COLOR is not set (https://no-color.org)."""
    return (
        stream is not None
        and stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


class _SafeFormatter(logging.Formatter):
    def __init__(self, secrets: Collection[str], form: str = _FORMAT) -> None:
        super().__init__(form)
        self._secrets = proxy_secrets() | frozenset(secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return self.safe(super().formatMessage(record))

    def formatException(self, ei: _ExceptionInfo) -> str:
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return self._indented(super().formatStack(stack_info))

    def safe(self, line: str) -> str:
        return printable(without(line, self._secrets), _LINE_CHARACTERS)

    def _indented(self, text: str) -> str:
        return "\n".join(_BAR + self.safe(line) for line in text.split("\n"))


class _ColourFormatter(_SafeFormatter):
    """The level in colour, and bold where somebody may have to act: not everyone sees red."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        colour = next((code for level, code in _COLOURS if record.levelno >= level), None)
        if colour is None:
            return line
        word = f"{record.levelname:<7}"
        return line.replace(word, f"\x1b[{colour}m{word}\x1b[0m", 1)


class _JsonFormatter(_SafeFormatter):
    """One object a line: ``time`` (UTC), ``level``, ``event``, ``message``, and the event's own fields.

    Printable ASCII only: everything else is escaped as in JSON.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", _PLAIN),
            "message": self._shown(record.getMessage()),
            "logger": record.name,
        }
        for name, value in getattr(record, "fields", {}).items():
            entry[name] = value if _is_plain(value) else self._shown(str(value))
        if record.exc_info:
            entry["traceback"] = without(
                logging.Formatter.formatException(self, record.exc_info), self._secrets
            )
        return json.dumps(entry)

    def _shown(self, text: str) -> str:
        return without(text[:_LINE_CHARACTERS], self._secrets)


def _is_plain(value: object) -> bool:
    """Whether JSON can represent it: it has no infinity and no NaN."""
    return isinstance(value, int | None) or (isinstance(value, float) and math.isfinite(value))


class _LogFile(RotatingFileHandler):
    """While the file cannot be opened or written, every line retries; only the first failure is logged."""

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
                "The log file %s cannot be written (%s). Until it can, lines go to the terminal only.",
                self.baseFilename,
                self._trouble,
            )

    def handleError(self, record: logging.LogRecord) -> None:
        self._trouble = sys.exc_info()[1]
