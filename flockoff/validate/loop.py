"""The validator's loop: each epoch reads what there is, does what is missing, and stores it at once.

An epoch can be entered any number of times: what the ledger holds is not done again. So a restart, a lost
connection and an ordinary start are one and the same path.
"""

import logging
from collections.abc import Iterable, Mapping

from flockoff.errors import (
    ChainPruned,
    ChainTransient,
    EvaluationFault,
    EvaluationStopped,
    Fault,
    Interrupted,
    LedgerUnavailable,
    SetupError,
    UsageError,
)
from flockoff.ledger import Ledger
from flockoff.logs import event
from flockoff.metrics import (
    BASE_LOSS,
    EPOCH_END,
    EPOCH_START,
    EPOCHS_WITHOUT_WEIGHTS,
    JUDGED,
    PLACES,
    RETRIES,
    WEIGHTS_SET_AT,
)
from flockoff.records import Commitment, Epoch, EpochStatus, Progress, SubnetSnapshot, Verdict, WeightsSet
from flockoff.retry import backoff, note
from flockoff.scoring import epoch_of, epoch_seed
from flockoff.validate.clock import EpochClock
from flockoff.validate.judge import judge_all, log_verdict
from flockoff.validate.outlook import log_outlook
from flockoff.validate.plan import plan_places, read_commitments, withdrawn
from flockoff.validate.setting import Validator
from flockoff.validate.settle import settle
from flockoff.validate.weights import choose_weights, landed_weights, submit_weights

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 6.0  # times the first, while a fault lasts
_LONGEST_SLEEP = 300.0
_LOOK_SECONDS = 5.0  # the longest wait that a stop request cannot cut short
_NOT_SET = "weights_not_set"
_STUBBORN_EPOCHS = 3  # after so many the operator is told of a dataset that the worker cannot take


def run_epochs(validator: Validator, epochs: int | None) -> bool:
    """Run ``epochs`` epochs, or for ever for None; returns whether every one of them set its weights.

    Waits out what may be mended: the chain, the ledger's disk. Raises Interrupted when asked to stop, and
    whatever waiting does not heal: NotRegistered, UsageError, LedgerError, SetupError where the base model
    cannot be used at all.
    """
    run = _Run()
    tries = 0
    while epochs is None or run.finished < epochs:
        try:
            status = validator.chain.epoch_status()
            epoch = _epoch(validator, status)
            clock = run.enter(validator, epoch, status)
            if clock is not None:
                outcome = run_epoch(validator, epoch, clock)
                run.leave(outcome)
                for tell in validator.after_epoch if outcome is not None else ():
                    tell(epoch.start_block)
            tries = 0
            if epochs is None or run.finished < epochs:
                log.info(
                    "Waiting for the next epoch, from block %d.",
                    epoch.end_block,
                    extra=event("waiting", block=epoch.end_block),
                )
                _wait_for_block(validator, epoch.end_block, status.seconds_per_block)
        except (ChainTransient, ChainPruned, LedgerUnavailable) as fault:
            tries += 1
            RETRIES.labels(of="ledger" if isinstance(fault, LedgerUnavailable) else "chain").inc()
            pause = backoff(
                tries, first=validator.fault_pause, longest=_LONGEST_PAUSE * validator.fault_pause
            )
            run.say(fault, pause)
            _pause(validator, pause)
    return run.all_set


