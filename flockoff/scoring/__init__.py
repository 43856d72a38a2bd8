"""From losses to weights, and who is evaluated next: pure functions, no I/O (see README.md)."""

from flockoff.scoring.epoch import epoch_of, epoch_seed
from flockoff.scoring.eval_queue import Candidate, longest_wait, plan_epoch
from flockoff.scoring.pay import behind, epoch_pay
from flockoff.scoring.scores import count_missed, update_scores
from flockoff.scoring.weights import WeightSteps, weight_steps, weights_from_scores
from flockoff.scoring.win_rate import effective_losses, shares, win_matrix, win_rates

__all__ = [
    "Candidate",
    "WeightSteps",
    "behind",
    "count_missed",
    "effective_losses",
    "epoch_of",
    "epoch_pay",
    "epoch_seed",
    "longest_wait",
    "plan_epoch",
    "shares",
    "update_scores",
    "weight_steps",
    "weights_from_scores",
    "win_matrix",
    "win_rates",
]
