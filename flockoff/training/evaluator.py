"""The evaluator: trains and measures datasets on one or more devices, each with a worker process."""

import itertools
import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

from flockoff.competition import Competition
from flockoff.errors import EvaluationFault, EvaluationStopped, SetupError
from flockoff.metrics import Metrics
from flockoff.ports import OnProgress, ShouldStop
from flockoff.records import Influence, Measurement
from flockoff.tokens import load_encoder
from flockoff.training.limits import AdaptiveLimits, WorkerLimits
from flockoff.training.messages import Assignment, Request, Saving, WorkerFault
from flockoff.training.pool import PooledDevice, WorkerPlan, WorkerPool
from flockoff.training.rows import training_rows, write_rows

log = logging.getLogger(__name__)

_TRIES = 3
_DEARER = 2  # times a measurement, at the most: the limits of time are for one


def _saving(causes: Sequence[str]) -> Saving:
    """How the next worker saves memory, given why earlier ones failed: halves first."""
    if causes == ["memory"]:
        return "halves"
    return "rows" if "memory" in causes or causes == ["killed"] * 2 else "none"


class WorkerEvaluator:
    """``flockoff.ports.Evaluator`` on one or more devices, for use from up to ``slots`` threads.

    There are twice as many slots as devices, so that the next dataset's rows are read while the devices are
    busy. Calls get devices first come, first served. Workers start on first use, are reused, and are replaced
    after a fault. They end with this process, however it ends.
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
        workers: Sequence[WorkerPlan] = (),
        log_file: Path | None = None,
        limits: WorkerLimits | None = None,
        mixed: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        """``workers``: one for each device; without any, one on ``device`` with ``threads``.

        ``mixed``: devices of different kinds may evaluate under the same seed, although their losses differ
        in the last digits. Otherwise only the kind first used under a seed is used for it.
        """
        if (sealed_file is None) != (competition.sealed is None):
            raise ValueError("a sealed file is for a competition that names a sealed set, and for no other")
        assignment = Assignment(
            competition,
            str(model_dir.absolute()),
            str(evaluation_file.absolute()),
            sealed_file=str(sealed_file.absolute()) if sealed_file else None,
        )
        self._competition = competition
        self._encoder = cache(partial(load_encoder, model_dir, competition.training.context_length))
        self._limits = limits or WorkerLimits()
        self._mixed = mixed
        self._metrics = metrics = metrics or Metrics()
        self._pool = WorkerPool(
            [
                PooledDevice(
                    number,
                    plan,
                    assignment,
                    log_file=log_file,
                    memory_limit=self._limits.memory,
                    metrics=metrics,
                )
                for number, plan in enumerate(workers or [WorkerPlan(device, threads)])
            ]
        )
        self.devices = len(self._pool)
        self.slots = 2 * self.devices
        self._tickets = itertools.count()
        self._lock = threading.Lock()  # for the two below
        self._adaptive = AdaptiveLimits(self._limits, competition.training)
        self._base: Measurement | None = None
        self._seed: int | None = None
        self._kind: str | None = None  # of device, for this seed
        self._reading = threading.Lock()  # reading a dataset takes a core and up to 400 MB

    @property
    def seconds_per_token(self) -> float | None:
        """Training time, measured over a few steps at the workers' start; None before it, and on CPUs."""
        return self._pool.seconds_per_token

    def base_loss(self, *, on_progress: OnProgress, should_stop: ShouldStop) -> Measurement:
        """The evaluation set's loss under the base model alone; measured once, then kept.

        Raises SetupError, EvaluationFault and EvaluationStopped.
        """
        if self._base is None:
            measured = self._answered(next(self._tickets), Request(), 0, on_progress, should_stop)
            assert isinstance(measured, Measurement)
            with self._lock:
                self._adaptive.note_base(measured.seconds)
            self._base = measured
        return self._base

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> Measurement:
        """Train a fresh adapter on ``dataset``, whose content must have ``content_hash``, and measure it.

        ``left_out``: 1-based lines of the file, in order; they and their copies are not trained on.
        Raises MinerFault, SetupError, EvaluationFault, EvaluationTooSlow and EvaluationStopped.
        """
        ticket = next(self._tickets)
        with self._read(dataset, content_hash, left_out) as rows:
            request = Request(str(rows), seed)
            measurement = self._answered(ticket, request, tokens, on_progress, should_stop)
        assert isinstance(measurement, Measurement)
        with self._lock:
            self._adaptive.note(tokens, measurement.seconds)
        return measurement

    def influence(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> Influence:
        """Train as ``evaluate`` does, and tell what each row trained on does for the evaluation loss.

        It takes two forward passes over the dataset more. Raises what ``evaluate`` does.
        """
        ticket = next(self._tickets)
        with self._read(dataset, content_hash, left_out) as rows:
            request = Request(str(rows), seed, influence=True)
            found = self._answered(ticket, request, _DEARER * tokens, on_progress, should_stop)
        assert isinstance(found, Influence)
        return found

    def close(self) -> None:
        """Stop all workers; no process is left behind. Nobody may be evaluating."""
        self._pool.close()

    @contextmanager
    def _read(self, dataset: Path, content_hash: str, left_out: tuple[int, ...]) -> Iterator[Path]:
        """A temporary file with the dataset's encoded rows."""
        with ExitStack() as stack:
            try:
                folder = tempfile.TemporaryDirectory(prefix="flockoff-rows-", ignore_cleanup_errors=True)
                file = Path(stack.enter_context(folder)) / "rows.npz"
                with self._reading:
                    rows = training_rows(
                        dataset, content_hash, self._competition.limits, self._encoder(), left_out
                    )
                    write_rows(rows, file)
            except OSError as error:
                raise SetupError(
                    f"A dataset's rows cannot be written to {tempfile.gettempdir()}: {error.strerror}.",
                    remedy="Free space there.",
                ) from error
            yield file

    def _answered(
        self, ticket: int, request: Request, tokens: int, on_progress: OnProgress, should_stop: ShouldStop
    ) -> Measurement | Influence:
        """The answer to ``request``, from up to three workers in turn.

        Where memory ran out, or may have, the next worker uses less, for this request only: it computes the
        same in another order, which moves the last digits.
        """
        causes: list[str] = []
        while True:
            device = self._pool.take(ticket, partial(self._suits, request), should_stop)
            saving = _saving(causes)
            try:
                kind = device.get_ready(self._limits, saving, on_progress, should_stop)
                if not self._accepts(request, kind):
                    log.warning(
                        "Worker %d stays idle: its device is of another kind (%s).", device.number, kind
                    )
                    continue
                with self._lock:
                    limits = self._adaptive.limits(tokens) if request.rows else self._limits
                return device.answer(request, limits, on_progress, should_stop)
            except WorkerFault as fault:
                self._note(device, fault, causes)
                if should_stop():  # a service manager stops the whole process group
                    raise EvaluationStopped("The evaluation was stopped.") from fault
            except SetupError as fault:
                if not self._pool.set_aside(device):
                    raise
                log.error("Worker %d cannot be used: %s Going on without it.", device.number, fault)
            finally:
                if saving != "none":
                    device.close()
                self._pool.give_back(device)

    def _note(self, device: PooledDevice, fault: WorkerFault, causes: list[str]) -> None:
        """Record a worker's failure in ``causes``. Raises EvaluationFault for the third."""
        self._metrics.worker_restarts.labels(cause=fault.cause).inc()
        if fault.cause == "absent":
            device.rest(at_once=True)
            log.warning("%s", fault)
            return
        if len(self._pool) > 1:
            device.rest(at_once=fault.cause in ("lost", "device"))
        causes.append(fault.cause)
        if len(causes) == _TRIES:
            raise EvaluationFault(
                f"{_TRIES} workers failed on it ({', '.join(causes)}). {fault.message}", remedy=fault.remedy
            ) from fault
        log.warning(
            "%s Trying again with a new worker (try %d of %d).", fault.message, len(causes) + 1, _TRIES
        )

    def _suits(self, request: Request, device: PooledDevice) -> bool:
        """Whether the device may be of the right kind, as far as known."""
        with self._lock:
            free = self._mixed or request.rows is None or request.seed != self._seed
            return free or device.kind in (None, self._kind)

    def _accepts(self, request: Request, kind: str) -> bool:
        """Whether a device of this kind may measure it; the first under a seed decides."""
        if self._mixed or request.rows is None:
            return True
        with self._lock:
            if request.seed != self._seed:
                self._seed, self._kind = request.seed, kind
            return kind == self._kind
