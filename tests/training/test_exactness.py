"""Training matches a plain implementation, on models of real size or vocabulary."""

from pathlib import Path

import pytest
import torch

from flockoff.competition import Training
from flockoff.records import EncodedRow
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.trainer import trained_adapter
from tests.support.plain_training import gradients, plain_loss, plain_network, plain_training, stir
from tests.support.tiny_model import rules, write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

QWEN_VOCABULARY = 151_936
STEPS, STEPS_OF_THE_LARGE = 20, 8


@pytest.fixture(scope="session")
def qwen2_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("qwen2") / "model", QWEN_VOCABULARY)


def random_rows(count: int, vocabulary: int) -> list[EncodedRow]:
    """3 to 7 tokens each, about half of them the assistant's."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for number in range(count):
        length = 3 + number % 5
        ids = torch.randint(vocabulary, (length,), generator=generator)
        assistant = torch.rand(length, generator=generator) < 0.5
        rows.append(EncodedRow(tuple(ids.tolist()), tuple(assistant.tolist())))
    return rows


@pytest.fixture(params=["smollm2_dir", "qwen2_dir"], scope="module")
def model_dir(request: pytest.FixtureRequest) -> Path:
    directory: Path = request.getfixturevalue(request.param)
    return directory


@pytest.fixture(scope="module")
def model(model_dir: Path, evaluation_file: Path) -> LanguageModel:
    return load_model(model_dir, rules(evaluation_file, dropout=0.0), torch.device("cpu"))


def test_training_agrees_with_a_plain_reference(
    model: LanguageModel, model_dir: Path, evaluation_file: Path
) -> None:
    """Two steps are one pass. In the large model they are fewer, and of two rows each: it proves that size
    changes nothing, the small one that nothing adds up.
    """
    rate = Training().learning_rate  # at the tiny model's, any rounding grows in a large one
    large = model_dir.name.startswith("SmolLM2")
    count = STEPS_OF_THE_LARGE if large else STEPS
    together = 1 if large else Training().gradient_accumulation
    competition = rules(
        evaluation_file, dropout=0.0, epochs=count // 2, learning_rate=rate, gradient_accumulation=together
    )
    rows = random_rows(2 * competition.training.rows_per_step, len(model.head))
    steps: list[float] = []
    with trained_adapter(model, rows, competition, 6, lambda done, total, loss: steps.append(loss)):
        pass
    network = plain_network(model_dir, competition, seed=6)
    expected = list(plain_training(network, rows, competition, seed=6))
    assert len(steps) == count
    assert steps == pytest.approx(expected, rel=1e-5)
    assert sum(expected[-2:]) < sum(expected[:2])


def test_first_gradients_agree_with_a_plain_reference(
    model: LanguageModel, model_dir: Path, evaluation_file: Path
) -> None:
    competition = rules(evaluation_file, dropout=0.0)
    rows = random_rows(8, len(model.head))
    network = plain_network(model_dir, competition, seed=6)
    model.adapters.reset(seed=6)
    stir(network)
    stir(model.adapters.model)
    torch.autograd.backward(plain_loss(network, rows))
    add_step_gradients(model, rows, 0.0, seed=6, step=0)
    ours, plain = gradients(model.adapters.model), gradients(network)
    assert ours.keys() == plain.keys()
    assert max((ours[key] - plain[key]).norm() / plain[key].norm() for key in plain) < 1e-4
