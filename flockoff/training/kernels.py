"""Triton kernels for training on CUDA: the adapters' products with dropout in them, and the gate.

Importing this module needs Triton; launching a kernel needs a GPU (or Triton's interpreter) and, the first
time, a C compiler. ``trial`` decides whether they are used.

Dropout's random words (see ``dropout``) are generated in the kernels and never stored: recomputing a mask is
cheaper than reading it from memory. Every value is computed by one program in a fixed order, without atomics,
so results are bit-identical. Products accumulate in float32.
"""

# Triton infers types from a kernel's arguments.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import torch
import triton
import triton.language as tl
from triton.language.random import philox_impl

from flockoff.training.fused import Drops

_GATE_BLOCK = 1024
# Values that vary by pass or layer: specialising on 1 or multiples of 16 gains nothing.
_PLAIN = ["layer", "tokens", "scale"]


@triton.jit
def _halves(words):
    """[..., 2, 2]: the four 16-bit words of each 64-bit one, lowest first when flattened."""
    first, second = words.to(tl.uint16), (words >> 16).to(tl.uint16)
    third, fourth = (words >> 32).to(tl.uint16), (words >> 48).to(tl.uint16)
    return tl.join(tl.join(first, third), tl.join(second, fourth))


@triton.jit
def _kept(rows, places, law, layer, first, WIDTH: tl.constexpr, TOKENS: tl.constexpr, COLUMNS: tl.constexpr):
    """[TOKENS, COLUMNS]: whether dropout keeps the values from column ``first`` on.

    ``rows``, ``places``: each token's row index in the step, and its own in the row. ``law``: seed, step,
    levels_dropped.
    """
    block = (first + 16 * tl.arange(0, COLUMNS // 16))[None, :] + (places.to(tl.int64) * WIDTH)[:, None]
    counter = (block // 16 + 1).to(tl.uint64)
    zero = counter * 0
    w0, w1, w2, w3 = philox_impl(
        counter,
        zero + rows.to(tl.uint64)[:, None],
        zero + tl.load(law + 1).to(tl.uint64),
        zero,
        tl.load(law).to(tl.uint64),
        layer.to(tl.uint64),
    )
    words = tl.join(tl.join(w0, w2), tl.join(w1, w3))
    halves = tl.reshape(_halves(words), (TOKENS, COLUMNS))
    return halves.to(tl.int32) >= tl.load(law + 2).to(tl.int32)


@triton.jit(do_not_specialize=_PLAIN)
def inner_kernel(
    x,
    down,
    inner,
    rows,
    places,
    law,
    layer,
    tokens,
    scale,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """inner = scale drop(x) down': (tokens, RANK). RANKS: RANK padded to a size that tl.dot supports."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    there = token < tokens
    row = tl.load(rows + token, mask=there, other=0)
    place = tl.load(places + token, mask=there, other=0)
    rank = tl.arange(0, RANKS)
    total = tl.zeros((TOKENS, RANKS), tl.float32)
    for first in range(0, WIDTH, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        inside = column < WIDTH
        at = token.to(tl.int64)[:, None] * WIDTH + column[None, :]
        values = tl.load(x + at, mask=there[:, None] & inside[None, :], other=0.0)
        kept = _kept(row, place, law, layer, first, WIDTH, TOKENS, COLUMNS)
        values = tl.where(kept, values, 0.0).to(x.dtype.element_ty)
        weights = tl.load(
            down + rank[None, :] * WIDTH + column[:, None],
            mask=(rank < RANK)[None, :] & inside[:, None],
            other=0.0,
        )
        total = tl.dot(values, weights, total)
    at = token[:, None] * RANK + rank[None, :]
    tl.store(
        inner + at, (total * scale).to(inner.dtype.element_ty), mask=there[:, None] & (rank < RANK)[None, :]
    )


@triton.jit(do_not_specialize=_PLAIN)
def of_input_kernel(
    of_inner,
    down,
    of_x,
    rows,
    places,
    law,
    layer,
    tokens,
    scale,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """of_x = drop(scale of_inner down): (tokens, WIDTH)."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    first = tl.program_id(1) * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    there, inside = token < tokens, column < WIDTH
    rank = tl.arange(0, RANKS)
    ranked = rank < RANK
    left = tl.load(
        of_inner + token[:, None] * RANK + rank[None, :], mask=there[:, None] & ranked[None, :], other=0.0
    )
    right = tl.load(
        down + rank[:, None] * WIDTH + column[None, :], mask=ranked[:, None] & inside[None, :], other=0.0
    )
    row = tl.load(rows + token, mask=there, other=0)
    place = tl.load(places + token, mask=there, other=0)
    kept = _kept(row, place, law, layer, first, WIDTH, TOKENS, COLUMNS)
    values = tl.where(kept, tl.dot(left, right) * scale, 0.0)
    at = token.to(tl.int64)[:, None] * WIDTH + column[None, :]
    tl.store(of_x + at, values.to(of_x.dtype.element_ty), mask=there[:, None] & inside[None, :])


@triton.jit(do_not_specialize=_PLAIN)
def of_down_kernel(
    x,
    of_inner,
    of_down,
    rows,
    places,
    law,
    layer,
    tokens,
    scale,
    WIDTH: tl.constexpr,
    RANK: tl.constexpr,
    RANKS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """of_down = scale of_inner' drop(x): (RANK, WIDTH), float32."""
    first = tl.program_id(0) * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    inside = column < WIDTH
    rank = tl.arange(0, RANKS)
    ranked = rank < RANK
    total = tl.zeros((RANKS, COLUMNS), tl.float32)
    for begin in range(0, tokens, TOKENS):
        token = begin + tl.arange(0, TOKENS)
        there = token < tokens
        left = tl.load(
            of_inner + token[None, :] * RANK + rank[:, None],
            mask=there[None, :] & ranked[:, None],
            other=0.0,
        )
        at = token.to(tl.int64)[:, None] * WIDTH + column[None, :]
        values = tl.load(x + at, mask=there[:, None] & inside[None, :], other=0.0)
        row = tl.load(rows + token, mask=there, other=0)
        place = tl.load(places + token, mask=there, other=0)
        kept = _kept(row, place, law, layer, first, WIDTH, TOKENS, COLUMNS)
        total = tl.dot(left, tl.where(kept, values, 0.0).to(x.dtype.element_ty), total)
    tl.store(
        of_down + rank[:, None] * WIDTH + column[None, :],
        total * scale,
        mask=ranked[:, None] & inside[None, :],
    )


@triton.jit(do_not_specialize=["count"])
def gate_kernel(gate, up, product, count, BLOCK: tl.constexpr):
    """product = silu(gate) up, elementwise."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    opened = tl.load(gate + at, mask=there, other=0.0).to(tl.float32)
    passed = tl.load(up + at, mask=there, other=0.0).to(tl.float32)
    value = opened * tl.sigmoid(opened) * passed
    tl.store(product + at, value.to(product.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["count"])
def gate_backward_kernel(of_product, gate, up, of_gate, of_up, count, BLOCK: tl.constexpr):
    """The gradients of ``gate`` and ``up``; the recomputed product overwrites its gradient."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    gradient = tl.load(of_product + at, mask=there, other=0.0).to(tl.float32)
    opened = tl.load(gate + at, mask=there, other=0.0).to(tl.float32)
    passed = tl.load(up + at, mask=there, other=0.0).to(tl.float32)
    share = tl.sigmoid(opened)
    activated = opened * share
    slope = share + activated * (1 - share)
    kind = of_gate.dtype.element_ty
    tl.store(of_gate + at, (gradient * passed * slope).to(kind), mask=there)
    tl.store(of_up + at, (gradient * activated).to(kind), mask=there)
    tl.store(of_product + at, (activated * passed).to(kind), mask=there)


class TritonKernels:
    """The kernels as functions of tensors. Widths are multiples of 16; all tensors are contiguous."""

    def inner(
        self, x: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        """``scale drop(x) down'``: (n, rank), of x: (n, width), down: (rank, width)."""
        tokens = len(x)
        inner = x.new_empty((tokens, len(down)))
        sizes = _sizes(down, TOKENS=16, COLUMNS=128)
        inner_kernel[(triton.cdiv(tokens, 16),)](
            x, down, inner, drops.rows, drops.places, drops.law, layer, tokens, scale, **sizes, num_warps=4
        )
        return inner

    def of_input(
        self, of_inner: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        """``drop(scale of_inner down)``: (n, width), of of_inner: (n, rank)."""
        tokens, width = len(of_inner), down.shape[1]
        of_x = of_inner.new_empty((tokens, width))
        sizes = _sizes(down, TOKENS=32, COLUMNS=128)
        grid = (triton.cdiv(tokens, 32), triton.cdiv(width, 128))
        of_input_kernel[grid](
            of_inner,
            down,
            of_x,
            drops.rows,
            drops.places,
            drops.law,
            layer,
            tokens,
            scale,
            **sizes,
            num_warps=4,
        )
        return of_x

    def of_down(
        self,
        x: torch.Tensor,
        of_inner: torch.Tensor,
        down: torch.Tensor,
        drops: Drops,
        layer: int,
        scale: float,
    ) -> torch.Tensor:
        """``scale of_inner' drop(x)``: (rank, width), float32."""
        tokens, width = x.shape
        of_down = torch.empty(down.shape, dtype=torch.float32, device=x.device)
        sizes = _sizes(down, TOKENS=64, COLUMNS=32)
        of_down_kernel[(triton.cdiv(width, 32),)](
            x,
            of_inner,
            of_down,
            drops.rows,
            drops.places,
            drops.law,
            layer,
            tokens,
            scale,
            **sizes,
            num_warps=4,
        )
        return of_down

    def gate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """``silu(gate) up``."""
        product = torch.empty_like(gate)
        count = gate.numel()
        gate_kernel[(triton.cdiv(count, _GATE_BLOCK),)](gate, up, product, count, BLOCK=_GATE_BLOCK)
        return product

    def gate_backward(
        self, of_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of ``gate`` and ``up``. Afterwards ``of_product`` holds ``silu(gate) up``."""
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        count = gate.numel()
        gate_backward_kernel[(triton.cdiv(count, _GATE_BLOCK),)](
            of_product, gate, up, of_gate, of_up, count, BLOCK=_GATE_BLOCK
        )
        return of_gate, of_up


def _sizes(down: torch.Tensor, **blocks: int) -> dict[str, int]:
    rank, width = down.shape
    return {"WIDTH": width, "RANK": rank, "RANKS": max(16, triton.next_power_of_2(rank)), **blocks}
