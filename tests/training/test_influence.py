"""What a row does for the evaluation loss: the dot product of two gradients, found without one of its own."""

from pathlib import Path

import pytest
import torch

from flockoff.records import EncodedRow
from flockoff.training.influence import row_influence
from flockoff.training.loss import add_step_gradients
from flockoff.training.messages import Assignment, Request
from flockoff.training.model import LanguageModel
from flockoff.training.rows import write_rows
from flockoff.training.session import Session
from tests.support.tiny_model import row, rules

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

KINDRED = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(10, 16)]
STRANGE = [row(f"Say {n}.", "zqj" * n + "!") for n in range(6, 12)]


def gradient(model: LanguageModel, rows: list[EncodedRow]) -> torch.Tensor:
    """Of the mean loss of the rows' assistant tokens, by the adapter's values, as one vector."""
    for value in model.adapters.parameters():
        value.grad = None
    add_step_gradients(model, rows, rate=0.0, seed=0, step=0)
    found = [value.grad.double().flatten() for value in model.adapters.parameters() if value.grad is not None]
    return torch.cat(found)


def test_influence_is_the_dot_product_with_the_evaluation_gradient_at_the_trained_adapter(
    model_dir: Path, evaluation_file: Path, tmp_path: Path
) -> None:
    session = Session.load(Assignment(rules(evaluation_file), str(model_dir), str(evaluation_file), "cpu", 1))
    encoded = session.encoder.encode([*KINDRED, *STRANGE])
    write_rows(encoded, tmp_path / "rows.npz")
    request = Request(str(tmp_path / "rows.npz"), seed=7, influence=True)
    told = session.influence(request, lambda _: None).rows
    assert session.influence(request, lambda _: None).rows == told
    kindred, strange = sum(told[: len(KINDRED)]), sum(told[len(KINDRED) :])
    assert kindred > 0 and kindred > 4 * strange

    # The same at an adapter of any values, by the definition.
    generator = torch.Generator().manual_seed(1)
    model = session.model
    model.adapters.reset(3)
    with torch.no_grad():
        for value in model.adapters.parameters():
            value.add_(0.02 * torch.randn(value.shape, generator=generator))
    kept = [value.detach().clone() for value in model.adapters.parameters()]
    found = row_influence(model, encoded, session.evaluation_set, lambda done, total: None)
    after = [value.detach().clone() for value in model.adapters.parameters()]
    assert all(map(torch.equal, kept, after))
    evaluation = gradient(model, list(session.evaluation_set))
    for each, told_of in zip(encoded, found, strict=True):
        tokens = sum(each.assistant)
        expected = float(gradient(model, [each]) @ evaluation / (evaluation @ evaluation))
        assert told_of / tokens == pytest.approx(expected, rel=0.02, abs=0.002)
    model.adapters.clear()
