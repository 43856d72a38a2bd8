"""The evaluations of an epoch: what is admitted, what is under way, and the storing of what came out."""

import logging
import math
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from flockoff.dataset import duplicate_fault
from flockoff.errors import EvaluationFault, LedgerUnavailable, MinerFault, Reason
from flockoff.logs import TRACE, event
from flockoff.metrics import EVALUATION_SECONDS, TRAINED_TOKENS
from flockoff.records import Commitment, Epoch, Evaluation, Measurement, Progress, device_kind
from flockoff.retry import note
from flockoff.validate.clock import EpochClock
from flockoff.validate.prepare import Prepared, without_borrowed
from flockoff.validate.setting import Validator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A dataset that may be evaluated. ``block``: the first in which this hotkey committed the content."""

    commitment: Commitment
    dataset: Prepared
    block: int

    @property
    def content_hash(self) -> str:
        return self.dataset.content_hash


@dataclass(frozen=True, slots=True)
class Running:
    """An evaluation under way. ``begun`` is set once there was progress; before, it waits for a device."""

    admitted: Admitted
    measurement: Future[Measurement]
    begun: threading.Event = field(default_factory=threading.Event)


def admit(validator: Validator, epoch: Epoch, commitment: Commitment, dataset: Prepared) -> Admitted:
    """Claim a dataset's content for its hotkey, and leave out of it what belongs to others.

    Raises MinerFault where the content, or too much of it, belongs to others, as far as is known by now.
    """
    block = _claim(validator, commitment, dataset.content_hash)
    return Admitted(commitment, without_borrowed(validator, epoch, dataset), block)


def _claim(validator: Validator, commitment: Commitment, content_hash: str) -> int:
    """Remember who committed this content; returns the first block in which this hotkey did."""
    validator.ledger.claim_content(
        content_hash, commitment.hotkey, commitment.model_id, commitment.block, commitment.uid
    )
    owner = validator.ledger.owner(content_hash)
    assert owner is not None, "a content that was just claimed has an owner"
    if owner.hotkey != commitment.hotkey:
        raise duplicate_fault(owner)
    return owner.block


class Evaluations:
    """Evaluates in threads of its own; all that it is asked for it is asked by one thread, the ledger's.

    Leaving its context stops what is under way, and waits for that.
    """

    def __init__(self, validator: Validator, epoch: Epoch) -> None:
        self._validator = validator
        self._epoch = epoch
        self._running: dict[str, Running] = {}  # by content hash
        self._over = threading.Event()
        self._kinds = {
            device_kind(evaluation.measurement.provenance.device)
            for evaluation in validator.ledger.evaluations(epoch.start_block)
        }
        slots = validator.evaluator.slots
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="evaluate")
        self._slots = slots

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
        """Whether the content is being evaluated, whoever's it is."""
        return content_hash in self._running

    def under_way(self) -> list[Future[Measurement]]:
        return [running.measurement for running in self._running.values()]

    def stop(self) -> None:
        """Have all that is under way end within moments."""
        self._over.set()

    def stored(self, admitted: Admitted) -> Measurement | None:
        """The content's measurement in this epoch, if it was evaluated before, whoever's it was."""
        found = self._validator.ledger.find_evaluation(self._epoch.start_block, admitted.content_hash)
        return found.measurement if found is not None else None

    def begin(self, admitted: Admitted) -> Running:
        """Have it evaluated. There must be room, and the content must not be under way."""
        begun = threading.Event()
        measurement = self._pool.submit(self._evaluate, admitted, begun)
        running = self._running[admitted.content_hash] = Running(admitted, measurement, begun)
        return running

    def end(self, running: Running, clock: EpochClock) -> Measurement:
        """Wait for what the evaluation comes to, and store it at once.

        Raises MinerFault for a loss that is not a number, and what ``Evaluator.evaluate`` raises.
        """
        try:
            measurement = running.measurement.result()
        finally:
            self._running.pop(running.admitted.content_hash, None)
        if not math.isfinite(measurement.loss):
            raise MinerFault(
                Reason.LOSS_NOT_FINITE, f"Training on this dataset ends in a loss of {measurement.loss}."
            )
        self._require_comparable(measurement)
        self._store(running.admitted, measurement, clock)
        EVALUATION_SECONDS.observe(measurement.seconds)
        TRAINED_TOKENS.inc(measurement.train_tokens * self._validator.competition.training.epochs)
        return measurement

    def _evaluate(self, admitted: Admitted, begun: threading.Event) -> Measurement:
        uid, model_id = admitted.commitment.uid, admitted.commitment.model_id

        def on_progress(progress: Progress) -> None:
            if not begun.is_set():
                begun.set()
                about = event("evaluation_started", uid=uid, model_id=model_id)
                log.info("uid %d: training on %s", uid, model_id, extra=about)
            loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
            log.log(TRACE, "uid %d: %s %d/%d%s", uid, progress.phase, progress.done, progress.total, loss)

        return self._validator.evaluator.evaluate(
            admitted.dataset.path,
            admitted.content_hash,
            self._epoch.seed,
            tokens=admitted.dataset.tokens,
            left_out=admitted.dataset.left_out,
            on_progress=on_progress,
            should_stop=lambda: self._over.is_set() or self._validator.stop.is_set(),
        )

    def _require_comparable(self, measurement: Measurement) -> None:
        """Raises EvaluationFault for a kind of device that the epoch's other datasets were not measured on.

        Losses are compared by less than what another device's arithmetic may move them.
        """
        kind = device_kind(measurement.provenance.device)
        if self._kinds and kind not in self._kinds and not self._validator.allow_mixed_devices:
            raise EvaluationFault(
                f"It was measured on another kind of device ({kind}) than what it competes with in this "
                f"epoch ({', '.join(sorted(self._kinds))}).",
                remedy="The next epoch measures all on one kind; look whether a device is missing.",
            )
        self._kinds.add(kind)

    def _store(self, admitted: Admitted, measurement: Measurement, clock: EpochClock) -> None:
        """Store it, also where the disk must be mended first: to lose it would be to train again."""
        evaluation = Evaluation(
            self._epoch.start_block,
            admitted.commitment.hotkey,
            admitted.commitment.model_id,
            admitted.content_hash,
            measurement,
            admitted.dataset.left_out,
        )
        while True:
            try:
                stored = self._validator.ledger.record_evaluation(evaluation)
                log.debug("%s is evaluation %d: flockoff replay %d", evaluation.model_id, stored, stored)
                return
            except LedgerUnavailable as fault:
                if clock.over():
                    raise
                note(fault)
                log.error(
                    "%s A finished evaluation waits to be stored: trying again every %.0f s.",
                    fault,
                    self._validator.fault_pause,
                )
                self._validator.stop.wait(self._validator.fault_pause)
