"""Runs the neurons as a person would: as separate processes, whose output is followed line by line."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from flockoff.errors import Interrupted
from flockoff.flags import PROJECT_ROOT
from flockoff.logs import Entry, read_entry

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 15.0  # after SIGTERM, before SIGKILL


class Program:
    """One neuron that logs JSON, to ``log_file``. Leaving the context ends the process."""

    def __init__(self, arguments: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> None:
        self.name = arguments[0]
        self._log_file = log_file
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments, "--logging.json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=PROJECT_ROOT,
            )

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def follow(self, on_entry: Callable[[Entry], None], stop: threading.Event) -> int:
        """Pass every line of the log to ``on_entry`` as it arrives; returns the exit status.

        Raises Interrupted once ``stop`` is set.
        """
        with self._log_file.open(encoding="utf-8", errors="replace") as output:
            begun = ""
            while True:
                ended = self._process.poll() is not None
                *lines, begun = (begun + output.read()).split("\n")
                for line in lines:
                    on_entry(read_entry(line))
                if ended:
                    return self._process.returncode
                if stop.wait(_LOOK_SECONDS):
                    raise Interrupted

    def last_lines(self, count: int) -> list[str]:
        """The last messages, and their tracebacks."""
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        entries = [read_entry(line) for line in lines]
        said = [part for entry in entries for part in (entry.message, *entry.traceback.splitlines())]
        return said[-count:]
