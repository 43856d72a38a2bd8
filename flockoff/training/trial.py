"""Decides which of the fused GPU kernels a worker trains with, by trying them on the loaded model.

Where a kernel is wrong, slow or unavailable on this GPU, training takes the plain path and says why.
"""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flockoff.training.dropout import RowDropout
from flockoff.training.fused import Kernels, supports
from flockoff.training.lora import Adapters

_APART = 0.02  # of the norm: two ways of rounding to bfloat16 differ by a few thousandths
_SLOWER = 1.25  # less is noise, which must not make two equal GPUs choose differently
_ROWS = (300, 151, 61)  # tokens of the trial's rows: no multiples of a kernel's block size
_RATE, _SEED, _STEP = 0.1, 20, 7
_ROUNDS = 5

Outcome = Sequence[torch.Tensor]  # a block's output, and the gradients of its input and its adapters


@dataclass(frozen=True, slots=True)
class FusedPaths:
    """The paths taken, out of ``dropout`` and ``gate``, and why the others are not."""

    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # each "path: reason"


NO_PATHS = FusedPaths()


def choose_paths(
    adapters: Adapters, block: torch.nn.Module, device: torch.device, compute: torch.dtype
) -> FusedPaths:
    """Let ``adapters`` train with each kernel path that agrees with the plain one and is no slower.

    ``block``: the first decoder layer's feed-forward block. Its output, its gradients (input and adapters)
    and its time are compared for the plain path, dropout's and both.
    """
    try:
        if not supports(sorted(adapters.widths)):
            raise ValueError(f"layers of widths {sorted(adapters.widths)}")
        module = importlib.import_module("flockoff.training.kernels")
        kernels: Kernels = module.TritonKernels()
    except (ImportError, ValueError) as error:
        return FusedPaths(refused=(f"dropout and gate: {_brief(error)}",))
    taken: list[str] = []
    refused: list[str] = []
    adapters.use(None, gate=False)
    rehearsal = _Rehearsal(adapters, block, device, compute)
    plain = rehearsal.outcome()
    plain_seconds = rehearsal.seconds()
    for path in ("dropout", "gate"):
        adapters.use(kernels, gate=path == "gate")
        problem = _problem(rehearsal, plain, plain_seconds)
        if problem is not None:
            refused.append(f"{path}: {problem}")
            break
        taken.append(path)
        plain_seconds = rehearsal.seconds()  # the next path must be no slower than this one
    if taken:
        adapters.use(kernels, gate="gate" in taken)
    else:
        adapters.use(None, gate=False)
    adapters.clear()
    return FusedPaths(tuple(taken), tuple(refused))


def _problem(rehearsal: "_Rehearsal", plain: Outcome, plain_seconds: float) -> str | None:
    """Why the path that the adapters now use must not be taken; None where it may.

    A compiler, driver or GPU may raise any exception about a kernel; if the GPU is unusable afterwards, the
    worker's next operation on it fails.
    """
    try:
        found = rehearsal.outcome()
        apart = max(_distance(one, other) for one, other in zip(found, plain, strict=True))
        if not apart < _APART:
            return f"differs from the plain path by {apart:.1e} of the norm"
        seconds = rehearsal.seconds()
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises, the plain path remains
        return _brief(error)
    if seconds > _SLOWER * plain_seconds:
        return f"takes {seconds / plain_seconds:.1f} times as long as the plain path"
    return None


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    scale = other.float().norm().clamp_min(1e-12)
    return float((one.float() - other.float()).norm() / scale)


def _brief(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class _Rehearsal:
    """One feed-forward block, forward and backward, with an adapter that has an effect."""

    def __init__(
        self, adapters: Adapters, block: torch.nn.Module, device: torch.device, compute: torch.dtype
    ) -> None:
        self._adapters, self._block, self._device, self._compute = adapters, block, device, compute
        self._parameters = [value for value in block.parameters() if value.requires_grad]
        width: Any = next(iter(block.children())).in_features
        generator = torch.Generator().manual_seed(_SEED)
        states = torch.randn((1, sum(_ROWS), width), generator=generator)
        self._states = states.to(device, compute).requires_grad_()
        self._gradient = torch.randn(states.shape, generator=generator).to(device, compute)
        adapters.reset(_SEED)
        with torch.no_grad():
            for value in self._parameters:
                value.copy_(torch.randn(value.shape, generator=generator) * value.shape[1] ** -0.5)

    def outcome(self) -> Outcome:
        self._states.grad = None
        for value in self._parameters:
            value.grad = None
        with self._adapters.training(self._compute):
            self._adapters.begin_pass(RowDropout(_RATE, _SEED, _STEP, 0, _ROWS), self._device, again=False)
            made = self._block(self._states)
            torch.autograd.backward(made, self._gradient)
        gradients = [value.grad for value in (self._states, *self._parameters)]
        assert all(gradient is not None for gradient in gradients)
        return [made.detach(), *(gradient for gradient in gradients if gradient is not None)]

    def seconds(self) -> float:
        """Median time of ``outcome``."""
        return statistics.median(_timed(self.outcome, self._device) for _ in range(_ROUNDS))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    _finish(device)
    begun = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - begun


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
