"""How long a worker may take and how much memory it may have, before it is considered lost."""

import contextlib
from collections import deque
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import median

from flockoff.competition import Training
from flockoff.errors import EvaluationTooSlow
from flockoff.records import Progress
from flockoff.training.messages import WorkerFault

_GENEROSITY = 4.0  # times what a dataset is expected to take: the machine may be busy with other things
_STEP_GENEROSITY = 20.0  # the same of a single step, where nothing averages out
_SHORTEST = 300.0  # seconds that every dataset has, and every step
_REMEMBERED = 16  # measurements: older ones say little about the machine as it is
_RESERVE = 0.1  # of the memory, for this process and the system
_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # v2, v1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Times are in seconds. A worker that is beyond one of them is replaced."""

    dataset: float = 3600.0  # that one dataset may take at most
    loading: float = 1800.0  # of the base model, from a slow disk
    stalled: float = 1800.0  # without progress: one optimizer step never takes it
    frozen: float = 60.0  # without a sign of life
    memory: int | None = None  # bytes of resident memory; None: most of what this machine has

    @property
    def while_loading(self) -> "WorkerLimits":
        """Loading is one long step, and not part of any dataset's time."""
        return replace(self, dataset=inf, stalled=self.loading)


class AdaptiveLimits:
    """Limits that follow from what this machine's evaluations have taken so far."""

    def __init__(self, limits: WorkerLimits, training: Training) -> None:
        self._limits = limits
        self._step_tokens = training.rows_per_step * training.context_length
        self._passes = training.epochs
        self._evaluating: float | None = None  # seconds that the evaluation set takes
        self._per_token: deque[float] = deque(maxlen=_REMEMBERED)  # seconds of all passes together

    def note_base(self, seconds: float) -> None:
        """The base model was measured: that is evaluating without training."""
        self._evaluating = seconds

    def note(self, tokens: int, seconds: float) -> None:
        """A dataset of ``tokens`` tokens a pass was trained on and measured."""
        if self._evaluating is not None and tokens > 0:
            self._per_token.append(max(0.0, seconds - self._evaluating) / tokens)

    def limits(self, tokens: int) -> WorkerLimits:
        """The limits of a dataset of ``tokens`` tokens a pass; the general ones where nothing was measured.

        The dataset has four times the expected, which is the evaluation set's time plus the median of the
        training times a token; a step without progress has twenty times what one full of the longest rows
        is expected to take. Both have at least five minutes, and at most the general limit.
        """
        if self._evaluating is None or not self._per_token:
            return self._limits
        per_token = median(self._per_token)
        dataset = _GENEROSITY * (self._evaluating + tokens * per_token)
        step = _STEP_GENEROSITY * min(tokens, self._step_tokens) * per_token / self._passes
        return replace(
            self._limits,
            dataset=min(self._limits.dataset, max(_SHORTEST, dataset)),
            stalled=min(self._limits.stalled, max(_SHORTEST, step)),
        )


@dataclass(slots=True)
class Watch:
    """How long a worker has taken over what it was asked, counted in seconds spent listening to it.

    So the time in which the caller was busy, stopped (Ctrl-Z) or suspended is not held against the worker.
    """

    limits: WorkerLimits
    taken: float = 0.0
    still: float = 0.0  # since the last progress
    silent: float = 0.0  # since the last sign of life
    progress: Progress | None = None

    def listened(self, seconds: float) -> None:
        self.taken += seconds
        self.still += seconds
        self.silent += seconds

    def heard(self, progress: Progress | None) -> None:
        """A sign of life, which is progress where there is any."""
        self.silent = 0.0
        if progress is not None:
            self.still, self.progress = 0.0, progress

    def check(self) -> None:
        """Raises WorkerFault for a worker that is frozen or stuck, EvaluationTooSlow for one that goes on."""
        if self.silent > self.limits.frozen:
            raise self._hung("gave no sign of life", self.silent)
        if self.still > self.limits.stalled:
            raise self._hung("made no progress", self.still)
        if self.taken > self.limits.dataset:
            raise EvaluationTooSlow(
                f"The evaluation was stopped after {self.taken:.0f} s{self._how_far()}.",
                remedy="If that is too early for this machine, give more with --max_seconds_per_miner.",
            )

    def _hung(self, what: str, seconds: float) -> WorkerFault:
        return WorkerFault("hung", f"The evaluation worker {what} for {seconds:.0f} s{self._how_far()}.")

    def _how_far(self) -> str:
        at = self.progress
        return "" if at is None else f", at {at.phase} {at.done} of {at.total}"


def machine_memory_limit() -> int:
    """Bytes that a worker may take on this machine: nine tenths of it, or of the container's limit."""
    import psutil

    total = int(psutil.virtual_memory().total)
    return int((1 - _RESERVE) * min(total, _container_limit() or total))


def _container_limit() -> int | None:
    """Of Linux's control groups; None where there is no limit (version 1 then has a huge number)."""
    for file in _CONTROL_GROUPS:
        with contextlib.suppress(OSError):
            text = Path(file).read_text(encoding="ascii").strip()
            return int(text) if text.isdecimal() else None
    return None
