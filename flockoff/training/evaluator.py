"""The evaluator: trains and measures datasets in a worker process that keeps the base model loaded."""

import time
from collections.abc import Callable
from pathlib import Path

from flockoff.competition import Competition
from flockoff.errors import EvaluationFault, EvaluationStopped, FlockoffError, MinerFault
from flockoff.records import Measurement, Progress
from flockoff.training.messages import (
    Assignment,
    Reply,
    Request,
    decode_reply,
    encode_assignment,
    encode_request,
)
from flockoff.training.process import WorkerProcess

_POLL_SECONDS = 1.0
_SILENCE_SECONDS = 1800.0  # a worker that says nothing for so long hangs: one step never takes it
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
        device: str | None = None,
        threads: int | None = None,
        log_file: Path | None = None,
    ) -> None:
        self._assignment = Assignment(
            competition, str(model_dir.absolute()), str(evaluation_file.absolute()), device, threads
        )
        self._log_file = log_file
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
            self._base = self._ask(Request(), on_progress, should_stop)
        return self._base

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        """Train a fresh adapter on ``dataset``, whose content must have ``content_hash``, and measure it.

        Raises MinerFault, SetupError, EvaluationFault and EvaluationStopped.
        """
        return self._ask(Request(str(dataset.absolute()), content_hash, seed), on_progress, should_stop)

    def close(self) -> None:
        """Stop the worker; no process is left behind."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(
        self, request: Request, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Measurement:
        finished = False  # only a worker that answered may take another request
        try:
            if self._worker is None:
                self._worker = self._start()
                self._reply(self._worker, on_progress, should_stop)
            self._worker.send(encode_request(request))
            reply = self._reply(self._worker, on_progress, should_stop)
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
        worker = WorkerProcess(_WORKER_MODULE, device=self._assignment.device, log_file=self._log_file)
        worker.send(encode_assignment(self._assignment))
        return worker

    def _reply(
        self, worker: WorkerProcess, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Reply:
        """The worker's answer, its progress passed on; the worker's errors are raised."""
        asked = heard = time.monotonic()
        while True:
            line = worker.receive(_POLL_SECONDS)
            now = time.monotonic()
            if line is not None:
                heard = now
                match decode_reply(line):
                    case Progress() as progress:
                        on_progress(progress)
                    case FlockoffError() as error:
                        raise error
                    case reply:
                        return reply
            if now - asked >= _POLL_SECONDS:
                asked = now
                if should_stop():
                    raise EvaluationStopped("The evaluation was stopped.")
            if now - heard > _SILENCE_SECONDS:
                raise EvaluationFault(
                    f"The evaluation worker gave no sign of life for {_SILENCE_SECONDS:.0f} s.",
                    remedy="A new one is started for the next dataset.",
                )
