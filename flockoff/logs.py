"""Logging of the neurons: the standard library's, set up once by the process that owns the terminal."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

TRACE = 5  # below DEBUG: every request and every optimizer step

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_FILE_BYTES = 10 * 1024 * 1024
_FILES_KEPT = 5


def set_up_logging(level: int, directory: Path | None, name: str) -> None:
    """Log this package's events to stderr and, with ``directory``, to rotated files ``name.log`` in it.

    Other libraries' warnings are shown too; their chatter is not.
    """
    logging.addLevelName(TRACE, "TRACE")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                directory / f"{name}.log", maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8"
            )
        )
    logging.basicConfig(level=logging.WARNING, format=_FORMAT, handlers=handlers, force=True)
    logging.getLogger("flockoff").setLevel(level)
