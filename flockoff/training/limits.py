"""Time and memory limits, beyond which a worker is replaced."""

import contextlib
from collections import deque
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import median

import psutil

from flockoff.competition import Training
from flockoff.errors import EvaluationTooSlow
from flockoff.records import Progress
from flockoff.training.messages import WorkerFault

_GENEROSITY = 4.0  # times a dataset's expected time: the machine may be busy with other things
_STEP_GENEROSITY = 20.0  # the same for a single step, which varies more
_SHORTEST = 300.0  # seconds: the least that any dataset or step gets
_REMEMBERED = 16  # measurements: older ones say little about the machine now
_RESERVE = 0.1  # of the memory, for this process and the system
_CONTROL_GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # v2, v1


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Times are in seconds. A worker that exceeds a limit is replaced."""

    dataset: float = 3600.0  # the most for one dataset
    loading: float = 1800.0  # of the base model, from a slow disk
    stalled: float = 1800.0  # without progress: more than any optimizer step takes
    frozen: float = 60.0  # without a sign of life
    memory: int | None = None  # bytes of resident memory; None: most of what this machine has

    @property
    def while_loading(self) -> "WorkerLimits":
        """Loading counts as one long step, not as part of a dataset's time."""
        return replace(self, dataset=inf, stalled=self.loading)


class AdaptiveLimits:
    """Limits derived from this machine's evaluations so far."""

    def __init__(self, limits: WorkerLimits, training: Training) -> None:
        self._limits = limits
        self._step_tokens = training.rows_per_step * training.context_length
        self._passes = training.epochs
        self._evaluating: float | None = None  # seconds for the evaluation set
        self._per_token: deque[float] = deque(maxlen=_REMEMBERED)  # seconds, all passes together

    def note_base(self, seconds: float) -> None:
        """Record the base model's measurement: evaluation without training."""
        self._evaluating = seconds

    def note(self, tokens: int, seconds: float) -> None:
        """Record the evaluation of a dataset of ``tokens`` tokens per pass."""
        if self._evaluating is not None and tokens > 0:
            self._per_token.append(max(0.0, seconds - self._evaluating) / tokens)

    def limits(self, tokens: int) -> WorkerLimits:
        """The limits for a dataset of ``tokens`` tokens per pass; the defaults where nothing was measured
        yet.

        A dataset gets four times its expected time: the evaluation set's plus the median training time per
        token. A step without progress gets twenty times the expected time of one full of the longest rows.
        Both get at least five minutes and at most the default.
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
    """How long a worker has taken over its request, in seconds spent listening to it.

    So time in which the caller was busy, stopped (Ctrl-Z) or suspended does not count against the worker.
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
        """Record a sign of life, with any progress."""
        self.silent = 0.0
        if progress is not None:
            self.still, self.progress = 0.0, progress

    def check(self) -> None:
        """Raises WorkerFault for a frozen or stuck worker, EvaluationTooSlow for one that still makes
        progress."""
        if self.silent > self.limits.frozen:
            raise self._hung("gave no sign of life", self.silent)
        if self.still > self.limits.stalled:
            raise self._hung("made no progress", self.still)
        if self.taken > self.limits.dataset:
            raise EvaluationTooSlow(
                f"The evaluation was stopped after {self.taken:.0f} s{self._how_far()}.",
                remedy="If this machine needs longer, raise --max_seconds_per_miner.",
            )

    def _hung(self, what: str, seconds: float) -> WorkerFault:
        return WorkerFault("hung", f"The evaluation worker {what} for {seconds:.0f} s{self._how_far()}.")

    def _how_far(self) -> str:
        at = self.progress
        return "" if at is None else f", at {at.phase} {at.done} of {at.total}"


def machine_memory_limit() -> int:
    """Bytes that a worker may take: nine tenths of this machine's memory, or of the container's limit."""
    total = int(psutil.virtual_memory().total)
    return int((1 - _RESERVE) * min(total, _container_limit() or total))


def _container_limit() -> int | None:
    """The Linux cgroup's limit; None where there is none (version 1 then reports a huge number)."""
    for file in _CONTROL_GROUPS:
        with contextlib.suppress(OSError):  # another version of cgroups, or another system
            text = Path(file).read_text(encoding="ascii").strip()
            return int(text) if text.isdecimal() else None
    return None
