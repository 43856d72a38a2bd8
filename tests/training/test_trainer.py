from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.calibration import seconds_per_token
from flockoff.training.data import epoch_order
from flockoff.training.device import compute_exactly
from flockoff.training.loss import add_step_gradients, row_losses
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.trainer import trained_adapter
from tests.support.plain_training import gradients, plain_loss, plain_network, plain_training, stir
from tests.support.tiny_model import row, rules

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    compute_exactly(None)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def competition(evaluation_file: Path) -> Competition:
    return rules(evaluation_file)


@pytest.fixture(scope="module")
def model(model_dir: Path, competition: Competition) -> LanguageModel:
    return load_model(model_dir, competition, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset(model_dir: Path) -> list[EncodedRow]:
    return load_encoder(model_dir, 128).encode([row(f"Say {n}.", "yes " * n) for n in range(1, 20)])


def checksum(model: LanguageModel) -> str:
    """Of the base model's weights; the adapters must have no effect."""
    digest = sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        if "lora_B" in name:
            assert not tensor.any()
        elif "lora_A" not in name:
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def train(
    model: LanguageModel, rows: list[EncodedRow], competition: Competition, seed: int
) -> tuple[float, list[float]]:
    """The loss on ``rows`` after training on them, and the losses of the steps."""
    losses: list[float] = []
    steps_seen: list[tuple[int, int]] = []

    def on_step(done: int, total: int, loss: float) -> None:
        steps_seen.append((done, total))
        losses.append(loss)

    with trained_adapter(model, rows, competition, seed, on_step) as steps:
        loss = row_losses(model, rows, lambda done: None).mean
    assert steps_seen == [(done, steps) for done in range(1, steps + 1)]
    return loss, losses


def test_trained_adapter_learns_and_leaves_the_base_model_as_it_was(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    before = checksum(model)
    base = row_losses(model, dataset, lambda done: None).mean
    many = replace(competition, training=replace(competition.training, epochs=20))
    trained, losses = train(model, dataset, many, seed=1)
    assert len(losses) == 60  # three steps an epoch: 8, 8 and 3 rows
    assert trained < base - 0.5 and losses[-1] < losses[0] - 0.5
    assert checksum(model) == before
    assert row_losses(model, dataset, lambda done: None).mean == base


def test_trained_adapter_same_seed_gives_the_same_bits_whatever_ran_before(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    first = train(model, dataset, competition, seed=1)
    train(model, dataset[::2], competition, seed=2)
    torch.randn(17)
    assert train(model, dataset, competition, seed=1) == first
    assert train(model, dataset, competition, seed=2)[0] != first[0]


def test_trained_adapter_recomputing_activations_changes_no_bit(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    alone = replace(model, kept_tokens=1)  # every row alone, and computed again
    kept = [train(replace(model, kept_tokens=most), dataset[:1], competition, seed=3) for most in (1, 10**6)]
    assert kept[0] == kept[1]
    together, apart = train(model, dataset, competition, seed=3), train(alone, dataset, competition, seed=3)
    assert together[0] == pytest.approx(apart[0], rel=1e-5)
    assert train(model, dataset, competition, seed=3) == together


def test_passes_and_datasets_leave_no_hook_and_no_wrapping_behind(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    def left() -> int:
        modules = list(model.adapters.model.modules())
        hooks = (
            len(one._forward_hooks) + len(one._forward_pre_hooks) + len(one._backward_hooks)
            for one in modules
        )
        return sum(hooks) + ("forward" in vars(model.network))

    assert left() == 0
    for step in range(3):
        add_step_gradients(replace(model, kept_tokens=10), dataset[:4], 0.1, seed=1, step=step)
        row_losses(model, dataset[:2], lambda done: None)
    train(replace(model, kept_tokens=10), dataset[:4], competition, seed=1)
    assert left() == 0
    model.adapters.clear()


def test_trained_adapter_drops_the_same_however_rows_are_grouped(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    losses = [train(replace(model, kept_tokens=most), dataset, competition, 4) for most in (10**6, 200, 50)]
    for loss, steps in losses[1:]:
        assert loss == pytest.approx(losses[0][0], rel=1e-5)
        assert steps == pytest.approx(losses[0][1], rel=1e-5)


def test_trainer_adapts_every_linear_layer_but_the_head(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition, tmp_path: Path
) -> None:
    with trained_adapter(model, dataset, competition, 1, lambda *_: None):
        adapted = {name for name, _ in model.network.named_modules() if name.endswith("lora_A")}
        trainable = [name for name, value in model.network.named_parameters() if value.requires_grad]
        moved = [
            value.abs().max() > 0 for name, value in model.network.named_parameters() if "lora_B" in name
        ]
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert len(adapted) == 2 * len(layers)
    assert all(any(f".{layer}." in name for layer in layers) and "lora_" in name for name in trainable)
    assert moved and all(moved)  # lora_B starts at zero


def test_trainer_takes_rows_in_epoch_order(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    seen: list[int] = []
    hook = model.network.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: seen.extend(args[0].flatten().tolist())
    )
    try:
        with trained_adapter(model, dataset, competition, 5, lambda *_: None):
            pass
    finally:
        hook.remove()
    lengths = [len(one.input_ids) for one in dataset]
    expected = [dataset[place].input_ids for epoch in (0, 1) for place in epoch_order(lengths, 5, epoch, 8)]
    assert seen == [token for ids in expected for token in ids]


def test_trained_adapter_equals_a_plain_reference_over_thirty_steps(
    model_dir: Path, model: LanguageModel, dataset: list[EncodedRow], evaluation_file: Path
) -> None:
    competition = rules(evaluation_file, dropout=0.0, epochs=10)
    network = plain_network(model_dir, competition, seed=6)
    expected = list(plain_training(network, dataset, competition, seed=6))
    with torch.no_grad():
        after = plain_loss(network.eval(), dataset).item()
    loss, losses = train(replace(model, kept_tokens=100), dataset, competition, seed=6)
    assert len(losses) == 30
    assert losses == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx(after, rel=1e-5)


def test_first_step_has_the_gradients_of_a_plain_reference(
    model_dir: Path, model: LanguageModel, dataset: list[EncodedRow], evaluation_file: Path
) -> None:
    competition = rules(evaluation_file, dropout=0.0)
    network = plain_network(model_dir, competition, seed=7)
    model.adapters.reset(seed=7)
    stir(network)
    stir(model.adapters.model)
    rows = dataset[3:11]
    torch.autograd.backward(expected := plain_loss(network, rows))
    loss = add_step_gradients(model, rows, 0.0, seed=7, step=0)
    ours, plain = gradients(model.adapters.model), gradients(network)
    model.adapters.clear()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert ours.keys() == plain.keys() and len(ours) == 28
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-7)


def test_calibration_takes_time_and_leaves_no_effect(model: LanguageModel, competition: Competition) -> None:
    before = checksum(model)
    assert 0 < seconds_per_token(model, competition) < 10
    assert checksum(model) == before


def test_step_without_assistant_tokens_has_no_gradient(model: LanguageModel) -> None:
    model.adapters.reset(seed=1)
    assert add_step_gradients(model, [EncodedRow((1, 2, 3), (True, False, False))], 0.0, seed=1, step=0) == 0
    assert not any(gradient.any() for gradient in gradients(model.adapters.model).values())
    model.adapters.clear()
