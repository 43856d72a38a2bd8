"""One dataset in, one verdict out. Whatever goes wrong has an owner; only the miner's own doing counts."""

import logging
import math
import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

from flockoff.dataset import duplicate_fault
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
from flockoff.logs import TRACE, event
from flockoff.metrics import EVAL_LOSS, EVALUATION_SECONDS, JUDGED, RETRIES, TRAINED_TOKENS, VERDICTS
from flockoff.records import Commitment, Epoch, Evaluation, Measurement, Progress, Standing, Verdict
from flockoff.retry import note
from flockoff.text import short_hotkey
from flockoff.validate.clock import EpochClock
from flockoff.validate.prepare import Preparation, Prepared, without_borrowed
from flockoff.validate.setting import Validator

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_NOT_THERE = frozenset({Reason.REPO_MISSING, Reason.COMMIT_MISSING, Reason.FILE_MISSING})


@dataclass(slots=True)
class _Place:
    """A commitment that has no verdict yet, or one that may change within the epoch."""

    commitment: Commitment
    tries: int = 0  # that came to nothing through no doing of the miner's
    due: float = 0.0  # time.monotonic() of the next try
    dataset: Future[Prepared] | None = None


def judge_all(validator: Validator, epoch: Epoch, plan: list[Commitment], clock: EpochClock) -> None:
    """Judge the plan until everyone has a verdict or ``clock`` says it is over.

    Of the datasets that are ready, the one with the first place is evaluated next. Verdicts are stored one
    by one; those from before a restart are not made again. What could not be had through no doing of its
    miner is tried again after each of ``validator.retry_pauses``, or when the hub says, and so is what the
    hub does not have: it may be the hub that errs. What the worker failed on is set aside for the epoch.
    """
    places = [_Place(commitment) for commitment in _left(validator, epoch, plan)]
    with Preparation(validator) as preparation:
        while places and not clock.over():
            ready = _first_ready(places, preparation)
            if ready is None:
                _wait(validator, places)
                continue
            place, dataset = ready
            judged = _judge(validator, epoch, place, dataset, clock)
            if judged is None:
                return
            verdict, fault = judged
            validator.ledger.record_verdict(verdict)
            log_verdict(verdict)
            if not _try_again(validator, place, verdict, fault):
                places.remove(place)
            JUDGED.set(len(plan) - len(places))


def _left(validator: Validator, epoch: Epoch, plan: list[Commitment]) -> list[Commitment]:
    """Those of the plan without a verdict, or with one that may change within the epoch."""
    settled = {
        verdict.hotkey
        for verdict in validator.ledger.verdicts(epoch.start_block)
        if verdict.standing != "not_evaluated" or verdict.set_aside
    }
    return [commitment for commitment in plan if commitment.hotkey not in settled]


def _first_ready(places: list[_Place], preparation: Preparation) -> tuple[_Place, Future[Prepared]] | None:
    """Have everything that is due prepared; the first place whose dataset is ready, or came to nothing."""
    now = time.monotonic()
    for place in places:
        if place.dataset is None and place.due <= now:
            place.dataset = preparation.begin(place.commitment)
    for place in places:
        if place.dataset is not None and place.dataset.done():
            return place, place.dataset
    return None


def _wait(validator: Validator, places: list[_Place]) -> None:
    under_way = [place.dataset for place in places if place.dataset is not None]
    if under_way:
        wait(under_way, _LOOK_SECONDS, FIRST_COMPLETED)
    else:
        soonest = min(place.due for place in places) - time.monotonic()
        validator.stop.wait(min(max(soonest, 0.0), _LOOK_SECONDS))


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
    place.tries += 1
    place.due = time.monotonic() + pause
    place.dataset = None
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


