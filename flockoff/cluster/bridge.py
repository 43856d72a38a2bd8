"""The link between the pool and a worker on a node: ``python -m flockoff.cluster.bridge ADDRESS CPUS GPUS``.

To the pool it looks like a worker. It reserves that many CPUs and GPUs of one node, sends the node the files
it lacks, has a worker started there, and relays lines. When its stdin or this process ends, so do the
reservation, the actor and the worker; if it was killed, half a minute later, when Ray gives it up.
"""

import json
import os
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
from ray.util import placement_group, placement_group_table
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

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
    encode_request,
)
from flockoff.training.worker import Channel, signs_of_life, take_stdout

_FREE_SECONDS = 45.0  # for a device to become free: Ray keeps that of a bridge that was killed for 30
_LOOK_SECONDS = 1.0  # between looks whether a node is still there
_PART_BYTES = 1 << 25


def main() -> int:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)  # Ray, once connected, puts its own there, which does the same
    channel = take_stdout()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_stdin, args=(lines,), daemon=True).start()
    address, cpus, gpus = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        assignment = decode_assignment(lines.get())
        _report_progress(channel)
        with _cluster(address, channel):
            with signs_of_life(channel):  # the worker's own, once there is one
                host = _place_host(address, cpus, gpus)
                _start(host, replace(assignment, device=None if gpus else "cpu"), channel)
            _pass_on(host, channel)
            while True:
                request = decode_request(lines.get())
                with signs_of_life(channel):
                    rows = _ship(host, "rows", Path(request.rows), channel) if request.rows else None
                    ray.get(host.ask.remote(encode_request(replace(request, rows=rows))))
                _pass_on(host, channel)
    except FlockoffError as error:
        channel.send(error)
        return 1


def _report_progress(channel: Channel) -> None:
    """The pool ends a start that reports none for as long as a base model may take to load."""
    channel.send(Progress("loading", 0, 1))


@contextmanager
def _cluster(address: str, channel: Channel) -> Iterator[None]:
    """A connection to the cluster. Raises WorkerFault if it cannot be reached or a node in use is lost."""
    try:
        with signs_of_life(channel):
            connect(address)
    except ConnectionError as error:
        raise WorkerFault("absent", f"The Ray cluster at {address} cannot be reached: {error}.") from error
    except RuntimeError as error:
        raise SetupError(
            f"The Ray cluster at {address} cannot be used: {' '.join(str(error).split())}",
            remedy="Ray and Python must be the same versions here and on all nodes.",
        ) from error
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WorkerFault("lost", f"A worker of the Ray cluster at {address} was lost: {text}") from error
    finally:
        ray.shutdown()  # which ends the actor and the reservation


def _place_host(address: str, cpus: int, gpus: int) -> Any:
    """An actor on a node with the device.

    The device is reserved first, which takes no time where one is free. The actor's process may then take
    minutes to start on a busy node; Ray starts another one after each minute, also if it keeps failing.

    Raises WorkerFault if no device is free or the node is lost, SetupError for a node with other versions.
    """
    resources = {name: float(count) for name, count in (("CPU", cpus), ("GPU", gpus)) if count}
    # On the head, where Python is known to start; and once, or there would be two reservations.
    head = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    reserve = ray.remote(_reserve).options(num_cpus=0, max_retries=0, scheduling_strategy=head)
    reserved = ray.get(reserve.remote(resources, _FREE_SECONDS))
    if reserved is None:
        raise WorkerFault("absent", f"The Ray cluster at {address} has no device free.")
    group, node = reserved
    there = PlacementGroupSchedulingStrategy(group)
    host: Any = ray.remote(Host).options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=there).remote()
    described = host.describe.remote()
    while not ray.wait([described], timeout=_LOOK_SECONDS)[0]:
        if not _is_alive(node):  # Ray would wait for a device elsewhere
            raise WorkerFault(
                "lost", f"A node of the Ray cluster at {address} was lost while a worker started."
            )
    name, theirs = ray.get(described)
    ours = versions()
    other = [f"{package} {theirs[package]}" for package in ours if theirs[package] != ours[package]]
    if other:
        raise SetupError(
            f"Node {name} has other versions than this machine: {', '.join(other)}.",
            remedy="Bring it to the same commit and run uv sync --locked --extra cluster there.",
        )
    return host


def _reserve(resources: dict[str, float], seconds: float) -> tuple[PlacementGroup, str] | None:
    """Reserve resources of one node until this job ends; returns the node too. None if no node has them free
    within ``seconds``.

    Runs on the cluster: from outside, each of Ray's calls for this would start a process there.
    """
    group = placement_group([resources])
    if not group.wait(seconds):
        return None
    [node] = placement_group_table(group)["bundles_to_node_id"].values()
    return group, node


def _is_alive(node: str) -> bool:
    described = ray.nodes()  # type: ignore[no-untyped-call]
    return any(one["NodeID"] == node and one["Alive"] for one in described)


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
            if ray.get(host.lacks.remote(shelf, sha256)):
                file.seek(0)
                while part := file.read(_PART_BYTES):
                    ray.get(host.receive.remote(part))
                    _report_progress(channel)
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
    # The parent closed the pipe or is gone. A main thread that waits for a lock is not woken by
    # _thread.interrupt_main, nor by signal.raise_signal here.
    os.kill(os.getpid(), signal.SIGTERM)


def _end(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
