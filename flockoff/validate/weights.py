"""Getting an epoch's weights onto the chain before it ends."""

import logging
from collections.abc import Mapping

from flockoff.epoch.weights import Action, WeightsDecision, decide_weights
from flockoff.errors import ChainCooldown, ChainError, ChainFatal, ChainTransient, Interrupted, NoFunds
from flockoff.logs import event
from flockoff.metrics import Metrics, show_by_uid
from flockoff.records import Epoch, Receipt, SubnetSnapshot, WeightsSet
from flockoff.text import counted
from flockoff.validate.clock import EpochClock
from flockoff.validate.validator import Validator

log = logging.getLogger(__name__)

NOT_SET = "weights_not_set"  # the event's name
_PAUSE_BLOCKS = 2  # after a transient fault
_LONG_PAUSE_BLOCKS = 10  # after one that somebody has to fix


def set_weights(validator: Validator, epoch: Epoch, clock: EpochClock) -> bool:
    """Decide on a closed epoch's weights and set them; returns whether they are on chain.

    The decision is stored before it is sent, so that weights found on chain after a crash, or after a
    submission whose answer was lost, can be recognised: those set after the epoch was closed are these.
    Raises NotRegistered, and Interrupted when the validator is asked to stop.
    """
    ledger = validator.ledger
    closed_block = ledger.closed_block(epoch.start_block)
    assert closed_block is not None, "only a closed epoch has weights"
    snapshot = _snapshot_with_permit(validator, clock)
    uids = {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    chosen: Mapping[str, float] | None = ledger.chosen_weights(epoch.start_block)
    receipt = _landed(snapshot, validator.chain.hotkey, closed_block)
    if receipt is None or chosen is None:
        decision = _decide(validator, epoch, snapshot)
        if decision.action is Action.HOLD:
            log.error("WEIGHTS NOT SET: %s", decision.reason, extra=event(NOT_SET, epoch=epoch.start_block))
            return False
        _log_decision(decision, uids)
        chosen = decision.weights
        ledger.record_choice(epoch.start_block, chosen, decision.consensus)
        by_uid = {uids[hotkey]: weight for hotkey, weight in chosen.items()}
        while receipt is None:
            try:
                receipt = validator.chain.set_weights(by_uid, since=closed_block)
            except (ChainCooldown, ChainTransient, ChainFatal, NoFunds) as fault:
                if not _wait_out(fault, validator, clock):
                    log.error(
                        "WEIGHTS NOT SET: the epoch ended first. They are set again in the next one.",
                        extra=event(NOT_SET, epoch=epoch.start_block),
                    )
                    return False
    validator.metrics.weights_set_at.set_to_current_time()
    show_by_uid(validator.metrics.weight, chosen, uids)
    ledger.record_weights(WeightsSet(epoch.start_block, receipt.block, receipt.extrinsic, chosen))
    shown = _shown(chosen, uids)
    about = event("weights_set", epoch=epoch.start_block, block=receipt.block, weights=shown)
    log.info("Weights set in block %s: %s", receipt.block, shown, extra=about)
    return True


def _snapshot_with_permit(validator: Validator, clock: EpochClock) -> SubnetSnapshot:
    """The subnet now. Waits for a missing permit until the epoch ends, sending nothing.

    Raises Interrupted when the validator is asked to stop.
    """
    hotkey = validator.chain.hotkey
    while True:
        snapshot = validator.chain.snapshot()
        if snapshot.counts(hotkey) or snapshot.neuron(hotkey) is None or clock.ended():
            return snapshot
        log.error(
            "WEIGHTS NOT SET, %s before the epoch's end: This hotkey has no validator permit, or too "
            "little stake, so the chain accepts none. Checking again in %d blocks.",
            counted(clock.blocks_left(), "block"),
            _LONG_PAUSE_BLOCKS,
            extra=event(NOT_SET, blocks=_LONG_PAUSE_BLOCKS),
        )
        if validator.stop.wait(min(_LONG_PAUSE_BLOCKS, clock.blocks_left() + 1) * clock.seconds_per_block):
            raise Interrupted


def check_last_weights(validator: Validator, snapshot: SubnetSnapshot) -> None:
    """Log an error, once, if the weights on chain differ from those last set, which nothing else would
    notice.

    Under commit-reveal weights are sealed at first, and dropped if they cannot be revealed. Some may be
    unrevealed at any time, so the comparison is with those set before.
    """
    uids = {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    if validator.chain.hotkey not in uids:
        return
    on_chain = validator.chain.weights_on_chain()
    last = validator.ledger.last_weights(before=min(on_chain.sealed, default=None))
    if last is None or not last.weights or last.epoch in validator.reported_differing:
        return
    # A hotkey that has left has no uid any more, and the chain dropped the weight on it.
    left = {hotkey: -place for place, hotkey in enumerate(last.weights, start=1) if hotkey not in uids}
    sent = {uids.get(hotkey, left.get(hotkey, 0)): weight for hotkey, weight in last.weights.items()}
    if on_chain.are(sent, gone=left.values()):
        return
    validator.reported_differing.add(last.epoch)
    validator.metrics.weights_differ.inc()
    log.error(
        "The weights on chain are not those that were set in block %s, for epoch %d. Check whether another "
        "program uses this hotkey and, on a subnet with commit-reveal, whether the chain had the Drand "
        "beacon when they were due to be revealed. New ones are set at this epoch's end.",
        last.block,
        last.epoch,
        extra=event("weights_differ", epoch=last.epoch, block=last.block),
    )


def _decide(validator: Validator, epoch: Epoch, snapshot: SubnetSnapshot) -> WeightsDecision:
    ledger = validator.ledger
    memory = ledger.memory()
    verdicts = ledger.verdicts(epoch.start_block)
    judged = {verdict.hotkey for verdict in verdicts}
    places = ledger.epoch_plan(epoch.start_block) or []
    return decide_weights(
        verdicts,
        memory.scores,
        memory.last_weights,
        snapshot,
        validator.chain.hotkey,
        validator.competition.scoring,
        unjudged=sum(place.hotkey not in judged for place in places),
    )


def _wait_out(fault: ChainError, validator: Validator, clock: EpochClock) -> bool:
    """Log the fault and wait until the weights can be sent again; False if the epoch has ended.

    Raises Interrupted when the validator is asked to stop.
    """
    if isinstance(fault, ChainCooldown):
        blocks = fault.blocks_left or _PAUSE_BLOCKS
    else:
        blocks = _PAUSE_BLOCKS if isinstance(fault, ChainTransient) else _LONG_PAUSE_BLOCKS
    _log_fault(fault, blocks, clock, validator.metrics)
    if clock.ended():
        return False
    if validator.stop.wait(min(blocks, clock.blocks_left() + 1) * clock.seconds_per_block):
        raise Interrupted
    return True


def _landed(snapshot: SubnetSnapshot, hotkey: str, since: int) -> Receipt | None:
    """The receipt of ``hotkey``'s last weights on chain, if set after block ``since``."""
    for neuron in snapshot.neurons:
        if neuron.hotkey == hotkey and neuron.last_update > since:
            return Receipt(extrinsic="", block=neuron.last_update)
    return None


def _log_decision(decision: WeightsDecision, uids: Mapping[str, int]) -> None:
    if decision.action is Action.BURN:
        [owner] = decision.weights.keys() - set(decision.padding)
        message = "%s All weight goes to the subnet owner's uid %d (burn)."
        log.warning(message, decision.reason, uids[owner], extra=event("burn", uid=uids[owner]))
    elif decision.action is Action.REPEAT:
        log.warning("%s Setting the last weights again.", decision.reason, extra=event("weights_repeated"))
    if decision.padding:
        padding = [uids[hotkey] for hotkey in decision.padding]
        message = "The chain requires more weights than there are: uids %s get the smallest it can store."
        log.warning(message, ", ".join(map(str, padding)), extra=event("weights_padded", uids=padding))


def _shown(weights: Mapping[str, float], uids: Mapping[str, int]) -> str:
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"uid {uids.get(hotkey, '-')} {weight:.4f}" for hotkey, weight in ranked)


def _log_fault(fault: ChainError, blocks: int, clock: EpochClock, metrics: Metrics) -> None:
    """Log a warning while there is time; an error once the weights are due, or if somebody has to act."""
    metrics.note(fault)
    late = clock.late()
    if late:
        metrics.weights_late.inc()
    level = logging.ERROR if late or isinstance(fault, (ChainFatal, NoFunds)) else logging.WARNING
    log.log(
        level,
        "WEIGHTS NOT SET, %s before the epoch's end: %s Trying again in %s.",
        counted(clock.blocks_left(), "block"),
        fault,
        counted(blocks, "block"),
        extra=event(NOT_SET, fault=fault.kind, blocks=blocks),
    )
