"""The compared pipelines compute the same, without which their speeds are not comparable."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flockoff.flags import PROJECT_ROOT
from flockoff.training.messages import Assignment
from tests.support.tiny_model import row, rules, write_dataset, write_tiny_model

pytestmark = pytest.mark.slow

WORDS = "one two three four five six seven eight nine ten"


@dataclass(frozen=True, slots=True)
class Setting:
    assignment: Assignment
    dataset: Path


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    directory = tmp_path_factory.mktemp("pipelines")
    evaluation, dataset = directory / "evaluation.jsonl", directory / "data.jsonl"
    write_dataset(evaluation, [row(f"What is {n}?", "It is " + "so " * n) for n in range(1, 5)])
    write_dataset(dataset, [row(f"Say {n}.", WORDS[: 4 * n]) for n in range(1, 13)])
    model = write_tiny_model(directory / "model")
    competition = rules(evaluation, dropout=0.0, warmup_steps=0)
    return Setting(Assignment(competition, str(model), str(evaluation), device="cpu"), dataset)


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[Assignment], Any]]:
    monkeypatch.syspath_prepend(str(PROJECT_ROOT))
    found: dict[str, Callable[[Assignment], Any]] = importlib.import_module(
        "tests.bench.training.pipelines"
    ).PIPELINES
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT by an old name of transformers
def test_pipelines_without_dropout_come_to_the_same_loss(
    pipelines: dict[str, Callable[[Assignment], Any]], setting: Setting
) -> None:
    learners = [pipelines[name](setting.assignment) for name in ("naive", "trl", "ours")]
    naive, trl, ours = (learner(setting.dataset, 5)["loss"] for learner in learners)
    again = learners[2](setting.dataset, 5)["loss"]
    other = learners[2](setting.dataset, 6)["loss"]
    assert trl == pytest.approx(naive, rel=1e-6)
    assert ours == pytest.approx(naive, rel=1e-5)
    assert again == ours
    assert abs(other - ours) > 1e-4 * ours
