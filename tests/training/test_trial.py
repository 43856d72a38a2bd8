"""Kernels are used only where they agree with the plain path."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training import trial
from flockoff.training.fused import Drops
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.trial import FusedPaths, choose_paths
from tests.support.plain_kernels import PlainKernels
from tests.support.plain_training import gradients, stir

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

CPU = torch.device("cpu")
ROWS = [EncodedRow(tuple(range(first, first + 9)), (False,) * 4 + (True,) * 5) for first in (10, 50, 90)]


class Raising(PlainKernels):
    def inner(self, *given: Any) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor this card")


class WrongMasks(PlainKernels):
    def of_input(
        self, of_inner: torch.Tensor, down: torch.Tensor, drops: Drops, layer: int, scale: float
    ) -> torch.Tensor:
        return super().of_input(of_inner, down, drops, layer + 1, scale)


class WrongGate(PlainKernels):
    def gate(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return gate * up


@pytest.fixture
def model(model_dir: Path) -> Iterator[LanguageModel]:
    yield load_model(model_dir, Competition(), CPU)


def choose(model: LanguageModel, kernels: type | None, patch: pytest.MonkeyPatch) -> FusedPaths:
    """The trial with this class for Triton's kernels; None: without Triton. Its clock stands still."""
    module = SimpleNamespace(TritonKernels=kernels) if kernels is not None else None
    patch.setitem(sys.modules, "flockoff.training.kernels", module)
    patch.setattr(trial, "_timed", lambda work, device: 1.0)
    body: Any = model.body
    return choose_paths(model.adapters, body.layers[0].mlp, CPU, torch.float32)


def step(model: LanguageModel) -> dict[str, torch.Tensor]:
    model.adapters.reset(3)
    stir(model.adapters.model)
    add_step_gradients(model, ROWS, 0.2, seed=5, step=4)
    found = {name: value.clone() for name, value in gradients(model.adapters.model).items()}
    model.adapters.clear()
    return found


def test_trial_takes_kernels_that_agree_and_training_is_the_same(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = step(model)
    assert choose(model, PlainKernels, monkeypatch) == FusedPaths(("dropout", "gate"))
    fused = step(model)
    assert plain.keys() == fused.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(fused[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kernels", "taken", "reason"),
    [
        (None, (), "dropout and gate: ModuleNotFoundError"),
        (Raising, (), "dropout: RuntimeError: no kernel image is available"),
        (WrongMasks, (), "dropout: differs from the plain path by"),
        (WrongGate, ("dropout",), "gate: differs from the plain path by"),
    ],
)
def test_trial_takes_the_plain_path_where_kernels_fail(
    model: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    kernels: type | None,
    taken: tuple[str, ...],
    reason: str,
) -> None:
    plain = step(model)
    paths = choose(model, kernels, monkeypatch)
    assert paths.taken == taken
    (refused,) = paths.refused
    assert refused.startswith(reason) and "\n" not in refused
    if not taken:
        after = step(model)
        assert all(torch.equal(after[name], plain[name]) for name in plain)


def test_trial_takes_the_plain_path_where_kernels_are_slower(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1.0] * 5 + [2.0] * 5)  # the rounds of the plain path, then of dropout's
    # Patched, because real times would make the outcome depend on the machine.
    monkeypatch.setattr(trial, "_timed", lambda work, device: next(seconds))
    monkeypatch.setitem(
        sys.modules,
        "flockoff.training.kernels",
        SimpleNamespace(TritonKernels=PlainKernels),
    )
    body: Any = model.body
    paths = choose_paths(model.adapters, body.layers[0].mlp, CPU, torch.float32)
    assert paths == FusedPaths((), ("dropout: takes 2.0 times as long as the plain path",))
