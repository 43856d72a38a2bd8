"""The validator's loop: each epoch reads what there is, does what is missing, and stores it at once.

An epoch can be entered any number of times: what the ledger holds is not done again. So a restart, a lost
connection and an ordinary start are one and the same path.
"""

import logging

from flockoff.errors import ChainTransient, EvaluationFault, EvaluationStopped, Interrupted, UsageError
from flockoff.ledger import Ledger
from flockoff.records import Commitment, Epoch, EpochStatus, Progress, SubnetSnapshot, Verdict, WeightsSet
from flockoff.scoring import epoch_of, epoch_seed
from flockoff.validate.judge import judge_all, log_verdict, remove_datasets
from flockoff.validate.plan import plan_places, read_commitments, withdrawn
from flockoff.validate.setting import EpochClock, Validator
from flockoff.validate.settle import settle
from flockoff.validate.weights import choose_weights, landed_weights, submit_weights

log = logging.getLogger(__name__)

_RETRY_SECONDS = 15.0  # after a chain fault
_LONGEST_SLEEP = 300.0
_LOOK_SECONDS = 5.0  # the longest wait that a stop request cannot cut short


def run_epochs(validator: Validator, epochs: int | None) -> bool:
    """Run ``epochs`` epochs, or for ever for None; returns whether every one of them set its weights.

    Raises Interrupted when asked to stop, and whatever waiting does not heal: NotRegistered, UsageError,
    SetupError, LedgerError.
    """
    outcomes: dict[int, bool] = {}  # by start block: whether the weights were set
    while epochs is None or len(outcomes) < epochs:
        try:
            status = validator.chain.epoch_status()
            epoch = _epoch(validator, status)
            if epoch.start_block not in outcomes:
                outcome = run_epoch(validator, epoch, status)
                if outcome is not None:
                    outcomes[epoch.start_block] = outcome
                log.info("Waiting for the next epoch, from block %d.", epoch.end_block)
            if epochs is None or len(outcomes) < epochs:
                _wait_for_block(validator, epoch.end_block, status.seconds_per_block)
        except ChainTransient as fault:
            log.warning("%s Trying again in %.0f s.", fault, _RETRY_SECONDS)
            _pause(validator, _RETRY_SECONDS)
    return all(outcomes.values())


def run_epoch(validator: Validator, epoch: Epoch, status: EpochStatus) -> bool | None:
    """Evaluate, settle, set weights; returns whether the weights were set.

    None where this validator came too late to evaluate anything and has no weights from before.
    """
    ledger = validator.ledger
    deadline = epoch.end_block - validator.block_threshold
    clock = EpochClock(validator.chain, deadline, status.seconds_per_block, validator.stop)
    if not ledger.is_closed(epoch.start_block):
        if ledger.epoch(epoch.start_block) is not None:
            plan = ledger.begin_epoch(epoch, [])  # gives the stored plan, or finds that it is another chain's
        elif clock.over() and not ledger.scores():
            log.info("Epoch %d is nearly over: waiting for the next one.", epoch.start_block)
            return None
        else:
            plan = _begin(validator, epoch)
        if plan:
            _log_base_loss(validator, clock)
            judge_all(validator, epoch, plan, clock)
        if validator.stop.is_set():
            raise Interrupted
        _close(validator, epoch.start_block)
    if ledger.weights_of_epoch(epoch.start_block) is not None:
        return True
    return _set_weights(validator, epoch, status.seconds_per_block)


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
    remove_datasets(validator)
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
    )
    return plan


def _snapshot_at_start(validator: Validator, epoch: Epoch) -> SubnetSnapshot:
    """The subnet as it was when the epoch started, so that nobody can slip out of it by committing anew.

    A node that no longer has that block's state shows the present one.
    """
    try:
        return validator.chain.snapshot(epoch.start_block)
    except ChainTransient as fault:
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
    log.info("base model: eval loss %.6f over %d assistant tokens", base.loss, base.eval_tokens)


def _close(validator: Validator, start_block: int) -> None:
    """Settle the epoch's verdicts and store scores and all in one go."""
    ledger = validator.ledger
    snapshot = validator.chain.snapshot()
    verdicts = ledger.verdicts(start_block)
    settlement = settle(verdicts, ledger, snapshot, validator.competition.scoring)
    for verdict in settlement.copies:
        ledger.record_verdict(verdict)
        log_verdict(verdict)
    ledger.close_epoch(
        start_block,
        block=snapshot.block,
        scores=settlement.scores,
        evaluated=[verdict.hotkey for verdict in settlement.verdicts if _had_its_turn(ledger, verdict)],
        win_rates=settlement.win_rates,
        shares=settlement.shares,
    )
    log.info("Epoch %d: %d datasets competed.", start_block, len(settlement.shares))


def _had_its_turn(ledger: Ledger, verdict: Verdict) -> bool:
    """Whether the hotkey waits anew from this epoch on.

    Who could not be evaluated keeps its place in the queue, but not twice in a row: a few datasets that can
    never be evaluated would otherwise hold the places of those who wait.
    """
    if verdict.standing != "not_evaluated":
        return True
    last = ledger.last_verdict(verdict.hotkey, before=verdict.epoch)
    return last is not None and last.standing == "not_evaluated"


def _set_weights(validator: Validator, epoch: Epoch, seconds_per_block: float) -> bool:
    ledger = validator.ledger
    closed_block = ledger.closed_block(epoch.start_block)
    assert closed_block is not None, "weights follow from an epoch that is closed"
    snapshot = validator.chain.snapshot()
    verdicts = ledger.verdicts(epoch.start_block)
    evaluated = any(verdict.standing != "not_evaluated" for verdict in verdicts)
    failed = any(verdict.standing == "not_evaluated" and verdict.reason is None for verdict in verdicts)
    if failed and not evaluated and ledger.last_weights() is None:
        # Burning would have the miners pay for what is not their doing.
        log.error("WEIGHTS NOT SET: no dataset could be evaluated, and there are no earlier weights to set.")
        return False
    weights = choose_weights(
        ledger.scores(), ledger.last_weights(), evaluated, snapshot, validator.competition.scoring
    )
    receipt = landed_weights(snapshot, validator.chain.hotkey, closed_block)
    if receipt is None:
        clock = EpochClock(validator.chain, epoch.end_block, seconds_per_block, validator.stop)
        receipt = submit_weights(validator, weights, clock, seconds_per_block, since=closed_block)
    if receipt is None:
        return False
    hotkeys = {neuron.uid: neuron.hotkey for neuron in snapshot.neurons}
    by_hotkey = {hotkeys[uid]: weight for uid, weight in weights.items()}
    ledger.record_weights(WeightsSet(epoch.start_block, receipt.block, receipt.extrinsic, by_hotkey))
    log.info("Weights set in block %s: %s", receipt.block, _shown(weights))
    return True


def _shown(weights: dict[int, float]) -> str:
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"uid {uid} {weight:.4f}" for uid, weight in ranked)


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
