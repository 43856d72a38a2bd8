"""Sketches every commitment when it is first seen, whether or not it has a place in an epoch.

Whose content it is follows from who committed it first, so a dataset must be known even where its miner
replaced it before its turn came. It is downloaded, checked and sketched while nothing else has to be: once an
epoch's own datasets are ready, and between epochs.
"""

import logging
import time
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from flockoff.epoch.blame import NOT_THERE
from flockoff.errors import Fault, HubTransient, LedgerUnavailable, MinerFault
from flockoff.logs import event
from flockoff.records import Commitment, Epoch, ModelId
from flockoff.retry import backoff
from flockoff.validate.claims import claim_content
from flockoff.validate.preparation import Dataset, Preparer
from flockoff.validate.validator import Validator

log = logging.getLogger(__name__)

_BYTES_AN_EPOCH = 4 << 30  # most to download, beyond what the epoch needs
_AT_ONCE = 4  # downloads; checks go one by one
_MOST_FAULTS = 3  # in a row; from then on with a pause after each
_LONGEST_PAUSE = 6.0  # times the first
_MOST_TRIES = 20  # epochs in which a dataset missing from the hub is retried: a day


class FirstSight:
    """Handles a few datasets at a time in its own threads; its methods are called from the ledger's thread.

    Its state can be lost: what is still unknown follows from the ledger. One dataset that cannot be had holds
    up no other, and while the hub stalls over ``_AT_ONCE - 1`` of them the others pass. From its third fault
    in a row on, the hub is left alone for a while after each, a minute at most unless it asks for more, but
    not for the rest of the epoch: whether it is down, or some miners' repos make it fail, looks the same.
    So however many it stalls over, each ``_AT_ONCE`` delay the rest by the hub client's patience and that
    pause once, and come last from the next epoch on. Leaving its context waits for nothing.
    """

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._preparer = Preparer(validator)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="first_sight")
        self._epoch: Epoch | None = None
        self._elsewhere: Collection[ModelId] = ()
        self._waiting: list[Commitment] | None = None  # None: the ledger was not queried yet
        self._bytes_left = 0
        self._faults = 0  # in a row
        self._resting_until = 0.0  # time.monotonic()
        self._running: list[tuple[Commitment, Future[Dataset]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, epoch: Epoch, elsewhere: Collection[ModelId] = ()) -> None:
        """Assign results from now on to ``epoch``, which is stored; ``elsewhere``: what it prepares."""
        self._epoch, self._elsewhere = epoch, frozenset(elsewhere)
        self._waiting, self._bytes_left, self._faults = None, _BYTES_AN_EPOCH, 0

    def step(self) -> bool:
        """Store what was found, and begin with the next ones; returns whether anything is under way.

        Faults of the ledger's disk end the epoch's looking, and nothing else.
        """
        if self._epoch is None:
            return False
        try:
            return self._step(self._epoch)
        except LedgerUnavailable as fault:
            self._validator.metrics.note(fault)
            log.warning("%s Datasets without a place are not looked at for now.", fault)
            self._waiting, self._running = [], []
            return False

    def _step(self, epoch: Epoch) -> bool:
        done = [each for each in self._running if each[1].done()]
        self._running = [each for each in self._running if each not in done]
        for commitment, found in done:
            self._store(epoch, commitment, found)
        if self._waiting is None:
            unseen = self._validator.ledger.unseen(epoch.start_block, _MOST_TRIES)
            self._waiting = [each for each in unseen if each.model_id not in self._elsewhere]
        most_bytes = self._validator.competition.limits.max_bytes
        while (
            self._waiting
            and len(self._running) < _AT_ONCE
            and self._bytes_left > most_bytes * len(self._running)
            and time.monotonic() >= self._resting_until
            and not self._validator.stop.is_set()
        ):
            commitment = self._waiting.pop(0)
            dataset = self._pool.submit(self._preparer.prepare, commitment.model_id, needed=False)
            self._running.append((commitment, dataset))
        return bool(self._running)

    def _store(self, epoch: Epoch, commitment: Commitment, found: "Future[Dataset]") -> None:
        ledger = self._validator.ledger
        try:
            dataset = found.result()
            self._bytes_left -= dataset.bytes
            owner, _ = claim_content(self._validator, commitment, dataset, epoch.start_block)
            self._faults = 0
        except MinerFault as fault:
            self._faults = 0  # the hub answers
            is_final = fault.reason not in NOT_THERE
            if is_final:  # as much as it can have been: what is refused is paid for as well
                self._bytes_left -= self._validator.competition.limits.max_bytes
            ledger.record_sight(commitment.model_id, epoch.start_block, final=is_final)
            log.debug("%s, looked at before its turn: %s", commitment.model_id, fault)
            return
        except Fault as fault:
            self._validator.metrics.note(fault)
            ledger.record_sight(commitment.model_id, epoch.start_block, final=False)  # others come first then
            self._faults += 1
            self._rest(fault)
            log.info("%s %s is looked at again in the next epoch.", fault, commitment.model_id)
            return
        about = event("first_sight", model_id=commitment.model_id, hotkey=owner.hotkey, block=owner.block)
        log.debug("%s: known before its turn.", commitment.model_id, extra=about)

    def _rest(self, fault: Fault) -> None:
        """Leave the hub alone for a while, if it has failed too often in a row."""
        first = self._validator.fault_pause
        if self._faults < _MOST_FAULTS:
            return
        pause = backoff(self._faults - _MOST_FAULTS + 1, first=first, longest=_LONGEST_PAUSE * first)
        if isinstance(fault, HubTransient) and fault.retry_after is not None:
            pause = max(pause, fault.retry_after)
        log.info("The hub has failed %d times in a row: it is left alone for %.0f s.", self._faults, pause)
        self._resting_until = time.monotonic() + pause
