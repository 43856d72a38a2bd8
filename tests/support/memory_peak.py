"""How much memory a process took at most, as its operating system counts it."""

from pathlib import Path

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """The peak of this process's resident memory since the making of this object; Linux only.

    ``above_start``: bytes above what was resident then; 0 where there is no /proc.
    """

    def __init__(self) -> None:
        self._start = 0
        if _STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
            self._start = _bytes("VmRSS")

    def above_start(self) -> int:
        return _bytes("VmHWM") - self._start if _STATUS.exists() else 0


def _bytes(field: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024
