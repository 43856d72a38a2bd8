"""PEFT's adapters, with a faster and leaner forward and backward pass.

PEFT defines which layers have one, their parameters' names, shapes and initial values, and the file format.
Its layers' forward pass is replaced by one that adds ``s B A drop(x)`` to ``W x`` inside the matrix product,
saves only ``x``, ``A drop(x)`` and a byte per value of the dropout mask for the backward pass, and computes
no gradient for ``W``. The GPU's kernels (``fused``) save no mask.
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
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from flockoff.competition import Lora
from flockoff.training.dropout import RowDropout, keep_probability, levels_dropped
from flockoff.training.fused import FusedLayer, FusedPass, Kernels
from flockoff.training.layers import Passing, replace_layers
from flockoff.training.together import copy_each

_NAME = "default"  # PEFT's name of the only adapter


@dataclass(frozen=True, slots=True)
class _Layer:
    """One adapted layer, the ``number``-th: ``down`` is PEFT's A, (rank, in), ``up`` its B, (out, rank)."""

    number: int
    base: nn.Linear
    down: nn.Parameter
    up: nn.Parameter
    scale: float


@dataclass(slots=True)
class _Working:
    """The adapter's operands: the parameters themselves, or copies in the products' precision."""

    copies: list[torch.Tensor]  # down and up of each layer
    precision: torch.dtype = torch.float32

    def of(self, layer: _Layer) -> tuple[torch.Tensor, torch.Tensor]:
        if self.precision == torch.float32:
            return layer.down, layer.up
        down, up = self.copies[2 * layer.number : 2 * layer.number + 2]
        return down, up


class Adapters:
    """A LoRA adapter on every linear layer of ``network`` but the head, initially without effect.

    They stay for the life of the network; each dataset starts with ``reset``.
    """

    def __init__(self, network: PreTrainedModel, lora: Lora) -> None:
        self.passing = Passing()
        self._kernels: Kernels | None = None
        self._working = _Working([])
        adapted = get_peft_model(network, _config(lora))
        assert isinstance(adapted, PeftModel)
        self.model = adapted
        self._network = network
        self._layers: list[_Layer] = []
        for module in network.modules():
            if isinstance(module, LoraLayer):
                layer = _layer(module, len(self._layers))
                module.forward = partial(  # type: ignore[method-assign]
                    _adapted, layer, self.passing, self._working
                )
                self._layers.append(layer)
        replace_layers(network, self.passing)
        self.model.eval()  # nothing computed here depends on it
        self.clear()

    @property
    def widths(self) -> set[int]:
        """The input widths of the adapted layers."""
        return {layer.base.in_features for layer in self._layers}

    def use(self, kernels: Kernels | None, *, gate: bool) -> None:
        """Train with the GPU's ``kernels`` from now on, with or without the gate's; None: without any.

        The weights must be in training's compute precision, and ``widths`` supported by the kernels.
        """
        self._kernels = kernels
        fused: dict[nn.Module, tuple[_Layer, FusedLayer]] = {}
        layers = iter(self._layers)
        for module in self._network.modules():
            if isinstance(module, LoraLayer):
                layer = next(layers)
                given = (layer, self.passing, self._working)
                module.forward = partial(_adapted, *given)  # type: ignore[method-assign]
                if kernels is not None:
                    fused[module] = layer, self._fused(layer)
                    module.forward = partial(  # type: ignore[method-assign]
                        _adapted_on_card, fused[module][1], *given
                    )
        for module in self._network.modules():
            if isinstance(module, LlamaMLP | Qwen2MLP):
                vars(module).pop("forward", None)
                if gate and kernels is not None:
                    module.forward = partial(  # type: ignore[method-assign]
                        _gated, module, *fused[module.down_proj], self.passing
                    )

    def _fuses(self, compute: torch.dtype) -> bool:
        return self._kernels is not None and self._layers[0].base.weight.dtype == compute

    def _fused(self, layer: _Layer) -> FusedLayer:
        self._make_copies(layer.base.weight.dtype)
        down, up = self._working.copies[2 * layer.number : 2 * layer.number + 2]
        return FusedLayer(layer.number, layer.base.weight, layer.base.bias, down, up, layer.scale)

    def _make_copies(self, precision: torch.dtype) -> None:
        copies = self._working.copies
        if not copies or copies[0].dtype != precision:
            copies[:] = [torch.empty_like(value, dtype=precision) for value in self.parameters()]

    def parameters(self) -> Iterator[nn.Parameter]:
        return (value for layer in self._layers for value in (layer.down, layer.up))

    def reset(self, seed: int) -> None:
        """The initial values that PEFT gives to a new adapter after ``torch.manual_seed(seed)``."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for layer in self._layers:
                for shape in (layer.down.shape, layer.up.shape):
                    nn.Linear(shape[1], shape[0], bias=False)  # PEFT draws these, then overwrites them
                initial = nn.init.kaiming_uniform_(torch.empty(layer.down.shape), a=math.sqrt(5))
                layer.down.copy_(initial)
                layer.up.zero_()

    def clear(self) -> None:
        """Zero the adapters and free their gradients: the network is the base model again."""
        for layer in self._layers:
            layer.up.data.zero_()
            layer.down.grad = layer.up.grad = None

    @contextlib.contextmanager
    def training(self, compute: torch.dtype) -> Iterator[None]:
        """Inside, products are in ``compute``, with the adapter's values at entry."""
        if compute != torch.float32 or self._fuses(compute):
            self._make_copies(compute)
            with torch.no_grad():
                copy_each(self._working.copies, list(self.parameters()))
        self.passing.compute = self._working.precision = compute
        try:
            yield
        finally:
            self.passing.compute = self._working.precision = torch.float32
            self.passing.dropout, self.passing.again, self.passing.fused = None, False, None

    def begin_pass(self, dropout: RowDropout, device: torch.device, *, again: bool) -> None:
        """Set up the next pass's dropout; ``again``: with gradient checkpointing."""
        self.passing.dropout, self.passing.again = dropout, again
        if self._kernels is not None and self._fuses(self.passing.compute):
            self.passing.fused = FusedPass.of(self._kernels, dropout, device)


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


