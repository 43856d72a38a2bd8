"""The adapters: PEFT's, computed with what can be saved of time and memory.

PEFT defines them: which layers have one, their parameters' names, shapes and initial values, and the file
format. Its layers' forward pass is replaced by one that adds ``s B A drop(x)`` to ``W x`` inside the matrix
product, keeps nothing for the backward pass but ``x``, ``A drop(x)`` and one byte for each number that may
be dropped, and makes no gradient for ``W``.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear as LoraLayer
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from flockoff.competition import Lora
from flockoff.training.dropout import keep_probability, levels_dropped
from flockoff.training.layers import Passing, replace_layers

_NAME = "default"  # PEFT's name of the only adapter


@dataclass(frozen=True, slots=True)
class _Layer:
    """One adapted layer, the ``number``-th: ``down`` is PEFT's A, (rank, in), ``up`` its B, (out, rank)."""

    number: int
    base: nn.Linear
    down: nn.Parameter
    up: nn.Parameter
    scale: float


class Adapters:
    """A LoRA adapter on every linear layer of ``network`` but the head, which have no effect at first.

    They stay for the life of the network; each dataset starts with ``reset``.
    """

    def __init__(self, network: PreTrainedModel, lora: Lora) -> None:
        self.passing = Passing()
        adapted = get_peft_model(network, _config(lora))
        assert isinstance(adapted, PeftModel)
        self.model = adapted
        self._layers: list[_Layer] = []
        for module in network.modules():
            if isinstance(module, LoraLayer):
                layer = _layer(module, len(self._layers))
                module.forward = partial(_adapted, layer, self.passing)  # type: ignore[method-assign]
                self._layers.append(layer)
        replace_layers(network, self.passing)
        self.clear()

    def parameters(self) -> Iterator[nn.Parameter]:
        return (value for layer in self._layers for value in (layer.down, layer.up))

    def reset(self, seed: int) -> None:
        """The initial values that PEFT gives to a new adapter after ``torch.manual_seed(seed)``."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for layer in self._layers:
                for shape in (layer.down.shape, layer.up.shape):
                    nn.Linear(shape[1], shape[0], bias=False)  # PEFT draws these, then replaces the values
                initial = nn.init.kaiming_uniform_(torch.empty(layer.down.shape), a=math.sqrt(5))
                layer.down.copy_(initial)
                layer.up.zero_()

    def clear(self) -> None:
        """Give them no effect, and free their gradients: the network is the base model again."""
        for layer in self._layers:
            layer.up.data.zero_()
            layer.down.grad = layer.up.grad = None

    @contextlib.contextmanager
    def training(self, compute: torch.dtype) -> Iterator[None]:
        """Within it, products are in ``compute``, and ``passing.dropout`` is what each pass sets it to."""
        self.model.train()
        self.passing.compute = compute
        try:
            yield
        finally:
            self.model.eval()
            self.passing.compute, self.passing.dropout = torch.float32, None


def _config(lora: Lora) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",  # the output head is not among them
        bias="none",
    )


def _layer(module: LoraLayer, number: int) -> _Layer:
    base = module.get_base_layer()
    assert isinstance(base, nn.Linear)
    down, up = (part[_NAME].get_parameter("weight") for part in (module.lora_A, module.lora_B))
    return _Layer(number, base, down, up, float(module.scaling[_NAME]))


def _adapted(layer: _Layer, passing: Passing, x: torch.Tensor) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1]).to(passing.compute)
    kept, scale = None, layer.scale
    if passing.dropout is not None and levels_dropped(passing.dropout.rate):
        kept = passing.dropout.kept(layer.number, flat.shape[1], flat.device)
        scale /= keep_probability(passing.dropout.rate)
    product: torch.Tensor = _AdaptedProduct.apply(
        flat, layer.base.weight, layer.base.bias, layer.down, layer.up, scale, kept
    )
    return product.view(*x.shape[:-1], -1)


class _AdaptedProduct(torch.autograd.Function):
    """``x W' + bias + scale (x * kept) A' B'``, in the precision of ``x``.

    x: (n, in), weight: (out, in), bias: (out,) or None, down (A): (rank, in), up (B): (out, rank),
    kept: (n, in) of 0 and 1, or None for all. Gradients for ``x``, ``down`` and ``up`` only.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        product = functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        # converting ``kept`` first is several times faster than a product of two types
        inner = (x if kept is None else kept.to(x.dtype).mul_(x)) @ down.to(x.dtype).t()
        ctx.save_for_backward(x, weight, down, up, inner, kept)
        ctx.scale = scale
        return product.addmm_(inner, up.to(x.dtype).t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up, inner, kept = ctx.saved_tensors
        (gradient,) = outputs
        of_inner = (gradient @ up.to(x.dtype)).mul_(ctx.scale)
        of_up = (gradient.t() @ inner).to(up.dtype).mul_(ctx.scale)
        mask = None if kept is None else kept.to(x.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = of_inner @ down.to(x.dtype)
            if mask is not None:
                of_x.mul_(mask)
            of_x.addmm_(gradient, weight.to(x.dtype))
        of_down = (of_inner.t() @ (x if mask is None else mask.mul_(x))).to(down.dtype)
        return of_x, None, None, of_down, of_up, None, None
