"""What an epoch needs: the adapters and the rules."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flockoff.competition import Competition, Queue
from flockoff.dataset import EvaluationAnswers, Sketch
from flockoff.ledger import Ledger
from flockoff.metrics import Metrics
from flockoff.ports import Chain, Datasets, Evaluator, RowEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """One validator of one subnet. ``stop`` is set when the process is asked to end."""

    chain: Chain
    datasets: Datasets
    evaluator: Evaluator
    ledger: Ledger
    encoder: RowEncoder
    answers: EvaluationAnswers
    sealed_answers: EvaluationAnswers | None  # where the competition has a sealed evaluation set
    public_sample: Sketch | None  # where the competition has one
    competition: Competition
    netuid: int
    miner_sample_size: int
    blocks_per_epoch: int | None  # None: the subnet's own tempo
    block_threshold: int
    evaluate_without_permit: bool  # although the chain would accept no weights
    allow_mixed_devices: bool  # compare losses of different kinds of device
    retry_pauses: tuple[float, ...] = (60.0, 300.0)  # seconds before each retry within an epoch
    clock_pause: float = 60.0  # seconds between two queries of the chain's height, at most
    fault_pause: float = 10.0  # seconds after a fault of chain or ledger; doubles at first
    after_epoch: tuple[Callable[[int], None], ...] = ()  # called with each finished epoch's start block
    metrics: Metrics = field(default_factory=Metrics)
    stop: threading.Event = field(default_factory=threading.Event)
    # Epochs for which the log says that the weights on chain are not those set.
    reported_differing: set[int] = field(default_factory=set)

    @property
    def queue(self) -> Queue:
        return self.competition.queue.of_size(self.miner_sample_size)
