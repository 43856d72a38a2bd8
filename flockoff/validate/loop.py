"""The validator's loop over epochs.

An epoch can be entered any number of times: nothing that the ledger holds is repeated. So a restart, a lost
connection and an ordinary start take the same path.
"""

import logging
import time

from flockoff.errors import ChainPruned, ChainTransient, Fault, Interrupted, LedgerUnavailable, UsageError
from flockoff.logs import event
from flockoff.records import Epoch, EpochStatus
from flockoff.retry import backoff
from flockoff.scoring import epoch_of, epoch_seed
from flockoff.text import counted
from flockoff.validate.clock import EpochClock
from flockoff.validate.first_sight import FirstSight
from flockoff.validate.judging import measure_base_loss
from flockoff.validate.one_epoch import run_epoch
from flockoff.validate.validator import Validator
from flockoff.validate.weights import NOT_SET

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 6.0  # times the first pause, while a fault lasts
_FAR_SECONDS = 300.0
_LONGEST_SLEEP = 10  # blocks, while the awaited one is far off
_SIGHT_SECONDS = 0.5  # between checks of the sketching in progress
_LOOK_SECONDS = 5.0  # the longest wait that a stop request cannot cut short


def run_epochs(validator: Validator, epochs: int | None, *, from_next: bool = False) -> bool:
    """Run ``epochs`` epochs, or for ever for None; returns whether each of them set its weights.

    ``from_next``: leave the epoch in progress alone, and load and measure the base model until the next.
    Waits out faults of the chain and the ledger's disk. Raises Interrupted when asked to stop, and faults
    that waiting does not fix: NotRegistered, UsageError, LedgerError, SetupError if the base model cannot be
    used.
    """
    with FirstSight(validator) as sights:
        return _run_epochs(validator, epochs, sights, from_next)


def _run_epochs(validator: Validator, epochs: int | None, sights: FirstSight, skips_first: bool) -> bool:
    run = _Run(validator)
    tries = 0
    while epochs is None or run.finished < epochs:
        try:
            status = validator.chain.epoch_status()
            epoch = _epoch(validator, status)
            if skips_first:
                run.skip(epoch)
                measure_base_loss(validator, validator.stop.is_set)
                skips_first = False
                continue  # it took a while
            clock = run.enter(epoch, status)
            if clock is not None:
                outcome = run_epoch(validator, epoch, clock, sights)
                run.leave(outcome)
                for tell in validator.after_epoch if outcome is not None else ():
                    tell(epoch.start_block)
            tries = 0
            if epochs is None or run.finished < epochs:
                run.say_waiting(epoch.end_block)
                _wait_for_block(validator, epoch.end_block, status.seconds_per_block, sights)
        except (ChainTransient, ChainPruned, LedgerUnavailable) as fault:
            tries += 1
            what = "ledger" if isinstance(fault, LedgerUnavailable) else "chain"
            validator.metrics.retries.labels(of=what).inc()
            pause = backoff(
                tries, first=validator.fault_pause, longest=_LONGEST_PAUSE * validator.fault_pause
            )
            run.say(fault, pause, tries)
            _pause(validator, pause)
    return run.all_set


class _Run:
    """The loop's state: the current epoch, and the outcome of those before."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self.finished = 0
        self.all_set = True
        self._last: int | None = None  # start block of the last epoch left
        self._clock: EpochClock | None = None  # of the current epoch
        self._awaited: int | None = None  # the block that the log says is waited for

    def skip(self, epoch: Epoch) -> None:
        self._last = epoch.start_block

    def enter(self, epoch: Epoch, status: EpochStatus) -> EpochClock | None:
        """The clock of ``epoch``, or None if it was already left."""
        if self._clock is not None and self._clock.epoch.start_block < epoch.start_block:
            ended = self._clock.epoch.start_block
            log.error("WEIGHTS NOT SET: epoch %d ended first.", ended, extra=event(NOT_SET, epoch=ended))
            self.leave(False)
        if epoch.start_block == self._last:
            return None
        validator = self._validator
        self._clock = EpochClock(
            validator.chain,
            epoch,
            status,
            threshold=validator.block_threshold,
            blocks_per_epoch=validator.blocks_per_epoch,
            stop=validator.stop,
            metrics=validator.metrics,
            longest_pause=validator.clock_pause,
        )
        return self._clock

    def leave(self, outcome: bool | None) -> None:
        """Leave the current epoch. ``outcome``: whether its weights are set; None: not tried."""
        assert self._clock is not None
        self._last, self._clock = self._clock.epoch.start_block, None
        if outcome is False:
            self._validator.metrics.epochs_without_weights.inc()
        if outcome is not None:
            self.finished += 1
            self.all_set &= outcome

    def say_waiting(self, block: int) -> None:
        if block != self._awaited:
            self._awaited = block
            log.info("Waiting for the next epoch, from block %d.", block, extra=event("waiting", block=block))

    def say(self, fault: Fault, pause: float, tries: int) -> None:
        """Log a fault that is being waited out: as an error if weights are due."""
        self._validator.metrics.note(fault)
        if self._clock is not None and self._clock.late():
            why = "WEIGHTS NOT SET, and the epoch ends soon: %s Trying again in %.0f s."
            log.error(why, fault, pause, extra=event(NOT_SET, fault=fault.kind, seconds=pause))
        else:
            about = event("fault", fault=fault.kind, seconds=pause, tries=tries)
            log.warning("%s Trying again in %.0f s.", fault, pause, extra=about)


def _epoch(validator: Validator, status: EpochStatus) -> Epoch:
    start, end = epoch_of(status, validator.blocks_per_epoch)
    if end - start <= validator.block_threshold:
        raise UsageError(
            f"An epoch of {counted(end - start, 'block')} leaves no time before the last "
            f"{validator.block_threshold}.",
            remedy="Give a smaller --block_threshold.",
        )
    return Epoch(start, end, epoch_seed(validator.chain.block_hash(start), validator.netuid))


def _wait_for_block(validator: Validator, block: int, seconds_per_block: float, sights: FirstSight) -> None:
    """Wait for ``block``: by sleeping, then by subscription. Meanwhile ``sights`` continues. While the block
    is far off this returns early now and then, so that the caller notices if the epoch's start has moved.
    """
    seconds = (block - validator.chain.block() - 2) * seconds_per_block
    is_far = seconds > _FAR_SECONDS
    until = time.monotonic() + (_LONGEST_SLEEP * seconds_per_block if is_far else max(0.0, seconds))
    while sights.step() and (left := until - time.monotonic()) > 0:
        _pause(validator, min(left, _SIGHT_SECONDS))
    _pause(validator, max(0.0, until - time.monotonic()))
    while not is_far and not validator.chain.wait_for_block(block, timeout=_LOOK_SECONDS):
        sights.step()
        _pause(validator, 0)


def _pause(validator: Validator, seconds: float) -> None:
    if validator.stop.wait(seconds):
        raise Interrupted
