"""Evaluation workers, and programs, that are forked from a process which has imported what they need.

A worker's imports, of PyTorch and the rest, take ten seconds of the processor, and a whole run of the tests
needs some forty workers. A forked worker is the same program, with the arguments, environment, folder and
pipes that it would be started with, and is watched and killed by its process id like any other.
``started_workers`` is for tests of what depends on how an interpreter starts.

``program_address`` is for what a shell runs, one program after the other: see ``ask_to_fork``.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import psutil

from flockoff.training.environment import current_environment
from flockoff.training.process import WorkerProcess

WORKER = "flockoff.training.worker"
HELD = "tests.support.held_worker"
POSSIBLE = sys.platform == "linux"  # elsewhere every worker is started

_WORKERS, _PROGRAMS = "workers", "programs"
_FOLDER = "FLOCKOFF_TESTS_SERVERS"  # the environment variable with the folder of their sockets
_FOR_WORKERS = ("numpy", "psutil", "flockoff.training.session")
_FOR_PROGRAMS = ("tests.support.imported_once",)
_SCRATCH_VARIABLES = ("TMPDIR", "TEMP", "TMP", "HF_HOME")
_REQUEST_BYTES = 1 << 17
_start = WorkerProcess._popen


@contextlib.contextmanager
def forked_workers(address: Callable[[], str]) -> Iterator[None]:
    """Within this context, workers of this process are forked by the server that listens at ``address()``."""

    def fork(given: WorkerProcess, program: list[str], device: str | None, scratch: str) -> Any:
        if program[0] not in (WORKER, HELD) or not POSSIBLE:
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
    """Where this run's server of workers listens."""
    return _address(_WORKERS)


def program_address() -> str:
    """The same for programs of this project."""
    return _address(_PROGRAMS)


def workers_of() -> list[psutil.Process]:
    """This process's evaluation workers, however they came to be, the oldest first."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if {WORKER, HELD}.intersection(child.cmdline()):
                found.append(child)
    for worker in list(_forked):
        with contextlib.suppress(psutil.NoSuchProcess):
            if worker.returncode is None:
                found.append(psutil.Process(worker.pid))
    return sorted(found, key=psutil.Process.create_time)


@contextlib.contextmanager
def warm_servers(folder: Path) -> Iterator[None]:
    """Within this context, which is a whole run's, ``server_address`` and ``program_address`` are served for
    all processes that test, each by one process, which is started for the first who asks.
    """
    home = folder / "home"
    home.mkdir()
    paths = os.pathsep.join(sys.path)  # pytest has added this project's folder
    common = {"HOME": str(home), "PYTHONPATH": paths}
    scratch = dict.fromkeys(_SCRATCH_VARIABLES, str(folder))
    programs = {name: value for name, value in os.environ.items() if not name.startswith(("BT_", "HF_"))}
    os.environ[_FOLDER] = str(folder)
    if not POSSIBLE:
        yield
        return
    servers = [
        _Server(_address(_WORKERS), _FOR_WORKERS, current_environment("cpu") | scratch | common),
        _Server(_address(_PROGRAMS), _FOR_PROGRAMS, programs | common),
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def _address(name: str) -> str:
    return str(Path(os.environ[_FOLDER]) / name)


class _Server:
    """The process that forks. It is started for the first who connects to ``address``."""

    def __init__(self, address: str, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._modules = modules
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen()
        self._closing, self._close = os.pipe()
        self._starter = threading.Thread(target=self._start_once_asked, name="warm-server", daemon=True)
        self._starter.start()

    def close(self) -> None:
        os.close(self._close)
        self._starter.join()
        os.close(self._closing)
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()

    def _start_once_asked(self) -> None:
        with self._listener:
            listening = self._listener.fileno()
            ready, _, _ = select.select([listening, self._closing], [], [])
            if listening in ready:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(listening), *self._modules],
                    env=dict(self._environment),
                    stdin=subprocess.PIPE,
                    pass_fds=[listening],
                )


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
        _forked.add(self)

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


_forked: "weakref.WeakSet[_ForkedWorker]" = weakref.WeakSet()


def _serve(listener: socket.socket, modules: Sequence[str]) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a process for each request until stdin ends. In such a process, its request and its files."""
    gc.disable()
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # a forked process that searches this for garbage, if only at its end, copies all of it
    gc.enable()
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
    forked = _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    if forked is None:
        os._exit(0)  # taking apart what was imported would take seconds
    _become(*forked)


if __name__ == "__main__":
    main()
