"""How a program of this project starts and ends: one clear message and the right exit status."""

import importlib.util
import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from flockoff.errors import FlockoffError, Interrupted, SetupError

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C
BUG = 70  # EX_SOFTWARE of sysexits.h

_REPORT = "please report it at https://github.com/FLock-io/FLock-subnet/issues with the lines below"
_ECHO_SECONDS = 0.5


def require_installed(*modules: str, extra: str | None = None) -> None:
    """Raise SetupError for a module that a lean installation leaves out, without importing any.

    ``extra``: of this project, which brings the modules; None where a full installation has them.
    """
    command = "uv sync" if extra is None else f"uv sync --extra {extra}"
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"This needs {module}, which is not installed.", remedy=f"Run: {command}")


def run(program: Callable[[threading.Event], int]) -> int:
    """Run ``program`` and return its exit status; a FlockoffError becomes one logged line, not a traceback.

    ``program`` gets an event that SIGTERM, Ctrl-C or the closing of its terminal sets; under nohup the latter
    is ignored. A second SIGTERM or Ctrl-C interrupts it where it is, a third one ends the process without
    any more ado. An exception of any other kind is a bug: it is logged with its traceback, status 70.
    """
    stop = threading.Event()
    _heed_signals(stop)
    threading.excepthook = _log_end_of_thread
    try:
        return program(stop)
    except FlockoffError as error:
        log.error("%s", error)
        return error.exit_status
    except (Interrupted, KeyboardInterrupt):
        log.warning("Stopped on request. Start it again to go on.")
        return INTERRUPTED
    except Exception:
        log.critical(
            "This is a bug: %s. Nothing that was stored is lost: started again, it goes on from there.",
            _REPORT,
            exc_info=True,
        )
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
