"""Judges the queue's datasets until everyone has a verdict or the epoch's time is up."""

import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from typing import Any

from flockoff.dataset import (
    described_overlap,
    near_duplicate_fault,
    sealed_gap_fault,
)
from flockoff.epoch.blame import blamed, eligible, is_settled, is_too_slow, may_try_again
from flockoff.epoch.memory import Memory
from flockoff.errors import (
    EvaluationFault,
    EvaluationStopped,
    EvaluationTooSlow,
    Fault,
    HubError,
    HubTransient,
    LedgerUnavailable,
    MinerFault,
    SetupError,
)
from flockoff.logs import event
from flockoff.metrics import Metrics
from flockoff.ports import ShouldStop
from flockoff.records import Commitment, Epoch, Evaluation, Measurement, Progress, Verdict
from flockoff.text import duration, short_hotkey
from flockoff.validate.claims import claim_content, copied_content
from flockoff.validate.clock import EpochClock
from flockoff.validate.evaluations import Evaluations, Job
from flockoff.validate.first_sight import FirstSight
from flockoff.validate.forecast import log_forecast
from flockoff.validate.preparation import Dataset, Preparation
from flockoff.validate.validator import Validator

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


def judge_all(
    validator: Validator,
    epoch: Epoch,
    queue: Sequence[Commitment],
    clock: EpochClock,
    sights: FirstSight,
) -> None:
    """Judge the queue until everyone has a verdict or ``clock`` says it is over.

    Up to as many datasets as the evaluator has slots are evaluated concurrently, ready ones in the order of
    their places. The caller's thread does everything else: it claims contents, and stores each verdict, with
    its evaluation, the moment it exists. Verdicts from before a restart are kept. A dataset that failed
    through no fault of its miner is retried after each of ``validator.retry_pauses``, or when the hub says;
    so is one missing from the hub, which may be wrong. One that the worker failed on is set aside for the
    epoch. Once all are prepared, ``sights`` continues.
    """
    _Judge(validator, epoch, queue, clock, sights).judge()


def measure_base_loss(validator: Validator, should_stop: ShouldStop) -> None:
    """Measure the base model's loss without any adapter, for comparison."""

    def on_progress(progress: Progress) -> None:
        log.debug("base model: %s %d/%d", progress.phase, progress.done, progress.total)

    try:
        base = validator.evaluator.base_loss(on_progress=on_progress, should_stop=should_stop)
    except EvaluationStopped:
        return
    except EvaluationFault as fault:
        log.warning("The base model's loss could not be measured: %s", fault)
        return
    if base != validator.ledger.base_loss():
        validator.ledger.record_base_loss(base)
    validator.metrics.base_loss.set(base.loss)
    about = event("base_loss", loss=base.loss, tokens=base.eval_tokens)
    log.info("base model: eval loss %.6f over %d assistant tokens", base.loss, base.eval_tokens, extra=about)


