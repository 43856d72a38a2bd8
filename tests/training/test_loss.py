from pathlib import Path

import pytest
import torch
from tiny_model import row, rules
from torch.nn import functional

from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.device import HEAD_CHUNK
from flockoff.training.loss import evaluation_loss, summed_loss
from flockoff.training.model import LanguageModel, load_model


@pytest.fixture(scope="module")
def model(model_dir: Path, evaluation_file: Path) -> LanguageModel:
    return load_model(model_dir, rules(evaluation_file), torch.device("cpu"))


@pytest.mark.parametrize("positions", [0, 1, HEAD_CHUNK, HEAD_CHUNK + 7])
def test_summed_loss_and_its_gradient_equal_plain_torch(positions: int) -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(positions, 16, generator=generator, dtype=torch.float64)
    head = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    targets = torch.randint(50, (positions,), generator=generator)
    ours = states.float().requires_grad_()
    plain = states.clone().requires_grad_()
    torch.autograd.backward(summed_loss(ours, head.float(), targets) / 3)
    torch.autograd.backward(functional.cross_entropy(plain @ head.t(), targets, reduction="sum") / 3)
    assert ours.grad is not None and plain.grad is not None
    torch.testing.assert_close(ours.grad.double(), plain.grad, rtol=1e-4, atol=1e-5)
    expected = functional.cross_entropy(states @ head.t(), targets, reduction="sum")
    torch.testing.assert_close(
        summed_loss(states.float(), head.float(), targets).double(), expected, rtol=1e-6, atol=0.0
    )


def reference_loss(model: LanguageModel, rows: list[EncodedRow]) -> tuple[float, int]:
    """Row by row through the whole model, token by token in plain Python."""
    total, tokens = 0.0, 0
    for one in rows:
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([one.input_ids])).logits[0].double()
        logarithms = torch.log_softmax(logits, dim=-1)
        for place in range(1, len(one.input_ids)):
            if one.assistant[place]:
                total -= logarithms[place - 1, one.input_ids[place]].item()
                tokens += 1
    return total / tokens, tokens


def test_evaluation_loss_equals_a_plain_reference(model: LanguageModel, model_dir: Path) -> None:
    encoder = load_encoder(model_dir, 200)
    rows = encoder.encode([row("?" * (n % 7 + 1), "yes " * (3 * n)) for n in range(1, 60)])
    done: list[int] = []
    loss, tokens = evaluation_loss(model, rows, done.append)
    expected, count = reference_loss(model, rows)
    assert tokens == count
    assert loss == pytest.approx(expected, rel=1e-6)
    assert len(done) > 2 and done == sorted(done) and done[-1] == len(rows)


def test_evaluation_loss_does_not_depend_on_the_order_of_rows(model: LanguageModel, model_dir: Path) -> None:
    rows = load_encoder(model_dir, 200).encode([row("Hi", "yes " * n) for n in range(1, 20)])
    losses = {evaluation_loss(model, order, lambda done: None) for order in (tuple(rows), tuple(rows[::-1]))}
    assert len(losses) == 1