class _Run:
    """Where the loop is: which epoch is under way, and what became of those before."""

    def __init__(self) -> None:
        self.finished = 0
        self.all_set = True
        self._last: int | None = None  # start block of the last epoch that was left
        self._clock: EpochClock | None = None  # of the epoch under way

    def enter(self, validator: Validator, epoch: Epoch, status: EpochStatus) -> EpochClock | None:
        """The clock of ``epoch``, or None if it was left already."""
        if self._clock is not None and self._clock.epoch.start_block < epoch.start_block:
            ended = self._clock.epoch.start_block
            log.error("WEIGHTS NOT SET: epoch %d ended first.", ended, extra=event(_NOT_SET, epoch=ended))
            self.leave(False)
        if epoch.start_block == self._last:
            return None
        self._clock = EpochClock(
            validator.chain,
            epoch,
            status,
            threshold=validator.block_threshold,
            blocks_per_epoch=validator.blocks_per_epoch,
            stop=validator.stop,
        )
        return self._clock

    def leave(self, outcome: bool | None) -> None:
        """The epoch under way is done with; ``outcome``: whether its weights are set, None for not tried."""
        assert self._clock is not None
        self._last, self._clock = self._clock.epoch.start_block, None
        if outcome is False:
            EPOCHS_WITHOUT_WEIGHTS.inc()
        if outcome is not None:
            self.finished += 1
            self.all_set &= outcome

    def say(self, fault: Fault, pause: float) -> None:
        """Log a fault that is waited out: loudly where weights are due."""
        note(fault)
        if self._clock is not None and self._clock.late():
            told = "WEIGHTS NOT SET, and the epoch ends soon: %s Trying again in %.0f s."
            log.error(told, fault, pause, extra=event(_NOT_SET, fault=type(fault).__name__, seconds=pause))
        else:
            about = event("fault", fault=type(fault).__name__, seconds=pause)
            log.warning("%s Trying again in %.0f s.", fault, pause, extra=about)


def run_epoch(validator: Validator, epoch: Epoch, clock: EpochClock) -> bool | None:
    """Evaluate, settle, set weights; returns whether the weights were set.

    None where this validator came too late to evaluate anything and has no weights from before.
    """
    ledger = validator.ledger
    if not ledger.is_closed(epoch.start_block):
        if ledger.epoch(epoch.start_block) is not None:
            plan = ledger.begin_epoch(epoch, [])  # gives the stored plan, or finds that it is another chain's
        elif clock.over() and not ledger.scores():
            log.info("Epoch %d is nearly over: waiting for the next one.", epoch.start_block)
            return None
        else:
            plan = _begin(validator, epoch)
        EPOCH_START.set(epoch.start_block)
        EPOCH_END.set(epoch.end_block)
        PLACES.set(len(plan))
        JUDGED.set(0)
        if plan:
            _make_room(validator, plan)
            _log_base_loss(validator, clock)
            log_outlook(validator, epoch, plan, clock)
            judge_all(validator, epoch, plan, clock)
        if validator.stop.is_set():
            raise Interrupted
        _close(validator, epoch.start_block)
    if ledger.weights_of_epoch(epoch.start_block) is not None:
        return True
    return _set_weights(validator, epoch, clock)


def _epoch(validator: Validator, status: EpochStatus) -> Epoch:
    start, end = epoch_of(status, validator.blocks_per_epoch)
    if end - start <= validator.block_threshold:
        raise UsageError(
            f"An epoch of {end - start} blocks leaves no time before the last {validator.block_threshold}.",
            remedy="Give a smaller --block_threshold.",
        )
    return Epoch(start, end, epoch_seed(validator.chain.block_hash(start), validator.netuid))


def _begin(validator: Validator, epoch: Epoch) -> list[Commitment]:
    """Plan the epoch from one snapshot and store the plan, with the verdicts that need no evaluation."""
    ledger = validator.ledger
    for start_block in ledger.open_epochs():
        log.info("Closing epoch %d, which ended while this validator could not close it.", start_block)
        _close(validator, start_block)
    snapshot = _snapshot_at_start(validator, epoch)
    commitments, faults = read_commitments(snapshot, epoch, validator.competition.id, ledger)
    plan = plan_places(commitments, validator, epoch)
    verdicts = withdrawn(snapshot, commitments, faults, epoch, ledger)
    ledger.begin_epoch(epoch, plan, verdicts)
    for verdict in verdicts:
        log_verdict(verdict)
    log.info(
        "Epoch %d to %d: %d of %d miners with a dataset have a place, seed %d.",
        epoch.start_block,
        epoch.end_block,
        len(plan),
        len(commitments),
        epoch.seed,
        extra=event("epoch_begun", epoch=epoch.start_block, places=len(plan), seed=epoch.seed),
    )
    return plan


