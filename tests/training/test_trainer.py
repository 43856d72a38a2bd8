from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_model import row, rules
from torch.nn import functional

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.data import epoch_order
from flockoff.training.device import compute_exactly
from flockoff.training.loss import evaluation_loss
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.trainer import AdapterTrainer, trained_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")


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
    digest = sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
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
        loss, _ = evaluation_loss(model, rows, lambda done: None)
    assert steps_seen == [(done, steps) for done in range(1, steps + 1)]
    return loss, losses


def test_trained_adapter_learns_and_leaves_the_base_model_as_it_was(
    model: LanguageModel, dataset: list[EncodedRow], competition: Competition
) -> None:
    before = checksum(model)
    modules = [type(module) for module in model.network.modules()]
    base, _ = evaluation_loss(model, dataset, lambda done: None)
    many = replace(competition, training=replace(competition.training, epochs=20))
    trained, losses = train(model, dataset, many, seed=1)
    assert len(losses) == 60  # three steps an epoch: 8, 8 and 3 rows
    assert trained < base - 0.5 and losses[-1] < losses[0] - 0.5
    assert checksum(model) == before
    assert [type(module) for module in model.network.modules()] == modules
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert evaluation_loss(model, dataset, lambda done: None)[0] == base


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
    kept = train(model, dataset, competition, seed=3)
    assert train(replace(model, recompute=True), dataset, competition, seed=3) == kept
    assert train(model, dataset, competition, seed=3) == kept


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
    seen: list[tuple[int, ...]] = []
    hook = model.network.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: seen.extend(tuple(ids.tolist()) for ids in args[0])
    )
    try:
        with trained_adapter(model, dataset, competition, 5, lambda *_: None):
            pass
    finally:
        hook.remove()
    lengths = [len(one.input_ids) for one in dataset]
    expected = [dataset[place].input_ids for epoch in (0, 1) for place in epoch_order(lengths, 5, epoch, 8)]
    assert [ids[: len(want)] for ids, want in zip(seen, expected, strict=True)] == expected


def test_trainer_step_gradient_is_the_mean_over_the_assistant_tokens_of_its_rows(
    model: LanguageModel, dataset: list[EncodedRow], evaluation_file: Path, tmp_path: Path
) -> None:
    """Four micro-batches of two rows against all eight rows at once in plain torch."""
    competition = rules(evaluation_file, dropout=0.0, epochs=1, max_grad_norm=1e9)
    eight = dataset[3:11]
    trainer = AdapterTrainer(model, eight, competition, 1, lambda *_: None, str(tmp_path))
    network = trainer.model
    assert isinstance(network, PeftModel)
    captured: dict[str, torch.Tensor] = {}

    def capture(optimizer: object, args: object, kwargs: object) -> None:
        captured.update({n: p.grad.clone() for n, p in named_adapters(network) if p.grad is not None})

    for name, parameter in named_adapters(network):
        if "lora_B" in name:  # zero at first, which would leave lora_A without any gradient
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    expected = plain_gradient(network, eight)
    trainer.create_optimizer()
    handle = trainer.optimizer.register_step_pre_hook(capture)  # type: ignore[union-attr]
    trainer.train()
    handle.remove()
    network.unload()
    del model.network.forward
    assert captured.keys() == expected.keys() and len(captured) == 28
    for name, gradient in expected.items():
        torch.testing.assert_close(captured[name], gradient, rtol=1e-4, atol=1e-6)


def named_adapters(network: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, value) for name, value in network.named_parameters() if value.requires_grad]


def plain_gradient(network: PeftModel, rows: list[EncodedRow]) -> dict[str, torch.Tensor]:
    total, tokens = torch.zeros(()), 0
    for one in rows:
        logits = network(input_ids=torch.tensor([one.input_ids])).logits[0]
        counts = torch.tensor(one.assistant)[1:]
        targets = torch.tensor(one.input_ids)[1:]
        total = total + functional.cross_entropy(logits[:-1][counts], targets[counts], reduction="sum")
        tokens += int(counts.sum())
    torch.autograd.backward(total / tokens)
    gradients = {
        name: value.grad.clone() for name, value in named_adapters(network) if value.grad is not None
    }
    network.zero_grad()
    return gradients
