"""Programs of this project at a terminal, in forked processes: what is typed when they ask."""

import os
import pty
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait

from tests.support.forked import TIMEOUT_SECONDS, Outcome, start_forked

Answers = Sequence[tuple[str, str]]


def run_at_terminal(
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    answers: Answers,
) -> Outcome:
    """Run a program to its end. ``answers``: what to wait for, and what to type then, one after the other."""
    screen, terminal = pty.openpty()
    process = start_forked(_run, os.ttyname(terminal), main, arguments, dict(environment))
    said = ""
    try:
        for question, answer in answers:
            begin = len(said)
            while question not in said[begin:]:
                assert wait([screen, process.sentinel], TIMEOUT_SECONDS) == [screen], said
                said += os.read(screen, 65536).decode(errors="replace")
            os.write(screen, answer.encode())
        process.join(TIMEOUT_SECONDS)
        while wait([screen], 0):
            said += os.read(screen, 65536).decode(errors="replace")
        assert process.exitcode is not None, f"still running:\n{said}"
        return Outcome(process.exitcode, said)
    finally:
        process.kill()
        process.join()
        os.close(screen)
        os.close(terminal)


def _run(
    terminal: str,
    main: Callable[[Sequence[str]], object],
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    os.setsid()
    keyboard = os.open(terminal, os.O_RDWR)  # the first that a session opens is its own: Ctrl-C goes to it
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        os.dup2(keyboard, number)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["program", *arguments]
    sys.exit(main(arguments))  # type: ignore[arg-type]
