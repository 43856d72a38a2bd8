"""A card's kernels for tensors without content: each is one operation that reads and writes what it would."""

import torch

from flockoff.training.fused import Drops


@torch.library.custom_op("count::fused", mutates_args=())
def fused(given: list[torch.Tensor], shape: list[int], float32: bool) -> torch.Tensor:
    kind = torch.float32 if float32 else given[0].dtype
    return torch.empty(shape, dtype=kind, device=given[0].device)


fused.register_fake(
    lambda given, shape, float32: torch.empty(
        shape, dtype=torch.float32 if float32 else given[0].dtype, device=given[0].device
    )
)


@torch.library.custom_op("count::gate_backward", mutates_args={"of_product"})
def gate_backward(of_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> list[torch.Tensor]:
    return [torch.empty_like(gate), torch.empty_like(up)]


gate_backward.register_fake(lambda of_product, gate, up: [torch.empty_like(gate), torch.empty_like(up)])


def _fused(given: list[torch.Tensor], shape: list[int], *, float32: bool = False) -> torch.Tensor:
    made: torch.Tensor = fused(given, shape, float32)
    return made


class CountedKernels:
    """As ``flockoff.training.fused.Kernels``."""

    def inner(
        self, x: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        return _fused([x, down], [len(x), len(down)])

    def of_input(
        self, of_inner: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        return _fused([of_inner, down], [len(of_inner), down.shape[1]])

    def of_down(
        self,
        x: torch.Tensor,
        of_inner: torch.Tensor,
        down: torch.Tensor,
        drops: Drops,
        layer: int,
        scale: float,
    ) -> torch.Tensor:
        return _fused([x, of_inner], list(down.shape), float32=True)

    def gate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return _fused([gate, up], list(gate.shape))

    def gate_backward(
        self, of_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_gate, of_up = gate_backward(of_product, gate, up)
        return of_gate, of_up
