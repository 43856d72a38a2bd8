"""One dataset in, one verdict out. Whatever goes wrong has an owner; only the miner's own doing counts."""

import logging
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

from flockoff.dataset import check_dataset, contamination_of, duplicate_fault, fault_of
from flockoff.errors import EvaluationFault, EvaluationStopped, HubError, MinerFault, Reason, SetupError
from flockoff.logs import TRACE
from flockoff.records import (
    Commitment,
    DatasetReport,
    Epoch,
    Evaluation,
    Measurement,
    Progress,
    Standing,
    Verdict,
)
from flockoff.validate.setting import EpochClock, Validator

log = logging.getLogger(__name__)

_DOWNLOADS_AT_ONCE = 4
_LOOK_SECONDS = 1.0
_NOT_THERE = frozenset({Reason.REPO_MISSING, Reason.COMMIT_MISSING, Reason.FILE_MISSING})


def judge_all(validator: Validator, epoch: Epoch, plan: list[Commitment], clock: EpochClock) -> None:
    """Judge the plan in its order until everyone has a verdict or ``clock`` says it is over.

    Downloads run ahead. Verdicts are stored one by one; those from before a restart are not made again.
    What could not be evaluated through no doing of its miner is tried again after each of
    ``validator.retry_pauses``.
    """
    _judge_round(validator, epoch, _left(validator, epoch, plan), clock)
    for pause in validator.retry_pauses:
        left = _left(validator, epoch, plan)
        if not left or clock.over():
            return
        log.info("%d datasets could not be evaluated; trying them again in %.0f s.", len(left), pause)
        resume_at = time.monotonic() + pause
        while time.monotonic() < resume_at:
            if validator.stop.wait(_LOOK_SECONDS) or clock.over():
                return
        _judge_round(validator, epoch, left, clock)


def _left(validator: Validator, epoch: Epoch, plan: list[Commitment]) -> list[Commitment]:
    """Those of the plan without a verdict, or with one that may change within the epoch."""
    settled = {
        verdict.hotkey
        for verdict in validator.ledger.verdicts(epoch.start_block)
        if verdict.standing != "not_evaluated"
    }
    return [commitment for commitment in plan if commitment.hotkey not in settled]


def _judge_round(validator: Validator, epoch: Epoch, left: list[Commitment], clock: EpochClock) -> None:
    pool = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="download")
    try:
        files = [pool.submit(_download, validator, commitment) for commitment in left]
        for commitment, file in zip(left, files, strict=True):
            if clock.over():
                return
            verdict = _judge(validator, epoch, commitment, file, clock)
            if verdict is None:
                return
            validator.ledger.record_verdict(verdict)
            log_verdict(verdict)
    finally:
        # Not waited for: weights are due, and what still arrives is there for the next look.
        pool.shutdown(wait=False, cancel_futures=True)


def remove_datasets(validator: Validator) -> None:
    """Remove what was downloaded for earlier epochs, and what an interrupted download left."""
    for file in validator.dataset_dir.glob("*"):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("Cannot remove %s: %s. It only takes space.", file, error.strerror)


def log_verdict(verdict: Verdict) -> None:
    if verdict.standing == "eligible":
        log.info("uid %d: eval loss %.6f, %s", verdict.uid, verdict.loss, verdict.model_id)
    elif verdict.standing == "at_fault":
        log.info("uid %d: at fault (%s): %s", verdict.uid, verdict.reason, verdict.detail)
    else:
        log.warning("uid %d: not evaluated, which costs the miner nothing: %s", verdict.uid, verdict.detail)


def _download(validator: Validator, commitment: Commitment) -> Path:
    model_id = commitment.model_id
    return validator.hub.download(
        model_id.namespace,
        model_id.commit,
        validator.dataset_dir,
        max_bytes=validator.competition.limits.max_bytes,
    )


