"""The evaluations in progress, each in its own thread."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from flockoff.epoch.blame import may_compare
from flockoff.errors import EvaluationFault
from flockoff.logs import TRACE, event
from flockoff.records import Commitment, Epoch, Measurement, Progress
from flockoff.validate.preparation import Dataset
from flockoff.validate.validator import Validator

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """A commitment with a place in the epoch, on its way to a verdict: prepared, admitted, then evaluated."""

    commitment: Commitment
    tries: int = 0  # that failed through no fault of the miner's
    due: float = 0.0  # time.monotonic() of the next try
    prepared: "Future[Dataset] | None" = None
    dataset: Dataset | None = None  # once admitted: without others' rows
    block: int = 0  # where this hotkey first committed the dataset's content
    measurement: Future[Measurement] | None = None
    seconds: float = 0.0  # left in the epoch for evaluation when this one began
    begun: threading.Event = field(default_factory=threading.Event)  # set once there was progress

    @property
    def content_hash(self) -> str | None:
        """None while the content is unknown or invalid."""
        prepared = self.prepared
        if prepared is None or not prepared.done() or prepared.cancelled() or prepared.exception():
            return None
        return prepared.result().content_hash

    def try_later(self, due: float) -> None:
        self.tries += 1
        self.due = due
        self.prepared = self.dataset = self.measurement = None
        self.begun.clear()


class Evaluations:
    """Runs evaluations in threads. Its methods are called from one thread only, the ledger's.

    Leaving its context stops the evaluations in progress and waits for them.
    """

    def __init__(self, validator: Validator, epoch: Epoch) -> None:
        self._validator = validator
        self._epoch = epoch
        self._running: dict[str, Future[Measurement]] = {}  # by content hash
        self._over = threading.Event()
        self._kinds = {
            evaluation.measurement.provenance.device.kind
            for evaluation in validator.ledger.evaluations(epoch.start_block)
        }
        self._slots = validator.evaluator.slots
        self._pool = ThreadPoolExecutor(self._slots, thread_name_prefix="evaluate")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._pool.shutdown()

    @property
    def have_room(self) -> bool:
        return len(self._running) < self._slots

    def include(self, content_hash: str) -> bool:
        """Whether the content is being evaluated, for whichever hotkey."""
        return content_hash in self._running

    def under_way(self) -> list[Future[Measurement]]:
        return [*self._running.values()]

    def stop(self) -> None:
        """Make all evaluations in progress end within moments."""
        self._over.set()

    def begin(self, job: Job) -> None:
        """Start evaluating its dataset. There must be room, and the content must not be in progress."""
        assert job.dataset is not None, "only what is admitted is evaluated"
        job.measurement = self._pool.submit(self._evaluate, job, job.dataset)
        self._running[job.dataset.content_hash] = job.measurement

    def end(self, job: Job) -> Measurement:
        """The result of the job's evaluation, which is removed.

        Raises what ``Evaluator.evaluate`` does, and EvaluationFault for a loss that is not comparable with
        the epoch's others.
        """
        measurement, job.measurement = job.measurement, None
        assert measurement is not None and job.dataset is not None, "only what was begun ends"
        try:
            found = measurement.result()
        finally:
            self._running.pop(job.dataset.content_hash, None)
        kind = found.provenance.device.kind
        if not may_compare(found, self._kinds, mixed=self._validator.allow_mixed_devices):
            raise EvaluationFault(
                f"It was measured on another kind of device ({kind}) than the others in this "
                f"epoch ({', '.join(sorted(self._kinds))}).",
                remedy="The next epoch measures all on one kind; check whether a device is missing.",
            )
        self._kinds.add(kind)
        metrics = self._validator.metrics
        metrics.evaluation_seconds.observe(found.seconds)
        metrics.trained_tokens.inc(found.train_tokens * self._validator.competition.training.epochs)
        return found

    def _evaluate(self, job: Job, dataset: Dataset) -> Measurement:
        uid, model_id = job.commitment.uid, job.commitment.model_id

        def on_progress(progress: Progress) -> None:
            if not job.begun.is_set():
                job.begun.set()
                about = event("evaluation_started", uid=uid, model_id=model_id)
                log.info("uid %d: training on %s", uid, model_id, extra=about)
            loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
            log.log(TRACE, "uid %d: %s %d/%d%s", uid, progress.phase, progress.done, progress.total, loss)

        return self._validator.evaluator.evaluate(
            dataset.path,
            dataset.content_hash,
            self._epoch.seed,
            tokens=dataset.tokens,
            left_out=dataset.left_out,
            on_progress=on_progress,
            should_stop=lambda: self._over.is_set() or self._validator.stop.is_set(),
        )
