"""Datasets in, verdicts out. Whatever goes wrong has an owner; only the miner's own doing counts."""

import logging
import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from flockoff.errors import (
    EvaluationFault,
    EvaluationStopped,
    Fault,
    HubError,
    HubTransient,
    LedgerUnavailable,
    MinerFault,
    Reason,
    SetupError,
)
from flockoff.logs import event
from flockoff.metrics import EVAL_LOSS, JUDGED, RETRIES, VERDICTS
from flockoff.records import Commitment, Epoch, Measurement, Standing, Verdict
from flockoff.retry import note
from flockoff.text import short_hotkey
from flockoff.validate.clock import EpochClock
from flockoff.validate.evaluations import Admitted, Evaluations, Running, admit
from flockoff.validate.outlook import log_outlook
from flockoff.validate.prepare import Preparation, Prepared
from flockoff.validate.setting import Validator

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_NOT_THERE = frozenset({Reason.REPO_MISSING, Reason.COMMIT_MISSING, Reason.FILE_MISSING})


@dataclass(slots=True, eq=False)
class _Place:
    """A commitment that has no verdict yet, or one that may change within the epoch.

    Its dataset is first prepared, then admitted (claimed and looked at), then evaluated.
    """

    commitment: Commitment
    tries: int = 0  # that came to nothing through no doing of the miner's
    due: float = 0.0  # time.monotonic() of the next try
    dataset: Future[Prepared] | None = None
    admitted: Admitted | None = None
    evaluation: Running | None = None

    def try_later(self, pause: float) -> None:
        self.tries += 1
        self.due = time.monotonic() + pause
        self.dataset = self.admitted = self.evaluation = None


_Judged = tuple[Verdict, Fault | None]  # and the fault that kept the dataset from being evaluated


def judge_all(validator: Validator, epoch: Epoch, plan: list[Commitment], clock: EpochClock) -> None:
    """Judge the plan until everyone has a verdict or ``clock`` says it is over.

    As many datasets are evaluated at once as the evaluator has slots; of those that are ready, the one with
    the first place is next. Everything else is done by the caller's thread, one after the other: claims, and
    the storing of each evaluation and verdict the moment it exists. Verdicts from before a restart are not
    made again. What could not be had through no doing of its miner is tried again after each of
    ``validator.retry_pauses``, or when the hub says, and so is what the hub does not have: it may be the hub
    that errs. What the worker failed on is set aside for the epoch.
    """
    _Judge(validator, epoch, plan, clock).judge()