def _judge(
    validator: Validator, epoch: Epoch, place: _Place, dataset: Future[Prepared], clock: EpochClock
) -> tuple[Verdict, Fault | None] | None:
    """The verdict on the place's commitment, and the fault that kept it from being evaluated.

    None where the validator was asked to stop before there was one.
    """
    commitment = place.commitment
    content_hash: str | None = None
    try:
        prepared = dataset.result()
        content_hash = prepared.content_hash
        block = _claim(validator, commitment, content_hash)
        prepared = without_borrowed(validator, epoch, prepared)
        measurement = _measured(validator, epoch, commitment, prepared, clock)
    except MinerFault as error:
        waiting = error.reason in _NOT_THERE and (
            not _is_last_try(validator, place) or _may_still_appear(validator, epoch, commitment)
        )
        standing: Standing = "not_evaluated" if waiting else "at_fault"
        return _verdict(epoch, commitment, standing, error.reason, str(error), content_hash), None
    except EvaluationStopped as fault:
        if validator.stop.is_set():
            return None
        detail = "The epoch's time for evaluating ended before this dataset was measured."
        return _not_evaluated(epoch, commitment, fault, detail, content_hash), fault
    except (HubError, EvaluationFault, SetupError) as fault:
        note(fault)
        return _not_evaluated(epoch, commitment, fault, str(fault), content_hash), fault
    loss, note_to_miner = measurement.loss, prepared.note
    return _verdict(epoch, commitment, "eligible", None, note_to_miner, content_hash, block, loss), None


def _claim(validator: Validator, commitment: Commitment, content_hash: str) -> int:
    """Remember who committed this content; returns the first block in which this hotkey did.

    Raises MinerFault where another hotkey was first, as far as is known by now.
    """
    validator.ledger.claim_content(
        content_hash, commitment.hotkey, commitment.model_id, commitment.block, commitment.uid
    )
    owner = validator.ledger.owner(content_hash)
    assert owner is not None, "a content that was just claimed has an owner"
    if owner.hotkey != commitment.hotkey:
        raise duplicate_fault(owner)
    return owner.block


def _measured(
    validator: Validator, epoch: Epoch, commitment: Commitment, dataset: Prepared, clock: EpochClock
) -> Measurement:
    """The dataset's measurement in this epoch: the stored one, or a new one that is stored at once."""
    stored = validator.ledger.find_evaluation(epoch.start_block, dataset.content_hash)
    if stored is not None:
        return stored.measurement
    log.info(
        "uid %d: training on %s",
        commitment.uid,
        commitment.model_id,
        extra=event("evaluation_started", uid=commitment.uid, model_id=commitment.model_id),
    )

    def on_progress(progress: Progress) -> None:
        loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
        log.log(
            TRACE, "uid %d: %s %d/%d%s", commitment.uid, progress.phase, progress.done, progress.total, loss
        )

    measurement = validator.evaluator.evaluate(
        dataset.path,
        dataset.content_hash,
        epoch.seed,
        tokens=dataset.tokens,
        left_out=dataset.left_out,
        on_progress=on_progress,
        should_stop=clock.over,
    )
    if not math.isfinite(measurement.loss):
        raise MinerFault(
            Reason.LOSS_NOT_FINITE, f"Training on this dataset ends in a loss of {measurement.loss}."
        )
    evaluation = Evaluation(
        epoch.start_block,
        commitment.hotkey,
        commitment.model_id,
        dataset.content_hash,
        measurement,
        dataset.left_out,
    )
    _store(validator, evaluation, clock)
    EVALUATION_SECONDS.observe(measurement.seconds)
    TRAINED_TOKENS.inc(measurement.train_tokens * validator.competition.training.epochs)
    return measurement


def _store(validator: Validator, evaluation: Evaluation, clock: EpochClock) -> None:
    """Store an evaluation, also where the disk must be mended first: to lose it would be to train again."""
    while True:
        try:
            validator.ledger.record_evaluation(evaluation)
            return
        except LedgerUnavailable as fault:
            if clock.over():
                raise
            note(fault)
            log.error(
                "%s A finished evaluation waits to be stored: trying again every %.0f s.",
                fault,
                validator.fault_pause,
            )
            validator.stop.wait(validator.fault_pause)


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
