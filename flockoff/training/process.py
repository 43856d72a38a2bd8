"""The parent's side of a worker process: lines in, replies out, stderr to a log."""

import contextlib
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from flockoff.text import printable
from flockoff.training.environment import current_environment
from flockoff.training.messages import WorkerFault

log = logging.getLogger(__name__)

_GRACE_SECONDS = 4.0
_TAIL_BYTES = 4096
_LAST_WORDS = 300  # characters
_LAST_LINES = 12
_SCRATCH_VARIABLES = ("TMPDIR", "TEMP", "TMP", "HF_HOME")
_SIGKILL = 9  # Windows has no name for it


class WorkerProcess:
    """``python -m MODULE ARGUMENTS`` with pipes for lines; its stderr goes to ``log_file``, or to a nameless
    file.

    The worker's environment is ``current_environment``, with its own temporary folder, which also replaces
    the user's Hugging Face folder, as that holds a token. ``close`` takes at most ten seconds and leaves no
    process, thread, pipe or file. Raises OSError where no process or file can be created.
    """

    def __init__(
        self, module: str, *arguments: str, device: str | None = None, log_file: Path | None = None
    ) -> None:
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context(_open_log(log_file))
            self._log_start = self._log.seek(0, os.SEEK_END)
            scratch = tempfile.TemporaryDirectory(prefix="flockoff-worker-", ignore_cleanup_errors=True)
            self._process = self._popen([module, *arguments], device, stack.enter_context(scratch))
            self._files = stack.pop_all()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="evaluation-worker-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, line: str) -> None:
        """Raises WorkerFault if the worker is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self.death() from error

    def receive(self, timeout: float) -> str | None:
        """The next line, or None after ``timeout`` seconds. Raises WorkerFault for a dead worker."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            raise self.death()
        return line

    def death(self) -> WorkerFault:
        """The fault for a dead worker: how it ended and the last line of its log."""
        self._ended()
        status = self._process.returncode
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return WorkerFault(
            "killed" if status == -_SIGKILL else "died",
            f"The evaluation worker ended unexpectedly ({how}){self._last_words()}.",
            remedy="If this recurs, the machine may have too little memory.",
        )

    def close(self) -> None:
        """Terminate the worker, then kill it. May be called again."""
        self._process.terminate()
        if not self._ended():
            self._process.kill()
            if not self._ended():
                log.error(
                    "The evaluation worker (process %d) cannot be killed: a system call does not "
                    "return, probably in the device's driver. It is left behind; restart the machine.",
                    self.pid,
                )
                return  # its pipe cannot be closed while the reader blocks on it
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # data still buffered for a dead worker
                pipe.close()
        self._files.close()

    def _ended(self) -> bool:
        """Whether the worker has ended, or is just ending."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        return self._process.returncode is not None

    def _popen(self, program: list[str], device: str | None, scratch: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *program],
            env=current_environment(device) | dict.fromkeys(_SCRATCH_VARIABLES, scratch),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # a killed worker may leave half a line
                self._lines.put(line)
        self._lines.put(None)

    def _last_words(self) -> str:
        """The last line of the log: for a Python error, its message."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(self._log_start, end - _TAIL_BYTES))
        tail = self._log.read().decode("utf-8", errors="replace").strip()
        if not tail:
            return ""
        for line in tail.splitlines()[-_LAST_LINES:]:
            log.debug("the worker's log: %s", line)
        return f"; last log line: {printable(tail.splitlines()[-1], _LAST_WORDS).rstrip('.')}"


def _open_log(log_file: Path | None) -> IO[bytes]:
    if log_file is None:
        return tempfile.TemporaryFile()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    return log_file.open("ab+")
