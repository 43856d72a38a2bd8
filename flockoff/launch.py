"""How this project's programs start and end: one clear message and the right exit status."""

import atexit
import importlib.util
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from io import TextIOWrapper
from types import FrameType
from typing import TextIO

from flockoff.errors import FlockoffError, Interrupted, SetupError
from flockoff.files import OF_THE_MACHINE, remedy_for
from flockoff.logs import as_logged

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C
BUG = 70  # EX_SOFTWARE of sysexits.h
PIPE_CLOSED = 141  # the shell's convention for a program ended by SIGPIPE

_REPORT = "please report it at https://github.com/FLock-io/FLock-subnet/issues with the lines below"
_BUG = "This is a bug: %s. Nothing stored is lost: a restart continues from there."
_JSON_ASKED: ContextVar[bool] = ContextVar("json_asked", default=False)
_ECHO_SECONDS = 0.5


def require_installed(*modules: str, extra: str | None = None) -> None:
    """Raise SetupError for a module missing from a minimal installation, without importing any. ``extra``:
    this project's extra with the modules; None if a full installation has them.
    """
    command = "uv sync" if extra is None else f"uv sync --extra {extra}"
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"This needs {module}, which is not installed.", remedy=f"Run: {command}")


def lenient_output() -> None:
    """Let the standard streams take whatever is written: characters that the terminal's encoding lacks are
    escaped, and a stream that was closed before the start leads to the null device.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            # Left closed, its number would be that of the next file to be opened.
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    atexit.register(_give_up_stderr)


def _give_up_stderr() -> None:
    """Discard what a full disk or closed pipe keeps from stderr: else Python exits with status 120."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)


@contextmanager
def errors_as_json(asked: bool) -> Iterator[None]:
    """Within it ``tell_error`` prints, if ``asked``."""
    before = _JSON_ASKED.set(asked)
    try:
        yield
    finally:
        _JSON_ASKED.reset(before)


def tell_error(message: str, remedy: str = "") -> None:
    """Under ``--json``: the error, said on stderr before, as a line of JSON on stdout for who reads that.

    ``{"error": what happened, "remedy": what to do, or ""}``, printable and without secrets.
    """
    if not _JSON_ASKED.get():
        return
    try:
        content = {"error": as_logged(message), "remedy": as_logged(remedy)}
        sys.stdout.write(json.dumps(content) + "\n")
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)  # nobody reads it any more, or its disk is full; stderr has the error


def _discard(stream: TextIO) -> None:
    """Discard buffered output, which would fail once more when the process ends."""
    with suppress(OSError, ValueError):  # it may be closed already
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def output_may_fail() -> Iterator[None]:
    """For parsers that print help or install completion: a closed pipe, a full disk or an unusable file ends
    the process as in ``run``.
    """
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(PIPE_CLOSED)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = error.filename if error.filename is not None else "the output"
        _discard(sys.stdout)
        with suppress(OSError):
            sys.stderr.write(f"Cannot use {where}: {error.strerror}. {remedy_for(error, where)}\n")
        sys.exit(1)


def run(program: Callable[[threading.Event], int]) -> int:
    """Run ``program`` and return its exit status; a FlockoffError becomes one logged line, not a traceback.

    ``program`` gets an event that SIGTERM, Ctrl-C or a hangup sets; under nohup hangups are ignored. A second
    SIGTERM or Ctrl-C interrupts it immediately, a third kills the process. An unusable file is reported in
    one line with its remedy. Any other exception is a bug: it is logged with its traceback, status 70.
    """
    stop = threading.Event()
    _install_signal_handlers(stop)
    threading.excepthook = _log_end_of_thread
    try:
        status = program(stop)
        sys.stdout.flush()
        return status
    except FlockoffError as error:
        log.error("%s", error)
        tell_error(error.message, error.remedy)
        return error.exit_status
    except BrokenPipeError:
        _discard(sys.stdout)  # the reader, such as head, has closed the pipe
        return PIPE_CLOSED
    except (Interrupted, KeyboardInterrupt):
        log.warning("Stopped on request. Start it again to continue.")
        return INTERRUPTED
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            log.critical(_BUG, _REPORT, exc_info=True)
            return _bug(error)
        where = error.filename if error.filename is not None else "the output"
        log.debug("Where it failed:", exc_info=True)
        remedy = remedy_for(error, where)
        log.error("Cannot use %s: %s. %s", where, error.strerror, remedy)
        if error.filename is None:
            _discard(sys.stdout)
        tell_error(f"Cannot use {where}: {error.strerror}.", remedy)
        return 1
    except Exception as error:
        log.critical(_BUG, _REPORT, exc_info=True)
        return _bug(error)


def _bug(error: Exception) -> int:
    tell_error(f"This is a bug: {error!r}.", f"{_REPORT[0].upper()}{_REPORT[1:]} of stderr.")
    return BUG


def _install_signal_handlers(stop: threading.Event) -> None:
    asked = 0.0  # time.monotonic()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        now = time.monotonic()
        if not stop.is_set():
            asked = now
            stop.set()
        # A Ctrl-C reaches the whole process group, and a parent such as uv may forward it: signals in quick
        # succession are one request. A closing terminal may signal more than once, too.
        elif now - asked > _ECHO_SECONDS and number in (signal.SIGINT, signal.SIGTERM):
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, on_signal)


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    """Replaces ``threading.excepthook``, which would write the exception's raw text to the terminal."""
    name = end.thread.name if end.thread else "gone"
    error = end.exc_value or end.exc_type()
    log.error("A bug has ended thread %s: %s.", name, _REPORT, exc_info=error)
