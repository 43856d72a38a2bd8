"""The ``flockoff`` command, run in this process."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from typer.testing import CliRunner, Result

from flockoff.cli import app


@contextmanager
def typed_commands() -> Iterator[Callable[..., Result]]:
    """A function that runs a command by its arguments. Logging is as before when the context ends."""
    root, ours = logging.getLogger(), logging.getLogger("flockoff")
    before = root.handlers[:], root.level, ours.level
    yield lambda *arguments: CliRunner().invoke(app, [*arguments])
    root.handlers[:], root.level, ours.level = before