class _Judge:
    def __init__(self, validator: Validator, epoch: Epoch, plan: list[Commitment], clock: EpochClock) -> None:
        self._validator = validator
        self._epoch = epoch
        self._plan = plan
        self._clock = clock
        self._places = [_Place(commitment) for commitment in _left(validator, epoch, plan)]
        self._told = False  # how many will be finished, by their sizes

    def judge(self) -> None:
        validator = self._validator
        with Preparation(validator) as preparation, Evaluations(validator, self._epoch) as evaluations:
            while self._places and not self._clock.over():
                self._have_prepared(preparation)
                self._tell_when_all_are_checked()
                place = self._next(evaluations)
                if place is None:
                    self._wait(evaluations)
                    continue
                try:
                    self._go_on(place, evaluations)
                except LedgerUnavailable as fault:
                    if not evaluations.under_way():
                        raise
                    self._hold(fault)  # what is under way would be lost
            evaluations.stop()  # what is not done by now is told so, and ends within moments
            for place in [place for place in self._places if place.evaluation is not None]:
                self._go_on(place, evaluations)

    def _have_prepared(self, preparation: Preparation) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.dataset is None and place.due <= now:
                place.dataset = preparation.begin(place.commitment)

    def _tell_when_all_are_checked(self) -> None:
        """Tell once more how many datasets will be evaluated in time: now their sizes are known."""
        datasets = {place.commitment.model_id: place.dataset for place in self._places}
        ready = {model_id: one for model_id, one in datasets.items() if one is not None and one.done()}
        if self._told or len(ready) < len(datasets):
            return
        self._told = True
        sizes = {model_id: one.result().tokens for model_id, one in ready.items() if one.exception() is None}
        try:
            log_outlook(self._validator, self._epoch, self._plan, self._clock, sizes)
        except LedgerUnavailable as fault:  # what is under way goes on without
            note(fault)
            log.warning("%s No forecast from the datasets' sizes.", fault)

    def _next(self, evaluations: Evaluations) -> _Place | None:
        """The first place whose evaluation has ended, or else that can be judged or evaluated now."""
        for place in self._places:
            if place.evaluation is not None and place.evaluation.measurement.done():
                return place
        if not evaluations.have_room:
            return None
        for place in self._places:
            if place.evaluation is not None or place.dataset is None or not place.dataset.done():
                continue
            if place.admitted is None or not evaluations.include(place.admitted.content_hash):
                return place
        return None

    def _wait(self, evaluations: Evaluations) -> None:
        datasets = [place.dataset for place in self._places if place.dataset is not None]
        awaited: list[Future[Any]] = [*evaluations.under_way()]
        if evaluations.have_room:
            awaited += [dataset for dataset in datasets if not dataset.done()]
        if awaited:
            wait(awaited, _LOOK_SECONDS, FIRST_COMPLETED)
        else:
            soonest = min(place.due for place in self._places) - time.monotonic()
            self._validator.stop.wait(min(max(soonest, 0.0), _LOOK_SECONDS))

    def _hold(self, fault: LedgerUnavailable) -> None:
        note(fault)
        log.warning("%s Trying again in %.0f s.", fault, self._validator.fault_pause)
        self._validator.stop.wait(self._validator.fault_pause)

    def _go_on(self, place: _Place, evaluations: Evaluations) -> None:
        """Take the place's next step; store the verdict where that is one."""
        judged = self._judged(place, evaluations)
        if judged is None:
            return
        verdict, fault = judged
        self._validator.ledger.record_verdict(verdict)
        log_verdict(verdict)
        if not _try_again(self._validator, place, verdict, fault):
            self._places.remove(place)
        JUDGED.set(len(self._plan) - len(self._places))

    def _judged(self, place: _Place, evaluations: Evaluations) -> _Judged | None:
        """The verdict on the place's commitment; None while its evaluation goes on, or where none began."""
        validator, epoch, commitment = self._validator, self._epoch, place.commitment
        running = place.evaluation
        content_hash: str | None = None
        try:
            if place.admitted is None:
                assert place.dataset is not None, "what is gone on with is prepared"
                content_hash = place.dataset.result().content_hash
                place.admitted = admit(validator, epoch, commitment, place.dataset.result())
            content_hash = place.admitted.content_hash
            measurement = self._measured(place, place.admitted, evaluations)
            if measurement is None:
                return None
        except MinerFault as error:
            waiting = error.reason in _NOT_THERE and (
                not _is_last_try(validator, place) or _may_still_appear(validator, epoch, commitment)
            )
            standing: Standing = "not_evaluated" if waiting else "at_fault"
            return _verdict(epoch, commitment, standing, error.reason, str(error), content_hash), None
        except EvaluationStopped as fault:
            if validator.stop.is_set() or (self._clock.over() and not _begun(running)):
                return None
            detail = "The epoch's time for evaluating ended before this dataset was measured."
            return _not_evaluated(epoch, commitment, fault, detail, content_hash), fault
        except (HubError, EvaluationFault, SetupError) as fault:
            note(fault)
            return _not_evaluated(epoch, commitment, fault, str(fault), content_hash), fault
        admitted = place.admitted
        told = admitted.dataset.note
        return _verdict(
            epoch, commitment, "eligible", None, told, content_hash, admitted.block, measurement.loss
        ), None

    def _measured(self, place: _Place, admitted: Admitted, evaluations: Evaluations) -> Measurement | None:
        """The dataset's measurement in this epoch, new or stored; None while it is under way.

        A content that is being evaluated as another's is waited for: it has one measurement an epoch.
        """
        running, place.evaluation = place.evaluation, None
        if running is not None:
            return evaluations.end(running, self._clock)
        stored = evaluations.stored(admitted)
        if stored is None and not evaluations.include(admitted.content_hash):
            place.evaluation = evaluations.begin(admitted)
        return stored


