"""Operations on many tensors at once: one kernel on a card instead of one for each.

The only use of torch's private ``_foreach`` functions, guarded by tests/training/test_together.py.
"""

import torch


def copy_each(targets: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
    """Copy each source into its target, converting number formats."""
    torch._foreach_copy_(targets, sources)


def add_each(targets: list[torch.Tensor], terms: list[torch.Tensor], *, times: float) -> None:
    """Add ``times`` each term to its target."""
    torch._foreach_add_(targets, terms, alpha=times)
