import pytest
import torch
from torch.nn import functional

from flockoff.planner.memory import HEAD_BLOCK, HEAD_POSITIONS
from flockoff.training.head import negative_log_likelihoods, summed_loss

pytestmark = pytest.mark.slow

# the last block of the vocabulary and the last chunk of positions are short ones
VOCABULARY = HEAD_BLOCK + 50
each_size = pytest.mark.parametrize("positions", [0, 1, HEAD_POSITIONS + 7])


def numbers(positions: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, head and targets, in float64."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(positions, 16, generator=generator, dtype=torch.float64)
    head = torch.randn(VOCABULARY, 16, generator=generator, dtype=torch.float64)
    return states, head, torch.randint(VOCABULARY, (positions,), generator=generator)


@each_size
def test_summed_loss_and_its_gradient_equal_plain_torch(positions: int) -> None:
    states, head, targets = numbers(positions)
    ours = states.float().requires_grad_()
    plain = states.clone().requires_grad_()
    loss = summed_loss(ours, head.float(), targets)
    expected = functional.cross_entropy(plain @ head.t(), targets, reduction="sum")
    torch.autograd.backward(loss / 3)
    torch.autograd.backward(expected / 3)
    assert ours.grad is not None and plain.grad is not None
    torch.testing.assert_close(ours.grad.double(), plain.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0.0)


@each_size
def test_negative_log_likelihoods_equal_plain_torch(positions: int) -> None:
    states, head, targets = numbers(positions)
    ours = negative_log_likelihoods(states.float(), head.float(), targets)
    expected = functional.cross_entropy(states @ head.t(), targets, reduction="none")
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)


def test_logits_far_beyond_what_an_exponential_can_hold_are_no_trouble() -> None:
    # Of two thousand tokens that are equally likely, the first block has the least likely of all.
    states, head = torch.tensor([[1.0]]), torch.full((2 * HEAD_BLOCK, 1), -5000.0)
    head[HEAD_BLOCK : HEAD_BLOCK + 2000] = 5000.0
    targets = torch.tensor([HEAD_BLOCK + 7])
    assert negative_log_likelihoods(states, head, targets).item() == pytest.approx(7.6009, abs=1e-3)
    assert summed_loss(states, head, targets).item() == pytest.approx(7.6009, abs=1e-3)


def test_summed_loss_of_bfloat16_products_is_near() -> None:
    states, head, targets = numbers(300)
    ours = states.float().requires_grad_()
    plain = states.float().requires_grad_()
    torch.autograd.backward(summed_loss(ours, head.bfloat16(), targets, torch.bfloat16))
    torch.autograd.backward(functional.cross_entropy(plain @ head.float().t(), targets, reduction="sum"))
    assert ours.grad is not None and plain.grad is not None
    apart = (ours.grad - plain.grad).norm() / plain.grad.norm()
    assert 0 < apart < 0.02
