"""The neurons' own code in a process that is forked from one where everything is imported already.

Between the neurons and their adapters stand proxies that number every call; the validator's model is a
stand-in. Everything else is the product as it is.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from flockoff import assemble, openers
from flockoff.dataset import EvaluationAnswers
from flockoff.hub.datasets import DatasetCache
from flockoff.ledger import Ledger
from neurons import miner, validator
from tests.support.arena import EVALUATION_ROWS
from tests.support.crash_steps import Steps, Watched, notes_in, steps_in
from tests.support.forked import TIMEOUT_SECONDS, redirect_output, start_forked
from tests.support.stand_in import StandInEvaluator
from tests.support.toy_encoder import CharacterEncoder


@dataclass(frozen=True)
class Job:
    """A neuron to run, and the steps at which it sends itself ``number`` (a signal)."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    journal: Path
    fatal: frozenset[str] = frozenset()
    number: int = signal.SIGKILL
    losses: Mapping[str, float] = field(default_factory=dict)  # the validator's: by content hash


@dataclass(frozen=True)
class Run:
    """How a run ended: ``status`` is negative for a signal. ``seconds``: from the signal that it sent itself
    to its end, nan where it sent none.
    """

    status: int
    steps: list[str]
    evaluated: list[str]  # content hashes, in order
    said: str
    seconds: float


def run_miner(job: Job, started: Callable[[int], None] = lambda _: None) -> Run:
    return _run(_mine, job, started)


def run_validator(job: Job, started: Callable[[int], None] = lambda _: None) -> Run:
    return _run(_validate, job, started)


def _run(role: Callable[[Job], None], job: Job, started: Callable[[int], None]) -> Run:
    """Run ``role`` to its end, whatever that is. ``started`` is told its process id."""
    process = start_forked(role, job)
    assert process.pid is not None
    started(process.pid)
    process.join(TIMEOUT_SECONDS)
    ended = time.monotonic()
    late = process.exitcode is None
    if late:
        process.kill()
        process.join()
    said = _output(job).read_text(encoding="utf-8")
    assert not late, f"still running after {TIMEOUT_SECONDS} s:\n{said}"
    assert process.exitcode is not None
    status = process.exitcode
    process.close()
    asked = [float(seconds) for seconds in notes_in(job.journal, "asked")]
    return Run(
        status,
        steps_in(job.journal),
        notes_in(job.journal, "evaluated"),
        said,
        ended - asked[-1] if asked else math.nan,
    )


@cache
def evaluation_answers() -> EvaluationAnswers:
    """Made once, by the process that forks the roles."""
    return EvaluationAnswers(EVALUATION_ROWS)


def _output(job: Job) -> Path:
    return job.journal.with_suffix(".log")


# --- in the child ----------------------------------------------------------------------------------------


def _mine(job: Job) -> None:
    with _prepared(job) as steps, ExitStack() as stack:
        _replace(stack, openers, "open_hub", _watching("hub", openers.open_hub, steps))
        _replace(stack, openers, "open_subnet", _watching("chain", openers.open_subnet, steps))
        _replace(stack, openers, "open_encoder", lambda *_: CharacterEncoder(context_length=200))
        _replace(stack, openers, "answers_here", lambda *_: evaluation_answers())
        status = miner.main(job.argv)
    sys.exit(status)


def _validate(job: Job) -> None:
    with _prepared(job) as steps, ExitStack() as stack:

        def loss_of(content: str, _seed: int) -> float:
            steps.note(f"evaluated {content}")
            return job.losses[content]

        _replace(stack, assemble, "open_hub", _watching("hub", openers.open_hub, steps))
        _replace(stack, assemble, "open_subnet", _watching("chain", openers.open_subnet, steps))
        _replace(stack, assemble, "Ledger", _WatchedLedger(steps))
        _replace(stack, assemble, "DatasetCache", _watching("datasets", DatasetCache, steps))
        _replace(
            stack,
            assemble,
            "WorkerEvaluator",
            _watching("evaluator", lambda *_, **__: StandInEvaluator(loss_of), steps),
        )
        _replace(stack, assemble, "model_directory", lambda *_: Path())
        _replace(stack, assemble, "load_encoder", lambda *_: CharacterEncoder(context_length=200))
        _replace(stack, assemble, "open_answers", lambda *_: evaluation_answers())
        status = validator.main(job.argv)
    sys.exit(status)


def _replace(stack: ExitStack, room: ModuleType, name: str, replacement: object) -> None:
    stack.enter_context(patch.object(room, name, replacement))


def _watching(name: str, open_adapter: Callable[..., object], steps: Steps) -> Callable[..., Watched]:
    return lambda *arguments, **options: Watched(name, open_adapter(*arguments, **options), steps)


class _WatchedLedger:
    """Opens the real ledger; a step before that, and one after."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def open(self, path: Path, **identity: Any) -> Watched:
        log = path.with_name(f"{path.name}-wal")
        self._steps.reach("before ledger.open")
        ledger = Ledger.open(path, **identity)
        self._steps.reach("after writing ledger.open")
        return Watched("ledger", ledger, self._steps, lambda: log.stat().st_size if log.exists() else None)


@contextmanager
def _prepared(job: Job) -> Iterator[Steps]:
    redirect_output(_output(job))
    os.environ.update(job.environment)

    def act() -> None:
        steps.note(f"asked {time.monotonic()}")  # the clock of all processes
        os.kill(os.getpid(), job.number)

    steps = Steps(job.journal, job.fatal, act)
    yield steps
