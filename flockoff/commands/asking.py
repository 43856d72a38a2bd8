"""Questions to whoever sits at the terminal."""

import getpass
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flockoff.errors import Fault, Interrupted, UsageError

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_UNREADABLE = "\ufffd"


def require_yes(question: str, *, default: bool, unasked: UsageError) -> None:
    """Ask on stderr; ``default``: whether an empty line means yes.

    Raises Fault for a no, ``unasked`` if stdin is no terminal, and Interrupted on Ctrl-C or Ctrl-D.
    """
    if not sys.stdin.isatty():
        raise unasked
    if not _answered(question, default=default):
        raise Fault("Nothing was changed.")


def _answered(question: str, *, default: bool) -> bool:
    while True:
        with _interruptible():
            _say(f"{question} {'[Y/n]' if default else '[y/N]'} ")
            line = sys.stdin.buffer.readline()
            if not line:
                raise EOFError
        answer = line.decode(errors="replace").strip().lower()
        if answer in ("y", "yes", "n", "no", ""):
            return answer.startswith("y") if answer else default
        _say("Answer y or n.\n")


def typed_secret(question: str) -> str:
    """What is typed at the terminal without echo, stripped of white space. Raises Interrupted as
    ``require_yes``.
    """
    with _interruptible():
        try:
            return getpass.getpass(f"{question}: ").strip()
        except UnicodeDecodeError:
            return _UNREADABLE


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within this a signal ends the wait at once; the handlers of ``launch.run`` only set an event."""
    heeded = [each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, signal.default_int_handler) for each in heeded}
    try:
        yield
    except (KeyboardInterrupt, EOFError):
        _say("\n")
        raise Interrupted("asked to stop") from None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
