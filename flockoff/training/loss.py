"""The two losses: what training descends on, and what a dataset is measured by.

Both are negative log-likelihoods in nats over assistant tokens, and both run the output head only at the
positions that predict one. ``labels`` has the assistant tokens at their own places; the position before
predicts them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from flockoff.records import EncodedRow
from flockoff.training.data import IGNORED, labels_of, padded
from flockoff.training.device import HEAD_CHUNK
from flockoff.training.model import LanguageModel

_BATCH_TOKENS = 4096  # padded tokens of an evaluation batch


def answer_states(
    model: LanguageModel, input_ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states that predict assistant tokens, (n, hidden), and these tokens, (n,)."""
    states = model.body(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    counts = targets != IGNORED
    return states[counts], targets[counts]


def summed_loss(states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The sum of the targets' negative log-likelihoods, differentiable in ``states``.

    ``head``: (vocabulary, hidden), frozen. Logits exist for HEAD_CHUNK positions at a time.
    """
    total: torch.Tensor = _SummedLoss.apply(states, head, targets)
    return total


class _SummedLoss(torch.autograd.Function):
    """The head is frozen, so the gradient for the states is made with the loss and no logits are kept.

    d(nll_t)/d(state) = (softmax(logits) - onehot(t)) @ head.
    """

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        gradient = torch.empty_like(states)
        total = states.new_zeros((), dtype=torch.float32)
        for first in range(0, len(states), HEAD_CHUNK):
            chunk = slice(first, first + HEAD_CHUNK)
            rows = torch.arange(len(targets[chunk]), device=targets.device)
            logarithms = functional.log_softmax(functional.linear(states[chunk], head).float(), dim=-1)
            total -= logarithms[rows, targets[chunk]].sum()
            error = logarithms.exp_()
            error[rows, targets[chunk]] -= 1
            gradient[chunk] = functional.linear(error, head.t())
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None


def evaluation_loss(
    model: LanguageModel, rows: Sequence[EncodedRow], on_rows: Callable[[int], None]
) -> tuple[float, int]:
    """The mean negative log-likelihood of all assistant tokens, and their number.

    Without dropout, in float32, summed in float64; with whatever adapter the model has at the time.
    ``on_rows`` gets the number of rows that are done.
    """
    model.network.train(False)
    total = torch.zeros((), dtype=torch.float64, device=model.device)
    tokens = done = 0
    with torch.no_grad():
        for batch in _batches(rows):
            tensors = padded([{"input_ids": row.input_ids, "labels": labels_of(row)} for row in batch])
            on_device = {name: tensor.to(model.device) for name, tensor in tensors.items()}
            states, targets = answer_states(model, **on_device)
            for first in range(0, len(states), HEAD_CHUNK):
                chunk = slice(first, first + HEAD_CHUNK)
                logits = functional.linear(states[chunk], model.head)
                total += functional.cross_entropy(logits, targets[chunk], reduction="none").double().sum()
            tokens += len(targets)
            done += len(batch)
            on_rows(done)
    return (total / tokens).item(), tokens


def _batches(rows: Sequence[EncodedRow]) -> list[list[EncodedRow]]:
    """Rows of like length together, so that little is padding."""
    batches: list[list[EncodedRow]] = []
    for row in sorted(rows, key=lambda row: (len(row.input_ids), row.input_ids)):
        if not batches or (len(batches[-1]) + 1) * len(row.input_ids) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches
