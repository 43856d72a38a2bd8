"""The ``flockoff`` command and the neurons, run in this process."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

from typer.testing import CliRunner, Result

from flockoff.cli import app
from tests.support.forked import Outcome


@contextmanager
def typed_commands() -> Iterator[Callable[..., Result]]:
    """A function that runs a command by its arguments. Logging is as before when the context ends."""
    with _logging_kept():
        yield lambda *arguments: CliRunner().invoke(app, [*arguments])


def run_here(
    main: Callable[[Sequence[str]], object], arguments: Sequence[str], environment: Mapping[str, str]
) -> Outcome:
    """Run a program to its end as ``run_forked`` does, but in this process, which is as before then."""
    said = StringIO()
    with (
        _logging_kept(),
        _signals_kept(),
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", ["program", *arguments]),
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    assert isinstance(status, int | None), status
    return Outcome(status or 0, said.getvalue())


@contextmanager
def _logging_kept() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("flockoff")
    before = root.handlers[:], root.level, ours.level
    try:
        yield
    finally:
        root.handlers[:], root.level, ours.level = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """And what happens when a thread ends with an exception."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers, hook = [signal.getsignal(number) for number in numbers], threading.excepthook
    try:
        yield
    finally:
        threading.excepthook = hook
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
