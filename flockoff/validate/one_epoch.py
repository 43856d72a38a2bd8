"""One epoch: facts are read, ``flockoff.epoch`` decides, and each decision is stored in one transaction.

An epoch can be entered any number of times: nothing that the ledger holds is repeated.
"""

import logging
from collections.abc import Iterable, Sequence

from flockoff.competition import competition_hash
from flockoff.dataset import Borrowed
from flockoff.epoch.entries import enter, enter_without_memory
from flockoff.epoch.queue import form_queue
from flockoff.epoch.settle import settle
from flockoff.errors import ChainPruned, Interrupted, SetupError
from flockoff.logs import event
from flockoff.metrics import show_by_uid
from flockoff.records import Commitment, Epoch, SubnetSnapshot, Verdict
from flockoff.text import counted
from flockoff.validate.clock import EpochClock
from flockoff.validate.first_sight import FirstSight
from flockoff.validate.judging import judge_all, log_verdict
from flockoff.validate.validator import Validator
from flockoff.validate.weights import check_last_weights, set_weights

log = logging.getLogger(__name__)

_STUBBORN_EPOCHS = 3  # with a failure of the worker on the same dataset, before the operator is warned


def run_epoch(validator: Validator, epoch: Epoch, clock: EpochClock, sights: FirstSight) -> bool | None:
    """Evaluate, settle, set weights; returns whether the weights were set.

    None if none are due: this validator has no permit, or started too late to evaluate anything and has no
    earlier weights.
    """
    ledger = validator.ledger
    queue: Sequence[Commitment] | None
    if not ledger.is_closed(epoch.start_block):
        if ledger.epoch(epoch.start_block) is not None:
            queue = ledger.begin_epoch(epoch, [])  # returns the stored one, or raises for another chain's
        elif clock.over() and not ledger.memory().scores:
            log.info("Epoch %d is nearly over: waiting for the next one.", epoch.start_block)
            return None
        else:
            queue = _begin(validator, epoch)
            if queue is None:
                return None
        validator.metrics.epoch_start.set(epoch.start_block)
        validator.metrics.epoch_end.set(epoch.end_block)
        validator.metrics.places.set(len(queue))
        validator.metrics.judged.set(0)
        sights.begin(epoch, [commitment.model_id for commitment in queue])
        if queue:
            _make_room(validator, queue)
            judge_all(validator, epoch, queue, clock, sights)
        if validator.stop.is_set():
            raise Interrupted
        _close(validator, epoch.start_block)
        sights.begin(epoch)  # what was cut off before it was prepared, too
    if ledger.weights_of_epoch(epoch.start_block) is not None:
        return True
    return set_weights(validator, epoch, clock)


def _begin(validator: Validator, epoch: Epoch) -> Sequence[Commitment] | None:
    """Form the epoch's queue from one snapshot and store it, with the verdicts that need no evaluation.

    None if the chain would accept no weights from this validator: its evaluations could not count.
    """
    ledger = validator.ledger
    for start_block in ledger.open_epochs():
        log.info("Closing epoch %d, which ended while this validator could not close it.", start_block)
        _close(validator, start_block)
    snapshot = _snapshot_at_start(validator, epoch)
    if not _may_set_weights(validator, snapshot) and not validator.evaluate_without_permit:
        return None
    check_last_weights(validator, snapshot)
    memory = ledger.memory(epoch.start_block, snapshot)
    entries = enter(snapshot, epoch, memory, validator.competition.id)
    queue = form_queue(entries.counting, memory, validator.queue, epoch)
    rules = competition_hash(validator.competition)
    validator.metrics.competition.labels(id=validator.competition.id, rules=rules).set(1)
    coldkeys = {neuron.hotkey: neuron.coldkey for neuron in snapshot.neurons}
    ledger.begin_epoch(epoch, queue.places, entries.verdicts, entries.seen, coldkeys, rules)
    validator.metrics.queue_age.set(queue.age)
    for verdict in entries.verdicts:
        log_verdict(verdict, validator.metrics)
    log.info(
        "Epoch %d to %d: places for %d of %s with a dataset, seed %d, rules %s.",
        epoch.start_block,
        epoch.end_block,
        len(queue.places),
        counted(len(entries.counting), "miner"),
        epoch.seed,
        rules[:12],
        extra=event(
            "epoch_begun",
            epoch=epoch.start_block,
            places=len(queue.places),
            seed=epoch.seed,
            rules=rules,
        ),
    )
    return queue.places


