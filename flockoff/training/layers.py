"""Norms and attention of a decoder layer, in fewer and larger operations than in transformers.

They compute the same: a model's logits are compared with transformers' before it is used
(flockoff/training/model.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from flockoff.training.dropout import RowDropout
from flockoff.training.fused import FusedPass
from flockoff.training.packing import Pack, row_attention


@dataclass(slots=True)
class Passing:
    """State of the current pass, shared with the layers."""

    compute: torch.dtype = torch.float32  # dtype of inputs, products and outputs
    dropout: RowDropout | None = None
    again: bool = False  # gradient checkpointing of each decoder layer
    fused: FusedPass | None = None  # where the GPU's fused kernels are in use


def replace_layers(network: nn.Module, passing: Passing) -> None:
    """Replace the forward methods of RMS norms and of Llama and Qwen2 attention, and add gradient
    checkpointing of layers on demand.
    """
    for module in network.modules():
        if hasattr(module, "variance_epsilon"):  # only RMS norms have it
            weight = module.get_parameter("weight").detach().float()  # once, not in each pass
            epsilon: Any = module.variance_epsilon
            module.forward = partial(_normalised, weight, epsilon, passing)
        elif isinstance(module, LlamaAttention | Qwen2Attention):
            module.forward = partial(_attended, module)  # type: ignore[method-assign]
        elif isinstance(module, GradientCheckpointingLayer):
            module.forward = partial(_layered, module.forward, passing)


def _layered(forward: Any, passing: Passing, *args: Any, **kwargs: Any) -> Any:
    """Replaces transformers' own switch, which walks all modules and leaves a hook each time."""
    if not passing.again:
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _normalised(weight: torch.Tensor, epsilon: float, passing: Passing, x: torch.Tensor) -> torch.Tensor:
    """RMSNorm in one kernel, computed in float32 whatever the precision around it."""
    return functional.rms_norm(x.float(), weight.shape, weight, epsilon).to(passing.compute)


def _attended(
    attention: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    rows: Pack | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """``hidden_states``: (1, n, hidden); ``position_embeddings``: cosines and sines, (1, n, width) each."""
    by_head = (*hidden_states.shape[:-1], -1, attention.head_dim)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (projection(hidden_states).view(by_head) for projection in projections)
    query, key = (_Rotated.apply(states, *position_embeddings) for states in (query, key))
    attended, _ = row_attention(
        attention,
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attention_mask,
        scaling=attention.scaling,
        rows=rows,
    )
    return attention.o_proj(attended.flatten(-2)), None


class _Rotated(torch.autograd.Function):
    """Rotary position embedding. x: (1, n, heads, width); ``cosine`` and ``sine``: (1, n, width), both halves
    equal. Each pair (x_i, x_{i + width/2}) is rotated by its angle, and its gradient rotated back.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotate(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotate(outputs[0], cosine, -sine), None, None


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    sine = sine[..., None, :half]
    rotated = x * cosine[..., None, :]
    rotated[..., :half].addcmul_(x[..., half:], sine, value=-1)
    rotated[..., half:].addcmul_(x[..., :half], sine)
    return rotated
