"""The clock of one epoch: when evaluation must end, and when the epoch does."""

import logging
import threading
import time
from collections.abc import Callable

from flockoff.errors import ChainTransient
from flockoff.metrics import Metrics
from flockoff.ports import Chain
from flockoff.records import Epoch, EpochStatus
from flockoff.scoring import epoch_of

log = logging.getLogger(__name__)


class EpochClock:
    """How much of ``epoch`` is left. Evaluation ends ``threshold`` blocks before the epoch's end.

    The chain is queried rarely while a limit is far off and about once a block when it is near, so that an
    end moved by a change of tempo is noticed. While the chain is unreachable, its height is estimated from
    the time elapsed.
    """

    def __init__(
        self,
        chain: Chain,
        epoch: Epoch,
        status: EpochStatus,
        *,
        threshold: int,
        blocks_per_epoch: int | None,
        stop: threading.Event,
        metrics: Metrics,
        longest_pause: float = 60.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``status``: the chain's state now. ``longest_pause``: seconds between two queries of the chain."""
        self.epoch = epoch
        self.seconds_per_block = status.seconds_per_block
        self._chain = chain
        self._threshold = threshold
        self._blocks_per_epoch = blocks_per_epoch
        self._stop = stop
        self._metrics = metrics
        self._longest_pause = longest_pause
        self._now = now
        self._end_block = epoch.end_block
        self._block = status.block
        self._asked_at = now()
        self._ask_again_at = self._next_look()

    def over(self) -> bool:
        """Whether evaluation must end: its time is up, or the program is asked to stop."""
        return self._stop.is_set() or self.late()

    def late(self) -> bool:
        """Whether evaluation's time is up."""
        return self.blocks_left() <= self._threshold

    def evaluation_seconds(self) -> float:
        """The seconds that all of the epoch has for evaluation."""
        return max(0, self.epoch.blocks - self._threshold) * self.seconds_per_block

    def ended(self) -> bool:
        return self.blocks_left() == 0

    def blocks_left(self) -> int:
        """Blocks to the epoch's end, from the chain or estimated."""
        if self._now() >= self._ask_again_at:
            self._ask()
            self._ask_again_at = self._next_look()
        block = self._estimate()
        self._metrics.chain_block.set(block)
        return max(0, self._end_block - block)

    def seconds_left(self) -> float:
        """Seconds until evaluation must end."""
        return max(0, self.blocks_left() - self._threshold) * self.seconds_per_block

    def _ask(self) -> None:
        try:
            status = self._chain.epoch_status()
        except ChainTransient as fault:
            log.warning("%s Going by the clock until the chain answers again.", fault)
            return
        self._block, self._asked_at = status.block, self._now()
        start, end = epoch_of(status, self._blocks_per_epoch)
        if start == self.epoch.start_block:
            self._end_block = end
        elif start > self.epoch.start_block:
            self._end_block = min(self._end_block, start)

    def _next_look(self) -> float:
        left = self._end_block - self._estimate()
        to_limit = left - self._threshold if left > self._threshold else left
        return self._now() + min(max(1.0, to_limit / 2) * self.seconds_per_block, self._longest_pause)

    def _estimate(self) -> int:
        return self._block + int((self._now() - self._asked_at) / self.seconds_per_block)