def _make_room(validator: Validator, plan: list[Commitment]) -> None:
    needed = {(commitment.model_id.namespace, commitment.model_id.commit) for commitment in plan}
    try:
        validator.datasets.begin(needed)
    except SetupError as fault:
        note(fault)
        log.error("%s Going on with what can be read and written.", fault)


def _snapshot_at_start(validator: Validator, epoch: Epoch) -> SubnetSnapshot:
    """The subnet as it was when the epoch started, so that nobody can slip out of it by committing anew.

    A node that no longer has that block's state shows the present one.
    """
    try:
        return validator.chain.snapshot(epoch.start_block)
    except ChainPruned as fault:
        log.warning("%s Going by the latest block instead of the epoch's first.", fault)
        return validator.chain.snapshot()


def _log_base_loss(validator: Validator, clock: EpochClock) -> None:
    """Measure what the evaluation set's loss is without any adapter, for people to compare with."""

    def on_progress(progress: Progress) -> None:
        log.debug("base model: %s %d/%d", progress.phase, progress.done, progress.total)

    try:
        base = validator.evaluator.base_loss(on_progress=on_progress, should_stop=clock.over)
    except EvaluationStopped:
        return
    except EvaluationFault as fault:
        log.warning("The base model's own loss could not be measured: %s", fault)
        return
    if base != validator.ledger.base_loss():
        validator.ledger.record_base_loss(base)
    BASE_LOSS.set(base.loss)
    about = event("base_loss", loss=base.loss, tokens=base.eval_tokens)
    log.info("base model: eval loss %.6f over %d assistant tokens", base.loss, base.eval_tokens, extra=about)


def _close(validator: Validator, start_block: int) -> None:
    """Settle the epoch's verdicts and store scores and all in one go."""
    ledger = validator.ledger
    snapshot = validator.chain.snapshot()
    verdicts = ledger.verdicts(start_block)
    settlement = settle(verdicts, ledger, snapshot, validator.competition, validator.public_sample)
    for verdict in settlement.copies:
        ledger.record_verdict(verdict)
        log_verdict(verdict)
    ledger.sketches.remember_again(settlement.looked_at)
    ledger.sketches.bear_witness(settlement.witnesses)
    ledger.close_epoch(
        start_block,
        block=snapshot.block,
        scores=settlement.scores,
        evaluated=[verdict.hotkey for verdict in settlement.verdicts if _had_its_turn(ledger, verdict)],
        win_rates=settlement.win_rates,
        shares=settlement.shares,
    )
    about = event("epoch_closed", epoch=start_block, eligible=len(settlement.shares))
    log.info("Epoch %d: %d datasets competed.", start_block, len(settlement.shares), extra=about)
    if settlement.shares:
        _tell_of_stubborn(ledger, settlement.verdicts)


def _tell_of_stubborn(ledger: Ledger, verdicts: Iterable[Verdict]) -> None:
    """Tell the operator of datasets that the worker keeps failing on while it can take others."""
    for verdict in verdicts:
        if not verdict.set_aside or verdict.content_hash is None:
            continue
        epochs = 1 + ledger.evaluation_faults(verdict.content_hash, before=verdict.epoch)
        if epochs >= _STUBBORN_EPOCHS:
            log.error(
                "uid %d: %s could not be evaluated in %d epochs, while others could. It keeps its score, and "
                "its place comes last. Please look at it and report it. The last time: %s",
                verdict.uid,
                verdict.model_id,
                epochs,
                verdict.detail,
            )


