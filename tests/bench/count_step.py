"""One optimizer step on a GPU, counted without one: kernels, bytes moved, and seconds by the roofline.

    python -m tests.bench.count_step
    python -m tests.bench.count_step --tokens 64 256 1024 --plain

A Qwen2 of Qwen2.5-1.5B's sizes, held in bfloat16, whose tensors have sizes and no content, makes one step of
8 rows by the code that a validator runs on CUDA, the kernels of ``flockoff.training.kernels`` included. Each
operation that would be a kernel is counted with the bytes that it reads and writes, as if nothing stayed in
the card's cache, and with its products' operations. A card's time is counted from these: each kernel takes
its bytes at 85 % of the memory's bandwidth or its operations at 85 % of the peak, whichever is longer, and at
least a microsecond and a half. ``--plain``: without the fused kernels, dropout's masks coming from the host.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flockoff.competition import Competition
from flockoff.planner.flops import Load, backward_flops, forward_flops
from flockoff.planner.hardware import Gpu, find_gpu
from flockoff.records import EncodedRow
from flockoff.training.dropout import RowDropout
from flockoff.training.loss import add_pass_gradients
from flockoff.training.packing import pack
from tests.bench.count_memory import META, SIZE, SizesOfDropout, empty_model, flash_attention
from tests.support.counted_kernels import CountedKernels

ROWS = 8
ANSWERED = 0.5  # of a row's tokens are the assistant's
BANDWIDTH = {"3060": 360e9, "4090": 1008e9, "5090": 1792e9, "H100": 3350e9, "H200": 4800e9}  # bytes a second
_REACHED = 0.85  # of bandwidth and peak, by large kernels
_SHORTEST = 1.5e-6  # seconds of a kernel
_FREE = ("empty", "detach", "alias", "_unsafe_view", "prim", "lift_fresh")
_PRODUCTS = ("mm", "addmm", "addmm_", "linear")
_FILLS = ("zero_", "fill_", "zeros", "zeros_like", "ones_like", "new_zeros", "new_full", "full", "arange")


@torch.library.custom_op("count::rms", mutates_args=())
def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """CUDA's norm is one kernel; on tensors without content it falls into its parts."""
    return torch.empty_like(x)


@torch.library.custom_op("count::rms_backward", mutates_args=())
def rms_backward(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


rms.register_fake(lambda x, weight: torch.empty_like(x))
rms_backward.register_fake(lambda gradient, x, weight: torch.empty_like(x))
rms.register_autograd(
    lambda ctx, gradient: (torch.ops.count.rms_backward(gradient, *ctx.saved_tensors), None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    read: int  # bytes
    written: int
    flops: int  # of products
    float32: bool  # products of float32

    def seconds(self, gpu: Gpu, bandwidth: float) -> float:
        peak = (gpu.float32 if self.float32 else gpu.bfloat16) * 1e12
        busy = max((self.read + self.written) / bandwidth, self.flops / peak) / _REACHED
        return max(_SHORTEST, busy)


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that would be a kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func).split(".")[1]
        returns = func._schema.returns
        is_view = any(one.alias_info is not None and not one.alias_info.is_write for one in returns)
        if not is_view and not name.startswith(_FREE):
            self.kernels.append(_kernel(name, tree_leaves((args, kwargs or {})), tree_leaves(result)))
        return result


def _kernel(name: str, given: Sequence[Any], made: Sequence[Any]) -> Kernel:
    inputs = [one for one in given if isinstance(one, torch.Tensor)]
    outputs = [one for one in made if isinstance(one, torch.Tensor)]
    distinct = {(id(one.untyped_storage()), one.storage_offset(), one.shape): one for one in inputs}
    read = 0 if name in _FILLS else sum(_bytes(one) for one in distinct.values())
    written = sum(_bytes(one) for one in outputs)
    if name in ("copy_", "_to_copy", "clone"):
        read = _bytes(inputs[-1])
    if name in ("index_select", "index", "embedding"):
        read = written + _bytes(inputs[-1])
    flops = 0
    if name in _PRODUCTS:
        left, right = (inputs[0], inputs[1].t()) if name == "linear" else inputs[-2:]
        flops = 2 * left.shape[0] * left.shape[1] * right.shape[1]
    return Kernel(name, read, written, flops, inputs[0].dtype == torch.float32 if inputs else False)


def _bytes(tensor: torch.Tensor) -> int:
    """What is broadcast is read once."""
    numbers = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers * tensor.itemsize


@contextmanager
def one_kernel_norms() -> Iterator[None]:
    with patch.object(functional, "rms_norm", lambda x, shape, weight, epsilon: rms(x, weight)):
        yield


def count_step(tokens: int, *, fused: bool = True) -> list[Kernel]:
    """The kernels of a step of 8 rows of ``tokens`` tokens, up to the adapters' gradients."""
    answered = round(ANSWERED * tokens)
    row = EncodedRow((0,) * tokens, (False,) * (tokens - answered) + (True,) * answered)
    competition = Competition()
    with flash_attention(), one_kernel_norms(), torch.device("meta"):
        model = empty_model(SIZE, competition)
        if fused:
            model.adapters.use(CountedKernels(), gate=True)
        dropped = RowDropout if fused else SizesOfDropout
        with Counting() as counting, model.adapters.training(model.compute):
            batch = pack([row] * ROWS, META)
            dropout = dropped(competition.lora.dropout, 0, 0, 0, batch.lengths)
            model.adapters.begin_pass(dropout, META, again=False)
            add_pass_gradients(model, batch, len(batch.targets))
    kernels: list[Kernel] = counting.kernels
    return kernels


def useful_flops(tokens: int) -> int:
    load = Load.uniform(ROWS, tokens, ANSWERED)
    rank = Competition().lora.rank
    return forward_flops(SIZE, rank, load) + backward_flops(SIZE, rank, load)


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 256, 1024], help="of a row")
    parser.add_argument("--plain", action="store_true", help="without the fused kernels")
    parser.add_argument("--kernels", action="store_true", help="which kernels they are")
    options = parser.parse_args(arguments)
    for tokens in options.tokens:
        kernels = count_step(tokens, fused=not options.plain)
        moved = sum(one.read + one.written for one in kernels)
        useful = useful_flops(tokens)
        sys.stdout.write(
            f"{ROWS} x {tokens} tokens: {len(kernels)} kernels, {moved / 1e9:.1f} GB moved, "
            f"{useful / 1e12:.2f} TFLOP useful\n"
        )
        for name, bandwidth in BANDWIDTH.items():
            gpu = find_gpu(name)
            busy = sum(one.seconds(gpu, bandwidth) for one in kernels)
            sys.stdout.write(
                f"    {name:5} busy {1e3 * busy:6.1f} ms, MFU {useful / (gpu.bfloat16 * 1e12) / busy:.2f}\n"
            )
        if options.kernels:
            for name, count in Counter(one.name for one in kernels).most_common():
                volume = sum(one.read + one.written for one in kernels if one.name == name)
                sys.stdout.write(f"    {name:28}{count:6}{volume / 1e9:8.1f} GB\n")


if __name__ == "__main__":
    main()
