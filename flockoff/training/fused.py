"""Training's matrix products on CUDA, fused with dropout and the gate by ``kernels``.

``trial`` decides at a worker's start which of the two paths, ``dropout`` and ``gate``, it takes. All else,
evaluation included, is computed as on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from flockoff.training.dropout import RowDropout, keep_probability, levels_dropped

WIDTH_MULTIPLE = 16  # of layer inputs, so that no generator block spans two tokens


class Kernels(Protocol):
    """See ``kernels.TritonKernels``."""

    def inner(
        self, x: torch.Tensor, down: torch.Tensor, drops: "Drops", layer: int, scale: float
    ) -> torch.Tensor: ...

    def of_input(
        self, of_inner: torch.Tensor, down: torch.Tensor, drops: "Drops", layer: int, scale: float
    ) -> torch.Tensor: ...

    def of_down(
        self,
        x: torch.Tensor,
        of_inner: torch.Tensor,
        down: torch.Tensor,
        drops: "Drops",
        layer: int,
        scale: float,
    ) -> torch.Tensor: ...

    def gate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor: ...

    def gate_backward(
        self, of_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True, slots=True)
class Drops:
    """Dropout's inputs for the ``n`` tokens of a pass."""

    rows: torch.Tensor  # (n,) int32: its row's index in the optimizer step
    places: torch.Tensor  # (n,) int32: its index in the row
    law: torch.Tensor  # (3,) int64: seed, step, levels_dropped

    @classmethod
    def of(cls, dropout: RowDropout, device: torch.device) -> "Drops":
        lengths = np.array(dropout.lengths, np.int32)
        rows = np.repeat(dropout.first + np.arange(len(lengths), dtype=np.int32), lengths)
        places = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        tokens = torch.from_numpy(np.stack([rows, places])).to(device)
        law = torch.tensor([dropout.seed, dropout.step, levels_dropped(dropout.rate)], device=device)
        return cls(tokens[0], tokens[1], law)


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """One adapted layer in a step: the frozen weight, and the adapter's copies in the products' precision."""

    number: int
    weight: torch.Tensor  # (out, in)
    bias: torch.Tensor | None  # (out,)
    down: torch.Tensor  # (rank, in)
    up: torch.Tensor  # (out, rank)
    scale: float  # before dropout's rescaling


@dataclass(frozen=True, slots=True)
class FusedPass:
    """One pass through the network: its dropout, and the kernels that apply it."""

    kernels: Kernels
    drops: Drops
    keep: float  # the probability of keeping a value

    @classmethod
    def of(cls, kernels: Kernels, dropout: RowDropout, device: torch.device) -> "FusedPass":
        return cls(kernels, Drops.of(dropout, device), keep_probability(dropout.rate))

    def product(
        self, x: torch.Tensor, layer: FusedLayer, down: torch.Tensor, up: torch.Tensor
    ) -> torch.Tensor:
        """``x W' + bias + s drop(x) A' B'``: (n, out) of (n, in).

        ``down``, ``up``: the adapter's float32 parameters, which only get gradients here.
        """
        made: torch.Tensor = _Product.apply(x, down, up, self, layer)
        return made

    def gated_product(
        self,
        gate: torch.Tensor,
        up_states: torch.Tensor,
        layer: FusedLayer,
        down: torch.Tensor,
        up: torch.Tensor,
    ) -> torch.Tensor:
        """``product`` of ``silu(gate) up_states``, which is recomputed in the backward pass."""
        made: torch.Tensor = _GatedProduct.apply(gate, up_states, down, up, self, layer)
        return made


def _forward(x: torch.Tensor, one: FusedPass, layer: FusedLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """The product, and ``s drop(x) A'``."""
    product = functional.linear(x, layer.weight, layer.bias)
    inner = one.kernels.inner(x, layer.down, one.drops, layer.number, layer.scale / one.keep)
    return product.addmm_(inner, layer.up.t()), inner


def _of_input(
    of_inner: torch.Tensor, gradient: torch.Tensor, one: FusedPass, layer: FusedLayer
) -> torch.Tensor:
    scale = layer.scale / one.keep
    of_x = one.kernels.of_input(of_inner, layer.down, one.drops, layer.number, scale)
    return of_x.addmm_(gradient, layer.weight)


def _of_down(x: torch.Tensor, of_inner: torch.Tensor, one: FusedPass, layer: FusedLayer) -> torch.Tensor:
    scale = layer.scale / one.keep
    return one.kernels.of_down(x, of_inner, layer.down, one.drops, layer.number, scale)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, one: FusedPass, layer: FusedLayer
    ) -> torch.Tensor:
        product, inner = _forward(x, one, layer)
        ctx.save_for_backward(x, inner)
        ctx.one, ctx.layer = one, layer
        return product

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner = ctx.saved_tensors
        (gradient,) = outputs
        gradient = gradient.contiguous()
        of_up = (gradient.t() @ inner).float()
        of_inner = gradient @ ctx.layer.up
        of_x = _of_input(of_inner, gradient, ctx.one, ctx.layer) if ctx.needs_input_grad[0] else None
        return of_x, _of_down(x, of_inner, ctx.one, ctx.layer), of_up, None, None


class _GatedProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gate: torch.Tensor,
        up_states: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        one: FusedPass,
        layer: FusedLayer,
    ) -> torch.Tensor:
        product, inner = _forward(one.kernels.gate(gate, up_states), one, layer)
        ctx.save_for_backward(gate, up_states, inner)
        ctx.one, ctx.layer = one, layer
        return product

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate, up_states, inner = ctx.saved_tensors
        (gradient,) = outputs
        gradient = gradient.contiguous()
        of_up = (gradient.t() @ inner).float()
        of_inner = gradient @ ctx.layer.up
        activated = _of_input(of_inner, gradient, ctx.one, ctx.layer)
        of_gate, of_up_states = ctx.one.kernels.gate_backward(activated, gate, up_states)
        return of_gate, of_up_states, _of_down(activated, of_inner, ctx.one, ctx.layer), of_up, None, None


def supports(widths: Sequence[int]) -> bool:
    """Whether layers with inputs of these widths can be fused."""
    return all(width % WIDTH_MULTIPLE == 0 for width in widths)
