"""How a program of this project starts and ends: one clear message and the right exit status."""

import importlib.util
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from flockoff.errors import FlockoffError, Interrupted, SetupError

log = logging.getLogger(__name__)

INTERRUPTED = 130  # the shell's convention for a program ended by Ctrl-C


def require_installed(*modules: str) -> None:
    """Raise SetupError for a module that a lean installation leaves out, without importing any."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SetupError(f"This needs {module}, which is not installed.", remedy="Run: uv sync")


def run(program: Callable[[threading.Event], int]) -> int:
    """Run ``program`` and return its exit status; a FlockoffError becomes one logged line, not a traceback.

    ``program`` gets an event that SIGTERM or a first Ctrl-C sets; a second Ctrl-C interrupts at once.
    """
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        return program(stop)
    except FlockoffError as error:
        log.error("%s", error)
        return error.exit_status
    except (Interrupted, KeyboardInterrupt):
        log.warning("Stopped on request. Start it again to go on.")
        return INTERRUPTED