def _judge(
    validator: Validator, epoch: Epoch, commitment: Commitment, file: Future[Path], clock: EpochClock
) -> Verdict | None:
    """The verdict on one commitment; None where the validator was asked to stop before there was one."""
    content_hash: str | None = None
    try:
        path = _wait_for(file, clock)
        report = _checked(validator, path)
        content_hash = report.content_hash
        assert content_hash is not None, "a valid dataset has a content hash"
        block = _claim(validator, commitment, content_hash)
        measurement = _measured(validator, epoch, commitment, content_hash, path, report.tokens, clock)
    except EvaluationStopped:
        if validator.stop.is_set():
            return None
        detail = "The epoch's time for evaluating ended before this dataset was measured."
        return _verdict(epoch, commitment, "not_evaluated", None, detail, content_hash=content_hash)
    except MinerFault as fault:
        patient = fault.reason in _NOT_THERE and _may_still_appear(validator, epoch, commitment)
        standing: Standing = "not_evaluated" if patient else "at_fault"
        return _verdict(epoch, commitment, standing, fault.reason, str(fault), content_hash=content_hash)
    except (HubError, EvaluationFault, SetupError) as fault:
        return _verdict(epoch, commitment, "not_evaluated", None, str(fault), content_hash=content_hash)
    return _verdict(
        epoch, commitment, "eligible", None, "", content_hash=content_hash, block=block, loss=measurement.loss
    )


def _wait_for(file: Future[Path], clock: EpochClock) -> Path:
    while not clock.over():
        try:
            return file.result(_LOOK_SECONDS)
        except NotYet:
            continue
    raise EvaluationStopped("The time for evaluating ended during a download.")


def _checked(validator: Validator, path: Path) -> DatasetReport:
    """The report on a dataset that is valid and not contaminated. Raises MinerFault."""
    rules = validator.competition
    report = check_dataset(path, rules.limits, validator.encoder)
    if not report.valid:
        raise fault_of(report)
    fault = contamination_of(
        path, rules.limits, rules.contamination, validator.encoder.special_tokens, validator.answers
    )
    if fault is not None:
        raise fault
    return report


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
    validator: Validator,
    epoch: Epoch,
    commitment: Commitment,
    content_hash: str,
    path: Path,
    tokens: int,
    clock: EpochClock,
) -> Measurement:
    """The dataset's measurement in this epoch: the stored one, or a new one that is stored at once."""
    stored = validator.ledger.find_evaluation(epoch.start_block, content_hash)
    if stored is not None:
        return stored.measurement
    log.info("uid %d: training on %s", commitment.uid, commitment.model_id)

    def on_progress(progress: Progress) -> None:
        loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
        log.log(
            TRACE, "uid %d: %s %d/%d%s", commitment.uid, progress.phase, progress.done, progress.total, loss
        )

    measurement = validator.evaluator.evaluate(
        path, content_hash, epoch.seed, tokens=tokens, on_progress=on_progress, should_stop=clock.over
    )
    if not math.isfinite(measurement.loss):
        raise MinerFault(
            Reason.LOSS_NOT_FINITE, f"Training on this dataset ends in a loss of {measurement.loss}."
        )
    validator.ledger.record_evaluation(
        Evaluation(epoch.start_block, commitment.hotkey, commitment.model_id, content_hash, measurement)
    )
    return measurement


def _may_still_appear(validator: Validator, epoch: Epoch, commitment: Commitment) -> bool:
    """Whether a dataset that is not there is still waited for: within an epoch of its commitment, and once.

    Waiting for each new commitment again would let a miner keep its score by committing what never appears.
    """
    if commitment.block < epoch.start_block - epoch.blocks:
        return False
    last = validator.ledger.last_verdict(commitment.hotkey, before=epoch.start_block)
    return last is None or last.reason not in _NOT_THERE


def _verdict(
    epoch: Epoch,
    commitment: Commitment,
    standing: Standing,
    reason: Reason | None,
    detail: str,
    *,
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
