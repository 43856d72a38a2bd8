"""Numbered steps of a program, and proxies that have it die at one of them."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flockoff.records import Evaluation


class Steps:
    """Notes every step in a journal, and acts at those that are ``fatal``.

    A step is named by what it is and how often it was reached: ``before hub.upload #1``. The journal has it
    before anything is done about it, so it outlives the program. To be used from any thread.
    """

    def __init__(self, journal: Path, fatal: Collection[str], act: Callable[[], None]) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._fatal = frozenset(fatal)
        self._act = act
        self._reached: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, step: str) -> bool:
        """Whether the step was a fatal one; then it has been acted on."""
        with self._lock:
            self._reached[step] += 1
            numbered = f"{step} #{self._reached[step]}"
            self.note(numbered)
        if numbered in self._fatal:
            self._act()
            return True
        return False

    def note(self, line: str) -> None:
        os.write(self._journal, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._journal)


class Watched:
    """An adapter whose every public method has a step before it and one after it, also if it raises.

    A step that is given an evaluation says so. Where ``size`` has changed meanwhile, the step after it is
    ``after writing NAME.METHOD``.
    """

    def __init__(
        self, name: str, target: Any, steps: Steps, size: Callable[[], int | None] = lambda: None
    ) -> None:
        self._name = name
        self._target = target
        self._steps = steps
        self._size = size

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._target, attribute)
        if attribute.startswith("_") or not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            stores_one = any(isinstance(argument, Evaluation) for argument in arguments)
            step = f"{self._name}.{attribute}" + (".evaluation" if stores_one else "")
            self._steps.reach(f"before {step}")
            size = self._size()
            try:
                return value(*arguments, **options)
            finally:
                self._steps.reach(f"after {step}" if self._size() == size else f"after writing {step}")

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def steps_in(journal: Path) -> list[str]:
    """The steps of a journal, in the order in which they were reached."""
    lines = journal.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(("before ", "after "))]


def notes_in(journal: Path, kind: str) -> list[str]:
    """What a journal notes of a kind, such as ``evaluated``."""
    lines = journal.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"{kind} ") for line in lines if line.startswith(f"{kind} ")]
