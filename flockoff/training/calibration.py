"""How fast a new worker trains, measured over a few steps before the first dataset."""

import statistics
import time

import torch

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel

_ROW_TOKENS = 256  # or the context, where that is shorter
_STEPS = 3  # after a warm-up step that compiles and allocates


def seconds_per_token(model: LanguageModel, competition: Competition) -> float:
    """Training time per dataset token, over all passes, for rows of 256 tokens.

    The adapter is cleared afterwards.
    """
    training = competition.training
    length = min(_ROW_TOKENS, training.context_length)
    ids = tuple(place % len(model.head) for place in range(length))
    row = EncodedRow(ids, tuple(place >= length // 2 for place in range(length)))
    rows = [row] * training.rows_per_step
    model.adapters.reset(0)
    taken = []
    for step in range(1 + _STEPS):
        begun = time.perf_counter()
        add_step_gradients(model, rows, competition.lora.dropout, 0, step)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        taken.append(time.perf_counter() - begun)
    model.adapters.clear()
    return training.epochs * statistics.median(taken[1:]) / (length * len(rows))