def _may_set_weights(validator: Validator, snapshot: SubnetSnapshot) -> bool:
    """Whether the chain would accept this validator's weights; logs why not."""
    hotkey = validator.chain.hotkey
    counts, neuron = snapshot.counts(hotkey), snapshot.neuron(hotkey)
    stake = neuron.stake if neuron is not None else 0.0
    validator.metrics.permit.set(counts)
    validator.metrics.stake.set(stake)
    if counts:
        return True
    log.warning(
        "The chain accepts no weights from this hotkey: it has no validator permit on subnet %d, or less "
        "stake than required (it has %.0f of %.0f). %s The chain gives permits to the largest stakes at the "
        "end of each epoch; this validator then continues by itself.",
        validator.netuid,
        stake,
        snapshot.stake_threshold,
        "Evaluating anyway, as requested."
        if validator.evaluate_without_permit
        else "Nothing is evaluated until then, unless with --evaluate_without_permit.",
        extra=event("no_permit", stake=stake, threshold=snapshot.stake_threshold),
    )
    return False


def _make_room(validator: Validator, queue: Sequence[Commitment]) -> None:
    needed = {(commitment.model_id.namespace, commitment.model_id.commit) for commitment in queue}
    try:
        validator.datasets.begin(needed)
    except SetupError as fault:
        validator.metrics.note(fault)
        message = "%s Going on with what can be read and written."
        log.error(message, fault, extra=event("disk", fault=fault.kind))


def _snapshot_at_start(validator: Validator, epoch: Epoch) -> SubnetSnapshot:
    """The subnet at the epoch's start, so that nobody can escape by committing anew.

    If the node no longer has that block's state, the latest one is used; any other fault is waited out, so
    that all validators go by the same state.
    """
    try:
        return validator.chain.snapshot(epoch.start_block)
    except ChainPruned as fault:
        log.warning("%s Going by the latest block instead of the epoch's first.", fault)
        return validator.chain.snapshot()


def _close(validator: Validator, start_block: int) -> None:
    """Settle the epoch's verdicts and store the outcome in one transaction."""
    ledger = validator.ledger
    snapshot = validator.chain.snapshot()
    verdicts = ledger.verdicts(start_block)
    borrowed = _latest_borrowed(validator, verdicts)
    settlement = settle(
        start_block,
        verdicts,
        ledger.memory(start_block),
        {neuron.hotkey: neuron.coldkey for neuron in snapshot.neurons},
        validator.competition,
        ledger.evidence(verdicts, borrowed),
    )
    ledger.close_epoch(settlement, block=snapshot.block, borrowed=borrowed)
    show_by_uid(
        validator.metrics.score, settlement.scores, {neuron.hotkey: neuron.uid for neuron in snapshot.neurons}
    )
    _record_shown_commitments(validator, snapshot)
    for verdict in settlement.copies:
        log_verdict(verdict, validator.metrics)
    about = event("epoch_closed", epoch=start_block, eligible=len(settlement.shares))
    competed = counted(len(settlement.shares), "dataset")
    log.info("Epoch %d: %s competed.", start_block, competed, extra=about)
    if settlement.shares:
        _report_stubborn(validator, settlement.verdicts)


def _record_shown_commitments(validator: Validator, snapshot: SubnetSnapshot) -> None:
    """Record the block of each commitment on chain now: a later one of its hotkey will hide it."""
    entries = enter_without_memory(snapshot, snapshot.block + 1, validator.competition.id)
    validator.ledger.record_commitments(entries.seen)


def _latest_borrowed(validator: Validator, verdicts: Iterable[Verdict]) -> dict[str, Borrowed]:
    """By content hash, what of the eligible belongs to others, where contents first seen since then bear on
    it."""
    sketches, rules = validator.ledger.sketches, validator.competition.overlap
    owners, public = validator.ledger.owners(), validator.public_sample
    found: dict[str, Borrowed] = {}
    for verdict in verdicts:
        if verdict.standing == "eligible" and verdict.content_hash is not None:
            again = sketches.look_again(verdict.content_hash, verdict.epoch, rules, public, owners)
            if again is not None:
                found[verdict.content_hash] = again
    return found


def _report_stubborn(validator: Validator, verdicts: Iterable[Verdict]) -> None:
    """Report datasets that the worker keeps failing on while it can evaluate others."""
    for verdict in verdicts:
        if not verdict.set_aside or verdict.content_hash is None:
            continue
        epochs = 1 + validator.ledger.evaluation_faults(verdict.content_hash, before=verdict.epoch)
        if epochs >= _STUBBORN_EPOCHS:
            log.error(
                "uid %d: %s could not be evaluated in %d epochs, while others could. Its score decays. "
                "Please look into it and report it. The last failure: %s",
                verdict.uid,
                verdict.model_id,
                epochs,
                verdict.detail,
            )
