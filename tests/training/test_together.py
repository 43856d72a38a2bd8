"""Torch's private functions for many tensors do what their names say."""

import pytest
import torch

from flockoff.training.together import add_each, copy_each

pytestmark = pytest.mark.slow  # it imports torch


def test_copy_each_converts_and_add_each_scales() -> None:
    targets = [torch.zeros(2, dtype=torch.bfloat16), torch.zeros(1, 3)]
    copy_each(targets, [torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0, 5.0]])])
    assert targets[0].dtype is torch.bfloat16 and targets[0].tolist() == [1.0, 2.0]
    add_each(targets[1:], [torch.tensor([[1.0, 2.0, 4.0]])], times=-0.5)
    assert targets[1].tolist() == [[2.5, 3.0, 3.0]]
