"""The link between the pool and a worker on a node: ``python -m flockoff.cluster.bridge ADDRESS CPUS GPUS``.

To the pool it looks like a worker. It waits for a node with that many CPUs and GPUs free, sends it the files
it lacks, has a worker started there, and relays lines. When its stdin or this process ends, so do the actor
and the worker.
"""

import _thread
import json
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, NoReturn

import ray

from flockoff.cluster.connection import connect
from flockoff.cluster.host import Host, Shelf, versions
from flockoff.errors import FlockoffError, SetupError
from flockoff.records import Progress
from flockoff.training.messages import (
    Assignment,
    WorkerFault,
    decode_assignment,
    decode_request,
    encode_assignment,
)
from flockoff.training.worker import Channel, take_stdout

_PLACE_SECONDS = 20  # to wait for a place before another worker is tried
_PART_BYTES = 1 << 25


def main() -> int:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    channel = take_stdout()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_stdin, args=(lines,), daemon=True).start()
    address, cpus, gpus = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        assignment = decode_assignment(lines.get())
        with _host(address, cpus, gpus, channel) as host:
            _wait_for_place(host, address, channel)
            _start(host, replace(assignment, device=None if gpus else "cpu"), channel)
            _pass_on(host, channel)
            while True:
                request = decode_request(lines.get())
                rows = _ship(host, "rows", Path(request.rows), channel) if request.rows else None
                ray.get(host.ask.remote(request.seed, rows))
                _pass_on(host, channel)
    except FlockoffError as error:
        channel.send(error)
        return 1


def _alive(channel: Channel) -> None:
    """Send signs of life until there is a worker to do so."""
    channel.send(Progress("loading", 0, 1))


@contextmanager
def _host(address: str, cpus: int, gpus: int, channel: Channel) -> Iterator[Any]:
    """An actor on a node with the device. Raises WorkerFault if it or the cluster is lost."""
    try:
        connect(address, on_try=lambda: _alive(channel))
    except ConnectionError as error:
        raise WorkerFault("absent", f"The Ray cluster at {address} does not answer.") from error
    except RuntimeError as error:
        raise SetupError(
            f"The Ray cluster at {address} cannot be used: {' '.join(str(error).split())}",
            remedy="Ray and Python must be the same versions here and on all nodes.",
        ) from error
    try:
        yield ray.remote(Host).options(num_cpus=cpus, num_gpus=gpus).remote()
    except (ray.exceptions.RayError, ConnectionError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WorkerFault("lost", f"A worker of the Ray cluster at {address} was lost: {text}") from error
    finally:
        ray.shutdown()  # which ends the actor


def _wait_for_place(host: Any, address: str, channel: Channel) -> None:
    """Wait for a node to take the actor. Raises SetupError for one with other versions."""
    described = host.describe.remote()
    for _ in range(_PLACE_SECONDS):
        done, _ = ray.wait([described], timeout=1)
        _alive(channel)
        if done:
            break
    else:
        raise WorkerFault("absent", f"The Ray cluster at {address} has no device free.")
    name, theirs = ray.get(described)
    ours = versions()
    other = [f"{package} {theirs[package]}" for package in ours if theirs[package] != ours[package]]
    if other:
        raise SetupError(
            f"Node {name} has other versions than this machine: {', '.join(other)}.",
            remedy="Bring it to the same commit and run uv sync --locked --extra cluster there.",
        )


def _start(host: Any, assignment: Assignment, channel: Channel) -> None:
    folder = Path(assignment.model_dir)
    model: Mapping[str, str] = {
        file.relative_to(folder).as_posix(): _ship(host, "files", file, channel)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    evaluation = _ship(host, "files", Path(assignment.evaluation_file), channel)
    sealed = assignment.sealed_file and _ship(host, "files", Path(assignment.sealed_file), channel)
    ray.get(host.start.remote(encode_assignment(assignment), model, evaluation, sealed))


def _ship(host: Any, shelf: Shelf, path: Path, channel: Channel) -> str:
    """Send the file unless the node has it; returns its SHA-256. Raises SetupError if the file is missing."""
    try:
        with path.open("rb") as file:
            sha256 = file_digest(file, "sha256").hexdigest()
            _alive(channel)
            if ray.get(host.lacks.remote(shelf, sha256)):
                file.seek(0)
                while part := file.read(_PART_BYTES):
                    ray.get(host.receive.remote(part))
                    _alive(channel)
                ray.get(host.keep.remote(shelf, sha256))
    except FileNotFoundError as error:
        raise SetupError(f"Cannot read {path}: {error.strerror}.") from error
    return sha256


def _pass_on(host: Any, channel: Channel) -> None:
    """Relay the worker's messages up to its answer."""
    while True:
        line = ray.get(host.listen.remote())
        if line is None:
            continue
        channel.send_line(line.rstrip("\n"))
        if json.loads(line)["kind"] not in ("alive", "progress"):
            return


def _read_stdin(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    _thread.interrupt_main(signal.SIGTERM)  # the parent closed the pipe or is gone


def _end(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
