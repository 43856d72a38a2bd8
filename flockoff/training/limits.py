"""How long a worker may take and how much memory it may have, before it is taken for lost."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_GENEROSITY = 4.0  # times what was to be expected: a machine can be busy with other things
_SHORTEST = 300.0  # seconds that every dataset has
_REMEMBERED = 16  # measurements; what the machine was like long ago says little
_RESERVE = 0.1  # of the memory, for this process and the system


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """Times are in seconds. A worker that is beyond one of them is replaced."""

    dataset: float = 3600.0  # that one dataset may take at most
    loading: float = 1800.0  # of the base model, from a slow disk
    stalled: float = 1800.0  # without progress: one optimizer step never takes it
    frozen: float = 60.0  # without a sign of life
    memory: int | None = None  # bytes of resident memory; None: most of what this machine has


class Pace:
    """What this machine's evaluations took so far, and so what the next may take."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._evaluating: float | None = None  # seconds that the evaluation set takes
        self._per_token: deque[float] = deque(maxlen=_REMEMBERED)  # seconds of training

    def note_base(self, seconds: float) -> None:
        """The base model was measured: that is evaluating without training."""
        self._evaluating = seconds

    def note(self, tokens: int, seconds: float) -> None:
        """A dataset of ``tokens`` tokens a pass was trained on and measured."""
        if self._evaluating is not None and tokens > 0:
            self._per_token.append(max(0.0, seconds - self._evaluating) / tokens)

    def deadline(self, tokens: int) -> float:
        """Seconds that a dataset of ``tokens`` tokens a pass may take.

        Four times the expected, which is the evaluation set's time plus the median of the training times a
        token; at least five minutes, at most ``longest``, and that where nothing was measured yet.
        """
        if self._evaluating is None or not self._per_token:
            return self._longest
        expected = self._evaluating + tokens * median(self._per_token)
        return min(self._longest, max(_SHORTEST, _GENEROSITY * expected))


def machine_memory_limit() -> int:
    """Bytes that a worker may take on this machine: nine tenths of it, or of the container's limit."""
    import psutil

    total = int(psutil.virtual_memory().total)
    return int((1 - _RESERVE) * min(total, _container_limit() or total))


def _container_limit() -> int | None:
    """Linux control groups, version 2; None where there is no limit."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
