"""How a program of this project starts and ends: one clear message and the right exit status."""

import errno
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from flockoff.errors import FlockoffError, Interrupted, SetupError

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C
BUG = 70  # EX_SOFTWARE of sysexits.h
PIPE_CLOSED = 141  # the shell's convention for a program ended by SIGPIPE

_REPORT = "please report it at https://github.com/FLock-io/FLock-subnet/issues with the lines below"
_BUG = "This is a bug: %s. Nothing that was stored is lost: started again, it goes on from there."
_ECHO_SECONDS = 0.5

_REMEDIES = {
    errno.EACCES: "Let this user read it, or run this as the user whose it is.",
    errno.EPERM: "Let this user use it, or run this as the user whose it is.",
    errno.ENOENT: "Check its name and that the folder is there.",
    errno.EISDIR: "Give a file; this is a folder.",
    errno.ENOTDIR: "Give a folder; a part of this path is a file.",
    errno.EROFS: "Its disk is mounted read-only: choose another place.",
    errno.ENOSPC: "The disk is full: free some space, or choose another place.",
    errno.EDQUOT: "Your quota on this disk is used up: free some space, or choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Its symbolic links lead in a circle.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.EIO: "The disk fails: look at the system's log.",
}
# What no line of this program can be to blame for; a file that is not there may be its own.
_OF_THE_MACHINE = frozenset(_REMEDIES) - {errno.ENOENT}


def require_installed(*modules: str, extra: str | None = None) -> None:
    """Raise SetupError for a module that a lean installation leaves out, without importing any.

    ``extra``: of this project, which brings the modules; None where a full installation has them.
    """
    command = "uv sync" if extra is None else f"uv sync --extra {extra}"
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"This needs {module}, which is not installed.", remedy=f"Run: {command}")


def remedy_for(error: OSError, path: object) -> str:
    """What to do about a file that cannot be used; names the users where it is another one's."""
    remedy = _REMEDIES.get(error.errno or 0, "Check it.")
    if error.errno not in (errno.EACCES, errno.EPERM) or not hasattr(os, "geteuid"):
        return remedy
    for place in (Path(str(path)), *Path(str(path)).parents):
        try:
            owner = place.stat().st_uid
        except OSError:
            continue
        wanted = os.R_OK | (os.X_OK if place.is_dir() else 0)
        if not os.access(place, wanted, effective_ids=os.access in os.supports_effective_ids):
            return f"{place} belongs to user {owner}, and this program runs as user {os.geteuid()}. {remedy}"
    return remedy


def lenient_output() -> None:
    """Let nothing that a program prints fail for what the terminal's encoding lacks: it is shown escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_stdout() -> None:
    """What is left to be written there would fail once more, at the very end of the process."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(program: Callable[[threading.Event], int]) -> int:
    """Run ``program`` and return its exit status; a FlockoffError becomes one logged line, not a traceback.

    ``program`` gets an event that SIGTERM, Ctrl-C or the closing of its terminal sets; under nohup the latter
    is ignored. A second SIGTERM or Ctrl-C interrupts it where it is, a third one ends the process without
    any more ado. A file that cannot be used, whichever it is, is said in one line with its remedy. An
    exception of any other kind is a bug: it is logged with its traceback, status 70.
    """
    stop = threading.Event()
    _heed_signals(stop)
    threading.excepthook = _log_end_of_thread
    try:
        status = program(stop)
        sys.stdout.flush()
        return status
    except FlockoffError as error:
        log.error("%s", error)
        return error.exit_status
    except BrokenPipeError:
        _give_up_stdout()  # whoever read this, such as head, has seen enough
        return PIPE_CLOSED
    except (Interrupted, KeyboardInterrupt):
        log.warning("Stopped on request. Start it again to go on.")
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            log.critical(_BUG, _REPORT, exc_info=True)
            return BUG
        where = error.filename if error.filename is not None else "what this program writes to"
        log.debug("Where it failed:", exc_info=True)
        log.error("Cannot use %s: %s. %s", where, error.strerror, remedy_for(error, where))
        _give_up_stdout()
        return 1
    except Exception:
        log.critical(_BUG, _REPORT, exc_info=True)
        return BUG


def _heed_signals(stop: threading.Event) -> None:
    asked = 0.0  # time.monotonic()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        now = time.monotonic()
        if not stop.is_set():
            asked = now
            stop.set()
        # A Ctrl-C reaches the whole process group, and whoever started this program, uv for one, may pass
        # it on: what comes at once is the same request. A terminal tells of its end more than once, too.
        elif now - asked > _ECHO_SECONDS and number in (signal.SIGINT, signal.SIGTERM):
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    hangup = getattr(signal, "SIGHUP", None)  # which Windows lacks
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, on_signal)


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    """As ``threading.excepthook``, which would write the text of the exception to the terminal as it is."""
    name = end.thread.name if end.thread else "gone"
    error = end.exc_value or end.exc_type()
    log.error("A bug has ended thread %s: %s.", name, _REPORT, exc_info=error)
