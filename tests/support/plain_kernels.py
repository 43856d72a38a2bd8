"""A card's kernels in plain PyTorch, with dropout's masks from the host: what they compute, not how."""

import torch
from torch.nn import functional

from flockoff.training.dropout import RowDropout
from flockoff.training.fused import Drops

_LEVELS = 65536


class PlainKernels:
    """As ``flockoff.training.fused.Kernels``."""

    def inner(
        self, x: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        return scale * (x * _kept(drops, layer, x.shape[1])) @ down.t()

    def of_input(
        self, of_inner: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        return scale * (of_inner @ down) * _kept(drops, layer, down.shape[1])

    def of_down(
        self,
        x: torch.Tensor,
        of_inner: torch.Tensor,
        down: torch.Tensor,
        drops: Drops,
        layer: int,
        scale: float,
    ) -> torch.Tensor:
        return scale * of_inner.t() @ (x * _kept(drops, layer, x.shape[1]))

    def gate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return functional.silu(gate) * up

    def gate_backward(
        self, of_product: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        share = torch.sigmoid(gate)
        of_gate = of_product * up * (share + gate * share * (1 - share))
        of_up = of_product * gate * share
        of_product.copy_(gate * share * up)
        return of_gate, of_up


def _kept(drops: Drops, layer: int, width: int) -> torch.Tensor:
    seed, step, dropped = drops.law.tolist()
    first = int(drops.rows[0])
    lengths = torch.bincount(drops.rows - first).tolist()
    dropout = RowDropout(dropped / _LEVELS, seed, step, first, lengths)
    return dropout.kept(layer, width, drops.rows.device)