class _Judge:
    def __init__(
        self,
        validator: Validator,
        epoch: Epoch,
        queue: Sequence[Commitment],
        clock: EpochClock,
        sights: FirstSight,
    ) -> None:
        ledger = validator.ledger
        settled = {each.hotkey for each in ledger.verdicts(epoch.start_block) if is_settled(each)}
        self._validator = validator
        self._epoch = epoch
        self._queue = queue
        self._clock = clock
        self._sights = sights
        self._memory: Memory = ledger.memory(epoch.start_block)
        self._jobs = [Job(commitment) for commitment in queue if commitment.hotkey not in settled]
        self._sizes_known = False

    def judge(self) -> None:
        validator = self._validator
        with Preparation(validator) as preparation, Evaluations(validator, self._epoch) as evaluations:
            self._have_prepared(preparation)
            measure_base_loss(validator, self._clock.over)  # while the datasets arrive
            log_forecast(validator, self._epoch, self._queue, self._clock)
            while self._jobs and not self._clock.over():
                self._have_prepared(preparation)
                self._forecast_by_size()
                if all(job.prepared is not None and job.prepared.done() for job in self._jobs):
                    self._sights.step()
                job = self._next(evaluations)
                if job is None:
                    self._wait(evaluations)
                    continue
                try:
                    self._go_on(job, evaluations)
                except LedgerUnavailable as fault:
                    if not evaluations.under_way():
                        raise
                    self._hold(fault)  # raising would lose the evaluations in progress
            evaluations.stop()  # the unfinished end within moments
            for job in [job for job in self._jobs if job.measurement is not None]:
                self._go_on(job, evaluations)

    # --- what is next ------------------------------------------------------------------------------------

    def _have_prepared(self, preparation: Preparation) -> None:
        now = time.monotonic()
        for job in self._jobs:
            if job.prepared is None and job.due <= now:
                job.prepared = preparation.begin(job.commitment.model_id)

    def _forecast_by_size(self) -> None:
        """Log the forecast once more, as soon as all sizes are known."""
        prepared = {job.commitment.model_id: job.prepared for job in self._jobs}
        ready = {model_id: one for model_id, one in prepared.items() if one is not None and one.done()}
        if self._sizes_known or len(ready) < len(prepared):
            return
        self._sizes_known = True
        sizes = {model_id: one.result().tokens for model_id, one in ready.items() if one.exception() is None}
        try:
            log_forecast(self._validator, self._epoch, self._queue, self._clock, sizes)
        except LedgerUnavailable as fault:  # evaluation continues without it
            self._validator.metrics.note(fault)
            log.warning("%s No forecast from the datasets' sizes.", fault)

    def _next(self, evaluations: Evaluations) -> Job | None:
        """The first job whose evaluation has ended, or else the first that can be evaluated now.

        Of what has arrived, all that was committed before it, or before one in evaluation, is admitted first:
        a copy is known as one, wherever its original's place is, and not trained on if that arrived in time.
        """
        for job in self._jobs:
            if job.measurement is not None and job.measurement.done():
                return job
        ready = [job for job in self._jobs if self._is_ready(job, evaluations)]
        first = ready[0] if ready and evaluations.have_room else None
        under_way = [job for job in self._jobs if job.measurement is not None or job is first]
        latest = max((job.commitment.block for job in under_way), default=0)
        before = [job for job in ready if job.dataset is None and job.commitment.block < latest]
        return min(before, key=lambda job: job.commitment.block, default=first)

    def _is_ready(self, job: Job, evaluations: Evaluations) -> bool:
        """Whether it can be admitted or, if it is admitted, evaluated now."""
        if job.measurement is not None or job.prepared is None or not job.prepared.done():
            return False
        return job.dataset is None or not evaluations.include(job.dataset.content_hash)

    def _wait(self, evaluations: Evaluations) -> None:
        prepared = [job.prepared for job in self._jobs if job.prepared is not None]
        awaited: list[Future[Any]] = [*evaluations.under_way(), *(one for one in prepared if not one.done())]
        if awaited:
            wait(awaited, _LOOK_SECONDS, FIRST_COMPLETED)
        else:
            soonest = min(job.due for job in self._jobs) - time.monotonic()
            self._validator.stop.wait(min(max(soonest, 0.0), _LOOK_SECONDS))

    def _hold(self, fault: LedgerUnavailable) -> None:
        self._validator.metrics.note(fault)
        log.warning("%s Trying again in %.0f s.", fault, self._validator.fault_pause)
        self._validator.stop.wait(self._validator.fault_pause)

    # --- one job -----------------------------------------------------------------------------------------

    def _go_on(self, job: Job, evaluations: Evaluations) -> None:
        """Take the job's next step; store its verdict, if that is one."""
        try:
            if job.dataset is None:
                self._admit(job)
                return
            measured = self._measured(job, evaluations)
            if measured is None:
                return
            measurement, is_new = measured
        except (MinerFault, HubError, EvaluationFault, SetupError) as fault:
            if not self._is_cut_short(job, fault):
                self._blame(job, self._unless_too_slow(job, fault))
            return
        assert job.dataset is not None, "a measured dataset was admitted"
        verdict = self._verdict(job, job.dataset, measurement)
        self._store_measured(verdict, self._evaluation(job, job.dataset, measurement) if is_new else None)
        self._done(job, verdict)

    def _admit(self, job: Job) -> None:
        """Claim the dataset's content for its hotkey, and leave out rows that belong to others.

        Raises MinerFault if the content, or too much of it, is known to belong to others.
        """
        assert job.prepared is not None, "an admitted dataset is prepared"
        dataset, commitment = job.prepared.result(), job.commitment
        owner, found = claim_content(self._validator, commitment, dataset, self._epoch.start_block)
        rules, owners = self._validator.competition.overlap, self._validator.ledger.owners()
        left_out = tuple(sorted({*dataset.left_out, *found.lines}))
        rows_left = dataset.rows - len(left_out)
        fault = near_duplicate_fault(found, rules, rows_left=rows_left, owners=owners)
        if fault is not None:
            raise fault
        if found.answers:
            why = f"{described_overlap(found)} These rows were not trained on."
            dataset = replace(dataset, left_out=left_out, note=why)
        job.dataset, job.block = dataset, owner.block

    def _measured(self, job: Job, evaluations: Evaluations) -> tuple[Measurement, bool] | None:
        """The dataset's measurement in this epoch, and whether it is new; None while in progress.

        Waits for a content being evaluated for another hotkey: it is measured once an epoch.
        """
        if job.measurement is not None:
            return evaluations.end(job), True
        assert job.dataset is not None, "a dataset is admitted before it is measured"
        content_hash = job.dataset.content_hash
        stored = self._validator.ledger.find_evaluation(self._epoch.start_block, content_hash)
        if stored is not None:
            return stored.measurement, False
        if not evaluations.include(content_hash):
            job.seconds = self._clock.seconds_left()
            evaluations.begin(job)
        return None

    def _verdict(self, job: Job, dataset: Dataset, measurement: Measurement) -> Verdict:
        """The verdict on a measured dataset: eligible, unless the sealed set shows that it learned the public
        one, or it turned out to be a copy meanwhile."""
        copied = copied_content(self._validator, job.commitment, dataset.content_hash)
        fault = copied or self._sealed_gap(measurement)
        if fault is not None:
            return blamed(
                self._epoch,
                job.commitment,
                fault,
                content_hash=dataset.content_hash,
                last=self._memory.last_verdicts.get(job.commitment.hotkey),
                final=True,
            )
        return eligible(
            self._epoch,
            job.commitment,
            dataset.content_hash,
            measurement.loss,
            block=job.block,
            note=dataset.note,
        )

    def _sealed_gap(self, measurement: Measurement) -> MinerFault | None:
        """The fault that the sealed set reveals; None for no fault, or without a base loss to compare
        with."""
        rules, sealed = self._validator.competition.sealed, self._validator.sealed_answers
        base = self._validator.ledger.base_loss()
        if rules is None or sealed is None or base is None or base.sealed_loss is None or not base.row_nll:
            return None
        return sealed_gap_fault(measurement, base, sealed.conversations, rules)

    def _is_cut_short(self, job: Job, fault: MinerFault | Fault) -> bool:
        """Whether there is no verdict: the evaluation was stopped with the program, or never begun."""
        stopped = isinstance(fault, EvaluationStopped)
        return stopped and (self._validator.stop.is_set() or (self._clock.over() and not job.begun.is_set()))

    def _unless_too_slow(self, job: Job, fault: MinerFault | Fault) -> MinerFault | Fault:
        """``fault``; or that the dataset is too slow, where it was cut off although it had most of an epoch's
        time.
        """
        whole, rules = self._clock.evaluation_seconds(), self._validator.competition.queue
        if not isinstance(fault, EvaluationStopped) or not is_too_slow(job.seconds, whole, rules):
            return fault
        return EvaluationTooSlow(
            f"It was not measured within {duration(job.seconds)}, most of an epoch's time for evaluation.",
            remedy="Others go first in the next epoch.",
        )

    def _blame(self, job: Job, fault: MinerFault | Fault) -> None:
        if isinstance(fault, Fault) and not isinstance(fault, EvaluationStopped):
            self._validator.metrics.note(fault)
        is_last_try = job.tries >= len(self._validator.retry_pauses)
        verdict = blamed(
            self._epoch,
            job.commitment,
            fault,
            content_hash=job.content_hash,
            last=self._memory.last_verdicts.get(job.commitment.hotkey),
            final=is_last_try,
        )
        self._validator.ledger.record_verdict(verdict)
        if is_last_try or not may_try_again(verdict):
            self._done(job, verdict)
            return
        pause = self._validator.retry_pauses[job.tries] * random.uniform(0.75, 1.25)
        if isinstance(fault, HubTransient) and fault.retry_after is not None:
            pause = max(pause, fault.retry_after)
        if pause > self._clock.seconds_left():  # waiting would be pointless
            self._done(job, verdict)
            return
        log_verdict(verdict, self._validator.metrics)
        self._validator.metrics.retries.labels(of="dataset").inc()
        about = event("retry", uid=verdict.uid, hotkey=short_hotkey(verdict.hotkey), seconds=pause)
        log.info("uid %d: trying again in %.0f s.", verdict.uid, pause, extra=about)
        job.try_later(time.monotonic() + pause)

    def _done(self, job: Job, verdict: Verdict) -> None:
        log_verdict(verdict, self._validator.metrics)
        self._jobs.remove(job)
        judged, left = len(self._queue) - len(self._jobs), self._clock.seconds_left()
        self._validator.metrics.judged.set(judged)
        self._validator.metrics.seconds_left.set(left)
        log.info(
            "Epoch %d: %d of %d datasets have a verdict, %s left for evaluating.",
            self._epoch.start_block,
            judged,
            len(self._queue),
            duration(left),
            extra=event("progress", judged=judged, places=len(self._queue), seconds_left=round(left)),
        )

    # --- storing -----------------------------------------------------------------------------------------

    def _evaluation(self, job: Job, dataset: Dataset, measurement: Measurement) -> Evaluation:
        return Evaluation(
            self._epoch.start_block,
            job.commitment.hotkey,
            job.commitment.model_id,
            dataset.content_hash,
            measurement,
            dataset.left_out,
        )

    def _store_measured(self, verdict: Verdict, evaluation: Evaluation | None) -> None:
        """Store it, waiting out a full or failing disk: a lost evaluation would have to be repeated."""
        while True:
            try:
                stored = self._validator.ledger.record_verdict(verdict, evaluation)
            except LedgerUnavailable as fault:
                if evaluation is None or self._clock.over():
                    raise
                self._validator.metrics.note(fault)
                pause = self._validator.fault_pause
                message = "%s A finished evaluation is waiting to be stored: trying again every %.0f s."
                log.error(message, fault, pause, extra=event("fault", fault=fault.kind, seconds=pause))
                self._validator.stop.wait(pause)
            else:
                if stored is not None:
                    log.debug("%s is evaluation %d: flockoff replay %d", verdict.model_id, stored, stored)
                return


def log_verdict(verdict: Verdict, metrics: Metrics) -> None:
    """Log a verdict, for people and collectors, and count it."""
    uid, reason = verdict.uid, verdict.reason or verdict.fault or ""
    metrics.verdicts.labels(standing=verdict.standing, reason=reason).inc()
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
        assert verdict.loss is not None, "an eligible dataset was measured"
        metrics.eval_loss.labels(uid=uid).set(verdict.loss)
        log.info("uid %d: eval loss %.6f, %s", uid, verdict.loss, verdict.model_id, extra=about)
    elif verdict.standing == "at_fault":
        log.info("uid %d: at fault (%s): %s", uid, verdict.reason, verdict.detail, extra=about)
    else:
        message = "uid %d: not evaluated, which costs the miner nothing: %s"
        log.warning(message, uid, verdict.detail, extra=about)
