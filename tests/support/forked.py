"""Programs of this project in processes that are forked from one where everything is imported already.

Such a process is the program as it is, with an environment, a stdin and an output of its own, but costs a
tenth of what starting Python and importing the SDK does. Whether the scripts start at all is for the tests
that start them.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest.mock import patch

from tests.support.warm_workers import forked_workers, started_workers

IMPORTED_ONCE = ["tests.support.imported_once"]
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a program ended and all that it said, on stdout and stderr."""

    status: int
    said: str


@dataclass(frozen=True)
class Program:
    """``main`` with ``arguments``; what it returns is the exit status. All has to be picklable.

    ``workers``: the address of who forks its evaluation workers, or None, and they are started.
    """

    main: Callable[[Sequence[str]], object]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    output: Path
    workers: str | None = None


def run_forked(
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    workers: str | None = None,
) -> Outcome:
    """Run a program to its end. ``environment`` is all that it has; ``workers`` as in ``Program``."""
    with tempfile.TemporaryDirectory(prefix="flockoff-forked-") as folder:
        output = Path(folder) / "output"
        process = start_forked(_run, Program(main, arguments, dict(environment), output, workers))
        process.join(TIMEOUT_SECONDS)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        said = output.read_text(encoding="utf-8")
        status = process.exitcode
        process.close()
        assert not late, f"still running after {TIMEOUT_SECONDS} s:\n{said}"
        assert status is not None
        return Outcome(status, said)


def start_forked(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start ``target`` in a forked process, which is killed with the tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    process = context.Process(target=target, args=arguments, daemon=True)
    # Python 3.11 tells the process that forks nothing of where to import from.
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        process.start()
    return process


def redirect_output(output: Path) -> None:
    """Have this process write to ``output`` what it says from now on, errors included."""
    for number in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)


def _run(program: Program) -> None:
    redirect_output(program.output)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.argv = ["program", *program.arguments]
    with started_workers() if program.workers is None else forked_workers(partial(str, program.workers)):
        sys.exit(program.main(program.arguments))  # type: ignore[arg-type]
