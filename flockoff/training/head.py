"""The output head: the targets' loss and its gradient, without materialising the logits.

The logits of a pass would be its largest tensor by far, so the vocabulary is processed in blocks that fit the
cache, with an online softmax (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018): per
position, the running maximum, the sum of exponentials and, for the gradient, the sum of the head's rows
weighted by them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from flockoff.planner.memory import HEAD_BLOCK, HEAD_BLOCK_ON_CARD, HEAD_POSITIONS


def summed_loss(
    states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, compute: torch.dtype = torch.float32
) -> torch.Tensor:
    """The sum of the targets' negative log-likelihoods, in nats; differentiable in ``states``.

    ``states``: (m, hidden), float32; ``head``: (vocabulary, hidden), frozen; ``targets``: (m,). Products with
    the head are in ``compute``, the rest in float32.
    """
    total: torch.Tensor = _SummedLoss.apply(states, head, targets, compute)
    return total


def negative_log_likelihoods(states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Each target's: (m,), nats; arguments as for ``summed_loss``, all in float32, without gradient."""
    losses = torch.empty(len(states), device=states.device)
    for chunk in _chunks(states):
        scan = _scan(states[chunk], head, torch.float32, weigh=False)
        losses[chunk] = scan.log_total - _logits(states[chunk], head[targets[chunk]])
    return losses


class _SummedLoss(torch.autograd.Function):
    """The head is frozen, so the states' gradient is computed with the loss, and nothing else is saved.

    d(nll_t)/d(state) = sum over v of p_v head_v, less head_t.
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, compute: torch.dtype
    ) -> torch.Tensor:
        gradient = torch.empty_like(states)
        total = states.new_zeros(())
        for chunk in _chunks(states):
            scan = _scan(states[chunk], head, compute, weigh=True)
            wanted = head[targets[chunk]].float()
            total += (scan.log_total - _logits(states[chunk], wanted)).sum()
            assert scan.mean is not None
            torch.sub(scan.mean, wanted, out=gradient[chunk])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None, None


@dataclass(frozen=True, slots=True)
class _Scan:
    """The softmax statistics of n positions."""

    log_total: torch.Tensor  # (n,), log of the sum of their exponentials
    mean: torch.Tensor | None  # (n, hidden), the head's rows, averaged by their probability


def _scan(states: torch.Tensor, head: torch.Tensor, compute: torch.dtype, *, weigh: bool) -> _Scan:
    given = states.to(compute)
    highest = states.new_full((len(states), 1), -torch.inf)
    total = states.new_zeros((len(states), 1))
    mean = torch.zeros_like(states) if weigh else None
    on_card = compute == torch.bfloat16 and states.device.type != "cpu"
    for part in torch.split(head, HEAD_BLOCK_ON_CARD if on_card else HEAD_BLOCK):
        block = part.to(compute)
        logits = functional.linear(given, block)
        if not on_card:  # mixed precision is slow on a CPU
            logits = logits.float()
        top = torch.maximum(highest, logits.amax(dim=1, keepdim=True))
        fade = (highest - top).exp_()
        exponentials = (logits - top if on_card else logits.sub_(top)).exp_()  # float32
        total.mul_(fade).add_(exponentials.sum(dim=1, keepdim=True))
        if mean is not None:
            mean.mul_(fade).add_(exponentials.to(compute) @ block)
        highest = top
    return _Scan((highest + total.log()).squeeze(1), None if mean is None else mean.div_(total))


def _logits(states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Each position's logit for its own row of the head: (n,)."""
    return (states * rows.float()).sum(dim=1)


def _chunks(states: torch.Tensor) -> Iterator[slice]:
    return (slice(first, first + HEAD_POSITIONS) for first in range(0, len(states), HEAD_POSITIONS))
