"""Logging of the neurons: the standard library's, set up once by the process that owns the terminal.

A line that begins with a time is one whole event, and nothing else is: what could start a line, colour a
terminal or move its cursor is escaped, and a traceback is set in behind bars. So no text from outside, of
which messages and exceptions are full, can pass for something that this program said.
"""

import logging
import sys
from collections.abc import Collection
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType

from flockoff.text import printable, without

TRACE = 5  # below DEBUG: every request and every optimizer step

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_BAR = "    | "
_LINE_CHARACTERS = 10_000  # the weights of 256 uids take half of it
_FILE_BYTES = 10 * 1024 * 1024
_FILES_KEPT = 5

_log = logging.getLogger(__name__)
_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def set_up_logging(
    level: int, directory: Path | None, name: str, secrets: Collection[str] = frozenset()
) -> None:
    """Log this package's events to stderr and, with ``directory``, to rotated files ``name.log`` in it.

    Other libraries' warnings are shown too; their chatter is not. ``secrets`` are hidden wherever they turn
    up. Where lines cannot be written (closed terminal, full disk) the program goes on without them.
    """
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # else a line that cannot be written is dumped, raw, on the terminal
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if directory is not None:
        handlers.append(_LogFile(directory / f"{name}.log"))
    formatter = _SafeFormatter(secrets)
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("flockoff").setLevel(level)


class _SafeFormatter(logging.Formatter):
    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__(_FORMAT)
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
