"""What an epoch works with: the adapters, the rules, and the clock that says when evaluating is over."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flockoff.competition import Competition, Queue
from flockoff.dataset import EvaluationAnswers
from flockoff.errors import ChainTransient
from flockoff.ledger import Ledger
from flockoff.ports import Chain, Evaluator, Hub, RowEncoder

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 60.0  # seconds between two looks at the chain's height


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """One validator of one subnet. ``stop`` is set when the process is asked to end."""

    chain: Chain
    hub: Hub
    evaluator: Evaluator
    ledger: Ledger
    encoder: RowEncoder
    answers: EvaluationAnswers
    competition: Competition
    netuid: int
    dataset_dir: Path
    miner_sample_size: int = 32
    blocks_per_epoch: int | None = None  # None: the subnet's own tempo
    block_threshold: int = 50
    retry_pauses: tuple[float, ...] = (60.0, 300.0)  # seconds before what failed in an epoch is tried again
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def queue(self) -> Queue:
        return self.competition.queue.of_size(self.miner_sample_size)


class EpochClock:
    """Says when evaluating is over: at ``deadline_block``, or once ``stop`` is set.

    The chain is asked rarely while the deadline is far and about once a block when it is near. While it
    cannot be asked, its height is estimated from the seconds that have passed.
    """

    def __init__(
        self,
        chain: Chain,
        deadline_block: int,
        seconds_per_block: float,
        stop: threading.Event,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = chain
        self._deadline_block = deadline_block
        self._seconds_per_block = seconds_per_block
        self._stop = stop
        self._now = now
        self._block = 0
        self._asked_at = float("-inf")
        self._ask_again_at = float("-inf")

    def over(self) -> bool:
        return self._stop.is_set() or self.block() >= self._deadline_block

    def blocks_left(self) -> int:
        return max(0, self._deadline_block - self.block())

    def block(self) -> int:
        """The chain's height, or the best estimate of it. Raises ChainTransient if it was never known."""
        now = self._now()
        if now >= self._ask_again_at:
            try:
                self._block, self._asked_at = self._chain.block(), now
            except ChainTransient as fault:
                if self._asked_at == float("-inf"):
                    raise
                log.warning("%s Going by the clock until the chain answers again.", fault)
            seconds_left = (self._deadline_block - self._estimate(now)) * self._seconds_per_block
            self._ask_again_at = now + min(max(self._seconds_per_block, seconds_left / 2), _LONGEST_PAUSE)
        return self._estimate(now)

    def _estimate(self, now: float) -> int:
        return self._block + int((now - self._asked_at) / self._seconds_per_block)
