"""Evaluation workers that are forked from a process which has imported PyTorch and the rest already.

Those imports take ten seconds of the processor, and a whole run of the tests needs some forty workers. A
forked worker is the same program, with the arguments, environment, folder and pipes that it would be started
with, and is watched and killed by its process id like any other. ``started_workers`` is for tests of what
depends on how an interpreter starts.
"""

import contextlib
import importlib
import json
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import psutil

from flockoff.training.environment import current_environment
from flockoff.training.process import WorkerProcess

WORKER = "flockoff.training.worker"
POSSIBLE = sys.platform == "linux"  # elsewhere every worker is started

_IMPORTED_ONCE = ("numpy", "psutil", "flockoff.training.session")
_SCRATCH_VARIABLES = ("TMPDIR", "TEMP", "TMP", "HF_HOME")
_REQUEST_BYTES = 1 << 17
_start = WorkerProcess._popen


@contextlib.contextmanager
def forked_workers(address: Callable[[], str]) -> Iterator[None]:
    """Within this context, workers of this process are forked by the server that listens at ``address()``."""

    def fork(given: WorkerProcess, program: list[str], device: str | None, scratch: str) -> Any:
        if program[0] != WORKER or not POSSIBLE:
            return _start(given, program, device, scratch)
        environment = current_environment(device) | dict.fromkeys(_SCRATCH_VARIABLES, scratch)
        return _ForkedWorker(address(), program, environment, given._log)

    with patch.object(WorkerProcess, "_popen", fork):
        yield


@contextlib.contextmanager
def started_workers() -> Iterator[None]:
    """Within this context, workers are started as they are outside the tests."""
    with patch.object(WorkerProcess, "_popen", _start):
        yield


def server_address() -> str:
    """Where this process's server listens. The first call starts it; ``close_server`` ends it."""
    global _server
    with _starting:
        if _server is None:
            _server = _Server()
        return _server.address


def close_server() -> None:
    if _server is not None:
        _server.close()


def workers_of(process: psutil.Process | None = None) -> list[psutil.Process]:
    """The evaluation workers that descend from ``process``, by default this one, however they came to be."""
    found = []
    for child in (process or psutil.Process()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = child.cmdline()
            if WORKER in line or (__name__ in line and (_server is None or child.pid != _server.pid)):
                found.append(child)
    return found


class _Server:
    """The process that forks. It listens before it imports anything, so nobody has to wait for it."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="flockoff-warm-")
        self.address = str(Path(self._folder) / "socket")
        settings = dict.fromkeys(_SCRATCH_VARIABLES, self._folder)
        settings["PYTHONPATH"] = os.pathsep.join(sys.path)  # pytest has added this project's folder
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                env=current_environment("cpu") | settings,
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )
        self.pid = self._process.pid

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


_server: _Server | None = None
_starting = threading.Lock()


class _ForkedWorker:
    """What ``subprocess.Popen`` is for a child, for a process that the server forks."""

    def __init__(
        self, address: str, program: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]
    ) -> None:
        request = {"program": program, "environment": environment, "folder": str(Path.cwd())}
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.stdin = os.fdopen(ours_out, "w", encoding="utf-8")
        self.stdout = os.fdopen(ours_in, encoding="utf-8")
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(address)
        files = [theirs_in, theirs_out, errors.fileno()]
        socket.send_fds(self._server, [json.dumps(request).encode()], files)
        os.close(theirs_in)
        os.close(theirs_out)
        self.pid = int(self._server.recv(_REQUEST_BYTES))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._server.settimeout(timeout)
            try:
                self.returncode = int(self._server.recv(_REQUEST_BYTES))
            except TimeoutError:
                raise subprocess.TimeoutExpired(WORKER, timeout or 0.0) from None
            self._server.close()
        return self.returncode

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _serve(listener: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a process for each request until stdin ends. In such a process, its request and its files."""
    for module in _IMPORTED_ONCE:
        importlib.import_module(module)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells of its end
    with selectors.DefaultSelector() as events:
        events.register(listener, selectors.EVENT_READ)
        events.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is not listener:
                    pid, client = running.pop(key.fd)
                    events.unregister(key.fd)
                    os.close(key.fd)
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with client, contextlib.suppress(OSError):  # who asked for it may be gone
                        client.send(str(status).encode())
                    continue
                client, _address = listener.accept()
                text, files, _flags, _from = socket.recv_fds(client, _REQUEST_BYTES, 3)
                if (pid := os.fork()) == 0:
                    for descriptor, (_pid, other) in running.items():
                        os.close(descriptor)
                        other.close()
                    client.close()
                    listener.close()
                    return json.loads(text), files
                for file in files:
                    os.close(file)
                client.send(str(pid).encode())
                ended = os.pidfd_open(pid)
                running[ended] = pid, client
                events.register(ended, selectors.EVENT_READ)


def _become(request: dict[str, Any], files: Sequence[int]) -> None:
    """Run the program that was asked for as a fresh interpreter would."""
    import numpy as np

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None  # chosen anew, from the environment
    random.seed()
    np.random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    module, *arguments = request["program"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which then ends this
    forked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if forked is not None:
        _become(*forked)


if __name__ == "__main__":
    main()
