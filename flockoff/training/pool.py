"""The pool of evaluation devices, each with its worker process, free or in use."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flockoff.errors import EvaluationFault, EvaluationStopped, FlockoffError, MinerFault
from flockoff.metrics import Metrics
from flockoff.ports import OnProgress, ShouldStop
from flockoff.records import Influence, Measurement, Progress
from flockoff.training.limits import Watch, WorkerLimits
from flockoff.training.messages import (
    Alive,
    Assignment,
    Ready,
    Request,
    Saving,
    WorkerFault,
    decode_reply,
    encode_assignment,
    encode_request,
)
from flockoff.training.process import WorkerProcess

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_KERNEL_PATHS = ("dropout", "gate")
_FIRST_REST = 30.0  # seconds; doubles with every consecutive fault
_LONGEST_REST = 600.0


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How to start a worker: ``python -m MODULE ARGUMENTS``, which speaks the protocol of ``messages``."""

    device: str | None = None  # cpu, cuda, cuda:N; None: a GPU where there is one
    threads: int | None = None  # None: torch's default
    module: str = "flockoff.training.worker"
    arguments: tuple[str, ...] = ()


class PooledDevice:
    """One device. Its worker starts with the first request, stays, and is replaced after a fault.

    Only the caller that took it from the pool may use it, one thread at a time.
    """

    def __init__(
        self,
        number: int,
        plan: WorkerPlan,
        assignment: Assignment,
        *,
        log_file: Path | None,
        memory_limit: int | None,
        metrics: Metrics,
    ) -> None:
        self.number = number
        self.kind: str | None = None  # of the device, once its worker has reported it
        self.seconds_per_token: float | None = None  # of training, if its worker was calibrated
        self.rested_at = 0.0  # time.monotonic() until which it is not used
        self.unusable = False  # something was missing or misconfigured there last time
        self._faults = 0  # consecutive
        self._plan = plan
        self._assignment = replace(assignment, device=plan.device, threads=plan.threads)
        self._log_file = log_file
        self._memory_limit = memory_limit
        self._metrics = metrics
        self._worker: WorkerProcess | None = None
        self._saving: Saving = "none"  # of the current worker

    def get_ready(
        self, limits: WorkerLimits, saving: Saving, on_progress: OnProgress, should_stop: ShouldStop
    ) -> str:
        """Ensure a worker with its base model loaded; returns the kind of device that it found.

        Raises SetupError, WorkerFault, EvaluationFault and EvaluationStopped, leaving no worker.
        """
        if self._worker is not None and self._saving != saving:
            self.close()
        if self._worker is None:
            with self._closing_unless_answered():
                self._worker, self._saving = self._start(), saving
                self._worker.send(encode_assignment(replace(self._assignment, saving=saving)))
                loading = Watch(limits.while_loading)
                ready = self._reply(self._worker, loading, on_progress, should_stop)
                assert isinstance(ready, Ready)
                self.kind, self.unusable = ready.device.kind, False
                self.seconds_per_token = ready.seconds_per_token
                self._report_kernels(ready)
        assert self.kind is not None, "a ready worker has reported its device"
        return self.kind

    def answer(
        self, request: Request, limits: WorkerLimits, on_progress: OnProgress, should_stop: ShouldStop
    ) -> Measurement | Influence:
        """The worker's answer. Raises as ``get_ready``, leaving no worker, and MinerFault, keeping it."""
        assert self._worker is not None, "a device is made ready first"
        with self._closing_unless_answered():
            self._worker.send(encode_request(request))
            reply = self._reply(self._worker, Watch(limits), on_progress, should_stop)
            assert isinstance(reply, Measurement | Influence)
        self._faults = 0
        return reply

    def rest(self, *, at_once: bool) -> None:
        """After a fault: do not use the device for a while, the first time only if ``at_once``.

        So a broken device does not fail one dataset after another while other devices work.
        """
        self._faults += 1
        doublings = self._faults - 1 if at_once else self._faults - 2
        if doublings >= 0:
            self.rested_at = time.monotonic() + min(_FIRST_REST * 2**doublings, _LONGEST_REST)

    def close(self) -> None:
        """Stop the worker; no process is left behind."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self.kind = None

    @contextlib.contextmanager
    def _closing_unless_answered(self) -> Iterator[None]:
        """Close the worker unless it answered; a miner's fault is an answer."""
        answered = False
        try:
            yield
            answered = True
        except MinerFault:
            answered = True
            raise
        finally:
            if not answered:
                self.close()

    def _start(self) -> WorkerProcess:
        plan = self._plan
        try:
            return WorkerProcess(plan.module, *plan.arguments, device=plan.device, log_file=self._log_file)
        except OSError as error:
            raise EvaluationFault(
                f"The evaluation worker cannot be started: {error}.",
                remedy="Check for a full disk or too little memory.",
            ) from error

    def _reply(
        self, worker: WorkerProcess, patience: Watch, on_progress: OnProgress, should_stop: ShouldStop
    ) -> Ready | Measurement | Influence:
        """The worker's answer. Passes progress on and raises the worker's errors."""
        looked = time.monotonic()
        while True:
            began = time.monotonic()
            line = worker.receive(POLL_SECONDS)
            now = time.monotonic()
            patience.listened(min(now - began, POLL_SECONDS))  # longer: this process was not running
            if line is not None:
                match decode_reply(line):
                    case Alive() as alive:
                        patience.heard(None)
                        self._check_memory(alive)
                    case Progress() as progress:
                        patience.heard(progress)
                        on_progress(progress)
                    case FlockoffError() as error:
                        raise error
                    case reply:
                        return reply
            if now - looked >= POLL_SECONDS:
                if should_stop():
                    raise EvaluationStopped("The evaluation was stopped.")
                looked = time.monotonic()
            patience.check()

    def _report_kernels(self, ready: Ready) -> None:
        for path in _KERNEL_PATHS if ready.fused or ready.refused else ():
            worker = str(self.number)
            self._metrics.worker_kernels.labels(worker=worker, path=path).set(path in ready.fused)
        if ready.refused:
            log.warning(
                "Worker %d trains without some of the GPU kernels, and so more slowly: %s.",
                self.number,
                "; ".join(ready.refused),
            )

    def _check_memory(self, alive: Alive) -> None:
        self._metrics.worker_memory.labels(worker=str(self.number)).set(alive.memory)
        limit = self._memory_limit or alive.limit
        if alive.memory > limit:
            raise WorkerFault(
                "memory",
                f"The evaluation worker took {alive.memory / 2**30:.1f} GiB of memory, "
                f"more than the {limit / 2**30:.1f} GiB it may have.",
                remedy="Close other programs that use this machine's memory.",
            )


