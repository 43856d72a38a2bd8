from pathlib import Path

import pytest
import torch

from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.loss import row_losses
from flockoff.training.model import LanguageModel, load_model
from tests.support.tiny_model import row, rules

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]


@pytest.fixture(scope="module")
def model(model_dir: Path, evaluation_file: Path) -> LanguageModel:
    return load_model(model_dir, rules(evaluation_file), torch.device("cpu"))


def reference_losses(model: LanguageModel, rows: list[EncodedRow]) -> list[float]:
    """Row by row through the whole model, token by token in plain Python."""
    losses = []
    for one in rows:
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([one.input_ids])).logits[0].double()
        logarithms = torch.log_softmax(logits, dim=-1)
        places = [place for place in range(1, len(one.input_ids)) if one.assistant[place]]
        losses.append(-sum(logarithms[place - 1, one.input_ids[place]].item() for place in places))
    return losses


def test_row_losses_equal_a_plain_reference(model: LanguageModel, model_dir: Path) -> None:
    encoder = load_encoder(model_dir, 200)
    rows = encoder.encode([row("?" * (n % 7 + 1), "yes " * (3 * n)) for n in range(1, 60)])
    done: list[int] = []
    measured = row_losses(model, rows, done.append)
    expected = reference_losses(model, rows)
    assert measured.nll == pytest.approx(expected, rel=1e-5)
    assert measured.tokens == sum(sum(one.assistant) for one in rows)
    assert measured.mean == pytest.approx(sum(expected) / measured.tokens, rel=1e-6)
    assert len(done) > 2 and done == sorted(done) and done[-1] == len(rows)


def test_row_losses_do_not_depend_on_the_order_of_rows(model: LanguageModel, model_dir: Path) -> None:
    rows = load_encoder(model_dir, 200).encode([row("Hi", "yes " * n) for n in range(1, 20)])
    forwards, backwards = (row_losses(model, order, lambda done: None) for order in (rows, rows[::-1]))
    assert forwards.nll == backwards.nll[::-1]
    assert forwards.mean == backwards.mean
