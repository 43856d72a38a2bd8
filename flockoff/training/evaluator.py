"""The evaluator: trains and measures datasets in a worker process that keeps the base model loaded."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flockoff.competition import Competition
from flockoff.errors import EvaluationFault, EvaluationStopped, FlockoffError, MinerFault
from flockoff.metrics import WORKER_RESTARTS
from flockoff.records import Measurement, Progress
from flockoff.training.limits import Pace, Patience, WorkerLimits, machine_memory_limit
from flockoff.training.messages import (
    Alive,
    Assignment,
    Ready,
    Request,
    WorkerFault,
    decode_reply,
    encode_assignment,
    encode_request,
)
from flockoff.training.process import WorkerProcess

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_TRIES = 3
_WORKER_MODULE = "flockoff.training.worker"


class WorkerEvaluator:
    """``flockoff.ports.Evaluator`` on one device of this machine. Used from one thread.

    The worker is started by the first call that needs it, stays for the next ones, and is started anew
    after a fault. It ends with this process, however this process ends.
    """

    def __init__(
        self,
        competition: Competition,
        *,
        model_dir: Path,
        evaluation_file: Path,
        sealed_file: Path | None = None,
        device: str | None = None,
        threads: int | None = None,
        log_file: Path | None = None,
        limits: WorkerLimits | None = None,
    ) -> None:
        if (sealed_file is None) != (competition.sealed is None):
            raise ValueError("a sealed file is for a competition that names a sealed set, and for no other")
        self._assignment = Assignment(
            competition,
            str(model_dir.absolute()),
            str(evaluation_file.absolute()),
            device,
            threads,
            sealed_file=str(sealed_file.absolute()) if sealed_file else None,
        )
        self._log_file = log_file
        self._limits = limits or WorkerLimits()
        self._memory_limit = self._limits.memory or machine_memory_limit()
        self._pace = Pace(self._limits, competition.training)
        self._worker: WorkerProcess | None = None
        self._base: Measurement | None = None
        self._device_kind: str | None = None  # "cuda", "cpu": numbers of the two do not belong together

    def base_loss(
        self, *, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Measurement:
        """The evaluation set's loss under the base model alone; measured once, then kept.

        Raises SetupError, EvaluationFault and EvaluationStopped.
        """
        if self._base is None:
            self._base = self._measured(Request(), self._limits, on_progress, should_stop)
            self._pace.note_base(self._base.seconds)
        return self._base

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        """Train a fresh adapter on ``dataset``, whose content must have ``content_hash``, and measure it.

        ``left_out``: 1-based lines of the file, in order; they and their copies are not trained on.
        Raises MinerFault, SetupError, EvaluationFault, EvaluationTooSlow and EvaluationStopped.
        """
        request = Request(str(dataset.absolute()), content_hash, seed, left_out)
        measurement = self._measured(request, self._pace.limits(tokens), on_progress, should_stop)
        self._pace.note(tokens, measurement.seconds)
        return measurement

    def close(self) -> None:
        """Stop the worker; no process is left behind."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _measured(
        self,
        request: Request,
        limits: WorkerLimits,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        """The answer to ``request``, from up to three workers, one after the other.

        Where memory was too little, or may have been, the next worker is frugal: for this request only,
        because it computes the same in another order, which moves the last digits.
        """
        was = self._assignment
        causes: list[str] = []
        try:
            while True:
                try:
                    return self._ask(request, limits, on_progress, should_stop)
                except WorkerFault as fault:
                    causes.append(fault.cause)
                    WORKER_RESTARTS.labels(cause=fault.cause).inc()
                    if len(causes) == _TRIES:
                        raise EvaluationFault(
                            f"{_TRIES} workers failed on it ({', '.join(causes)}). {fault.message}",
                            remedy=fault.remedy,
                        ) from fault
                    if should_stop():  # a service manager stops all of a group at once
                        raise EvaluationStopped("The evaluation was stopped.") from fault
                    frugal = "memory" in causes or causes == ["killed"] * 2
                    self._assignment = replace(was, frugal=frugal)
                    how = ", one row at a time" if frugal else ""
                    log.warning(
                        "%s Trying again with a new worker%s (try %d of %d).",
                        fault.message,
                        how,
                        len(causes) + 1,
                        _TRIES,
                    )
        finally:
            if self._assignment != was:
                self._assignment = was
                self.close()

    def _ask(
        self,
        request: Request,
        limits: WorkerLimits,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        finished = False  # only a worker that answered may take another request
        try:
            if self._worker is None:
                self._worker = self._start()
                self._worker.send(encode_assignment(self._assignment))
                loading = Patience(limits.while_loading)
                self._reply(self._worker, loading, on_progress, should_stop)
            self._worker.send(encode_request(request))
            reply = self._reply(self._worker, Patience(limits), on_progress, should_stop)
            assert isinstance(reply, Measurement)
            self._require_same_device(reply)
            finished = True
            return reply
        except MinerFault:
            finished = True
            raise
        finally:
            if not finished:
                self.close()

    def _require_same_device(self, measurement: Measurement) -> None:
        """Raise EvaluationFault for a worker that found another kind of device than the first one did."""
        kind = measurement.provenance.device.split()[0]
        if self._device_kind is None:
            self._device_kind = kind
        if kind != self._device_kind:
            raise EvaluationFault(
                f"The evaluation worker came to run on {measurement.provenance.device}, after a "
                f"{self._device_kind} device before.",
                remedy="Check the device (nvidia-smi), or start the validator anew to go on with this one.",
            )

    def _start(self) -> WorkerProcess:
        try:
            return WorkerProcess(_WORKER_MODULE, device=self._assignment.device, log_file=self._log_file)
        except OSError as error:
            raise EvaluationFault(
                f"The evaluation worker cannot be started: {error}.",
                remedy="Look for a full disk and for too little memory.",
            ) from error

    def _reply(
        self,
        worker: WorkerProcess,
        patience: Patience,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Ready | Measurement:
        """The worker's answer, its progress passed on; the worker's errors are raised."""
        looked = time.monotonic()
        while True:
            began = time.monotonic()
            line = worker.receive(_POLL_SECONDS)
            now = time.monotonic()
            patience.listened(min(now - began, _POLL_SECONDS))  # longer: this process was not running
            if line is not None:
                match decode_reply(line):
                    case Alive(memory):
                        patience.heard(None)
                        self._check_memory(memory)
                    case Progress() as progress:
                        patience.heard(progress)
                        on_progress(progress)
                    case FlockoffError() as error:
                        raise error
                    case reply:
                        return reply
            if now - looked >= _POLL_SECONDS:
                if should_stop():
                    raise EvaluationStopped("The evaluation was stopped.")
                looked = time.monotonic()
            patience.check()

    def _check_memory(self, used: int) -> None:
        if used > self._memory_limit:
            raise WorkerFault(
                "memory",
                f"The evaluation worker took {used / 2**30:.1f} GiB of memory, "
                f"more than the {self._memory_limit / 2**30:.1f} GiB it may have.",
                remedy="Close what else uses this machine's memory.",
            )