class WorkerPool:
    """Hands out devices, first come, first served. Thread-safe."""

    def __init__(self, devices: Sequence[PooledDevice]) -> None:
        self._all = tuple(devices)
        self._free = set(self._all)
        self._waiting: set[int] = set()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def seconds_per_token(self) -> float | None:
        """Training time on the slowest calibrated device; None where none is."""
        return max((one.seconds_per_token for one in self._all if one.seconds_per_token), default=None)

    def take(
        self, ticket: int, suits: Callable[[PooledDevice], bool], should_stop: ShouldStop
    ) -> PooledDevice:
        """The first free device that ``suits``, once no smaller ticket is waiting.

        Raises EvaluationStopped.
        """
        with self._changed:
            self._waiting.add(ticket)
            try:
                while True:
                    if should_stop():
                        raise EvaluationStopped("The evaluation was stopped before it began.")
                    device = self._best(suits) if ticket == min(self._waiting) else None
                    if device is not None:
                        self._free.remove(device)
                        return device
                    self._changed.wait(POLL_SECONDS)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, device: PooledDevice) -> None:
        with self._changed:
            self._free.add(device)
            self._changed.notify_all()

    def set_aside(self, device: PooledDevice) -> bool:
        """Take an unusable device out of use; False where no other is left."""
        with self._changed:
            device.unusable = True
            if all(one.unusable for one in self._all):
                return False
            device.rest(at_once=True)
            return True

    def close(self) -> None:
        """Stop all workers. No device may be in use."""
        for device in self._all:
            device.close()

    def _best(self, suits: Callable[[PooledDevice], bool]) -> PooledDevice | None:
        """Devices with a worker, which has the base model loaded, come first."""
        now = time.monotonic()
        able = [device for device in self._free if suits(device) and device.rested_at <= now]
        return min(able, key=lambda device: (device.kind is None, device.number), default=None)