def _had_its_turn(ledger: Ledger, verdict: Verdict) -> bool:
    """Whether the hotkey waits anew from this epoch on.

    Who could not be evaluated keeps its place in the queue, but not twice in a row: a few datasets that can
    never be evaluated would otherwise hold the places of those who wait.
    """
    if verdict.standing != "not_evaluated":
        return True
    last = ledger.last_verdict(verdict.hotkey, before=verdict.epoch)
    return last is not None and last.standing == "not_evaluated"


def _set_weights(validator: Validator, epoch: Epoch, clock: EpochClock) -> bool:
    ledger = validator.ledger
    closed_block = ledger.closed_block(epoch.start_block)
    assert closed_block is not None, "weights follow from an epoch that is closed"
    snapshot = validator.chain.snapshot()
    chosen = ledger.chosen_weights(epoch.start_block)
    receipt = landed_weights(snapshot, validator.chain.hotkey, closed_block)
    if receipt is None or chosen is None:
        made = _weights_now(validator, epoch, snapshot)
        if made is None:
            log.error(
                "WEIGHTS NOT SET: no dataset could be evaluated, and there are no earlier weights to set.",
                extra=event(_NOT_SET, epoch=epoch.start_block),
            )
            return False
        weights, consensus = made
        hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
        chosen = {hotkeys[uid]: weight for uid, weight in weights.items()}
        # Before they are sent, so that weights found on chain after a crash are known for what they are.
        ledger.choose_weights(epoch.start_block, chosen, consensus)
        receipt = receipt or submit_weights(validator, weights, clock, since=closed_block)
    if receipt is None:
        told = "WEIGHTS NOT SET: the epoch ended first. They are set again in the next one."
        log.error(told, extra=event(_NOT_SET, epoch=epoch.start_block))
        return False
    WEIGHTS_SET_AT.set_to_current_time()
    ledger.record_weights(WeightsSet(epoch.start_block, receipt.block, receipt.extrinsic, chosen))
    uids = {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    shown = _shown(chosen, uids)
    about = event("weights_set", epoch=epoch.start_block, block=receipt.block, weights=shown)
    log.info("Weights set in block %s: %s", receipt.block, shown, extra=about)
    return True


def _weights_now(
    validator: Validator, epoch: Epoch, snapshot: SubnetSnapshot
) -> tuple[dict[int, float], dict[str, float] | None] | None:
    """The weights to send, and the consensus that went into them; None where none are better than a burn.

    The consensus is None where the weights are the last ones again.

    With nothing evaluated through our own faults and no weights from before, burning would have the miners
    pay for what is not their doing.
    """
    ledger = validator.ledger
    verdicts = ledger.verdicts(epoch.start_block)
    evaluated = any(verdict.standing != "not_evaluated" for verdict in verdicts)
    failed = any(verdict.standing == "not_evaluated" and verdict.reason is None for verdict in verdicts)
    if failed and not evaluated and ledger.last_weights() is None:
        return None
    last = ledger.last_weights()
    weights = choose_weights(ledger.scores(), last, evaluated, snapshot, validator.competition.scoring)
    consensus = {neuron.hotkey: neuron.consensus for neuron in snapshot.neurons if neuron.consensus > 0}
    return weights, None if last is not None and not evaluated else consensus


def _shown(weights: Mapping[str, float], uids: Mapping[str, int]) -> str:
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"uid {uids.get(hotkey, '-')} {weight:.4f}" for hotkey, weight in ranked)


def _wait_for_block(validator: Validator, block: int, seconds_per_block: float) -> None:
    """Wait for ``block``: asleep while it is far, then by the chain's own announcement of it.

    Returns early now and then, so that the caller sees an epoch that came to begin at another block.
    """
    seconds = (block - validator.chain.block() - 2) * seconds_per_block
    _pause(validator, min(max(0.0, seconds), _LONGEST_SLEEP))
    while seconds <= _LONGEST_SLEEP and not validator.chain.wait_for_block(block, timeout=_LOOK_SECONDS):
        _pause(validator, 0)


def _pause(validator: Validator, seconds: float) -> None:
    if validator.stop.wait(seconds):
        raise Interrupted