def _begun(running: Running | None) -> bool:
    return running is not None and running.begun.is_set()


def _left(validator: Validator, epoch: Epoch, plan: list[Commitment]) -> list[Commitment]:
    """Those of the plan without a verdict, or with one that may change within the epoch."""
    settled = {
        verdict.hotkey
        for verdict in validator.ledger.verdicts(epoch.start_block)
        if verdict.standing != "not_evaluated" or verdict.set_aside
    }
    return [commitment for commitment in plan if commitment.hotkey not in settled]


def _try_again(validator: Validator, place: _Place, verdict: Verdict, fault: Fault | None) -> bool:
    """Whether the place is to be tried again in this epoch; then it is made ready for that."""
    if (
        verdict.standing != "not_evaluated"
        or isinstance(fault, EvaluationFault)
        or _is_last_try(validator, place)
    ):
        return False
    pause = validator.retry_pauses[place.tries] * random.uniform(0.75, 1.25)
    if isinstance(fault, HubTransient) and fault.retry_after is not None:
        pause = max(pause, fault.retry_after)
    RETRIES.labels(of="dataset").inc()
    about = event("retry", uid=verdict.uid, hotkey=short_hotkey(verdict.hotkey), seconds=pause)
    log.info("uid %d: trying again in %.0f s.", verdict.uid, pause, extra=about)
    place.try_later(pause)
    return True


def _is_last_try(validator: Validator, place: _Place) -> bool:
    return place.tries >= len(validator.retry_pauses)


def log_verdict(verdict: Verdict) -> None:
    """Tell people and collectors of a verdict, and count it."""
    uid, reason = verdict.uid, verdict.reason or verdict.fault or ""
    VERDICTS.labels(standing=verdict.standing, reason=reason).inc()
    about = event(
        "verdict",
        epoch=verdict.epoch,
        uid=uid,
        hotkey=short_hotkey(verdict.hotkey),
        model_id=verdict.model_id,
        standing=verdict.standing,
        reason=reason,
        loss=verdict.loss,
        detail=verdict.detail,
    )
    if verdict.standing == "eligible":
        assert verdict.loss is not None, "the eligible were measured"
        EVAL_LOSS.labels(uid=uid).set(verdict.loss)
        log.info("uid %d: eval loss %.6f, %s", uid, verdict.loss, verdict.model_id, extra=about)
    elif verdict.standing == "at_fault":
        log.info("uid %d: at fault (%s): %s", uid, verdict.reason, verdict.detail, extra=about)
    else:
        told = "uid %d: not evaluated, which costs the miner nothing: %s"
        log.warning(told, uid, verdict.detail, extra=about)


def _may_still_appear(validator: Validator, epoch: Epoch, commitment: Commitment) -> bool:
    """Whether a dataset that is not there is still waited for: within an epoch of its commitment, and once.

    Waiting for each new commitment again would let a miner keep its score by committing what never appears.
    Who was blamed for that before has no score left to keep, and is waited for like anybody else.
    """
    if commitment.block < epoch.start_block - epoch.blocks:
        return False
    last = validator.ledger.last_verdict(commitment.hotkey, before=epoch.start_block)
    return last is None or last.standing != "not_evaluated" or last.reason not in _NOT_THERE


def _not_evaluated(
    epoch: Epoch, commitment: Commitment, fault: Fault, detail: str, content_hash: str | None
) -> Verdict:
    verdict = _verdict(epoch, commitment, "not_evaluated", None, detail, content_hash)
    return replace(verdict, fault=type(fault).__name__)


def _verdict(
    epoch: Epoch,
    commitment: Commitment,
    standing: Standing,
    reason: Reason | None,
    detail: str,
    content_hash: str | None,
    block: int | None = None,
    loss: float | None = None,
) -> Verdict:
    return Verdict(
        epoch=epoch.start_block,
        hotkey=commitment.hotkey,
        uid=commitment.uid,
        model_id=str(commitment.model_id),
        block=commitment.block if block is None else block,
        standing=standing,
        reason=reason,
        detail=detail,
        content_hash=content_hash,
        loss=loss,
    )