def _adapted(layer: _Layer, passing: Passing, working: _Working, x: torch.Tensor) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1]).to(passing.compute)
    kept, scale = None, layer.scale
    if passing.dropout is not None and levels_dropped(passing.dropout.rate):
        kept = passing.dropout.kept(layer.number, flat.shape[1], flat.device)
        scale /= keep_probability(passing.dropout.rate)
    product: torch.Tensor = _AdaptedProduct.apply(
        flat, layer.base.weight, layer.base.bias, layer.down, layer.up, scale, kept, *working.of(layer)
    )
    return product.view(*x.shape[:-1], -1)


def _adapted_on_card(
    fused: FusedLayer, layer: _Layer, passing: Passing, working: _Working, x: torch.Tensor
) -> torch.Tensor:
    """Like ``_adapted``, on the GPU's kernels during a training pass."""
    if passing.fused is None:
        return _adapted(layer, passing, working, x)
    flat = x.reshape(-1, x.shape[-1]).to(passing.compute).contiguous()
    return passing.fused.product(flat, fused, layer.down, layer.up).view(*x.shape[:-1], -1)


def _gated(mlp: Any, layer: _Layer, fused: FusedLayer, passing: Passing, x: torch.Tensor) -> torch.Tensor:
    """The feed-forward block; ``layer`` is its last product."""
    gate, up = mlp.gate_proj(x), mlp.up_proj(x)
    if passing.fused is None:
        product: torch.Tensor = mlp.down_proj(mlp.act_fn(gate) * up)
        return product
    flat_gate, flat_up = (states.view(-1, states.shape[-1]) for states in (gate, up))
    return passing.fused.gated_product(flat_gate, flat_up, fused, layer.down, layer.up).view(
        *x.shape[:-1], -1
    )


class _AdaptedProduct(torch.autograd.Function):
    """``x W' + bias + scale (x * kept) A' B'``, in the precision of ``x``.

    x: (n, in), weight: (out, in), bias: (out,) or None, down (A): (rank, in), up (B): (out, rank), kept: (n,
    in) of 0 and 1, or None for all. Gradients for ``x``, ``down`` and ``up`` only; the products use
    ``near_down`` and ``near_up``, copies in the precision of ``x``.
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
        near_down: torch.Tensor,
        near_up: torch.Tensor,
    ) -> torch.Tensor:
        product = functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        # converting ``kept`` first is several times faster than a mixed-type product
        inner = (x if kept is None else kept.to(x.dtype).mul_(x)) @ near_down.t()
        ctx.save_for_backward(x, weight, inner, kept)
        ctx.scale, ctx.adapter = scale, (near_down, near_up)
        return product.addmm_(inner, near_up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, inner, kept = ctx.saved_tensors
        down, up = ctx.adapter
        (gradient,) = outputs
        of_inner = (gradient @ up).mul_(ctx.scale)
        of_up = (gradient.t() @ inner).float().mul_(ctx.scale)
        mask = None if kept is None else kept.to(x.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = of_inner @ down
            if mask is not None:
                of_x.mul_(mask)
            of_x.addmm_(gradient, weight.to(x.dtype))
        of_down = (of_inner.t() @ (x if mask is None else mask.mul_(x))).float()
        return of_x, None, None, of_down, of_up, None, None, None, None
