"""Two single-threaded CPU workers with real training: bit-identical to one, even if one is lost."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.records import Measurement, Progress
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.pool import WorkerPlan
from tests.support.tiny_model import row, rules, write_dataset
from tests.support.warm_workers import started_workers, workers_of

pytestmark = pytest.mark.slow

SEED = 7
ONE_THREAD = WorkerPlan("cpu", 1)
Datasets = Sequence[tuple[Path, str]]  # each with its content hash
OnProgress = Callable[[Progress], None]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    folder = tmp_path_factory.mktemp("datasets")
    files = [folder / f"{number}.jsonl" for number in range(4)]
    return [
        (file, write_dataset(file, [row(f"Say {number} {n}.", "yes " * n) for n in range(1, 20)]))
        for number, file in enumerate(files)
    ]


def evaluator(model_dir: Path, evaluation_file: Path, workers: int) -> WorkerEvaluator:
    return WorkerEvaluator(
        rules(evaluation_file),
        model_dir=model_dir,
        evaluation_file=evaluation_file,
        workers=[ONE_THREAD] * workers,
    )


@pytest.fixture(scope="module")
def pair(model_dir: Path, evaluation_file: Path) -> Iterator[WorkerEvaluator]:
    with closing(evaluator(model_dir, evaluation_file, 2)) as two:
        yield two
    assert not workers_of()


@pytest.fixture(scope="module")
def alone(model_dir: Path, evaluation_file: Path, datasets: Datasets) -> list[Measurement]:
    """One worker's measurements of the datasets, one after the other."""
    with closing(evaluator(model_dir, evaluation_file, 1)) as one:
        return [measure(one, dataset) for dataset in datasets]


def measure(
    evaluator: WorkerEvaluator, dataset: tuple[Path, str], on_progress: OnProgress = lambda _: None
) -> Measurement:
    file, content_hash = dataset
    return evaluator.evaluate(
        file, content_hash, SEED, tokens=1000, on_progress=on_progress, should_stop=lambda: False
    )


def measure_all(
    evaluator: WorkerEvaluator, datasets: Datasets, on_progress: OnProgress = lambda _: None
) -> list[Measurement]:
    with ThreadPoolExecutor(evaluator.slots) as threads:
        measured = [threads.submit(measure, evaluator, dataset, on_progress) for dataset in datasets]
        return [one.result() for one in measured]


def without_seconds(measured: Sequence[Measurement]) -> list[Measurement]:
    return [replace(one, seconds=0.0) for one in measured]


def test_workers_two_at_once_measure_the_bits_that_one_measures(
    pair: WorkerEvaluator, alone: list[Measurement], datasets: Datasets
) -> None:
    measured = measure_all(pair, datasets)
    assert len(workers_of()) == 2
    assert without_seconds(measured) == without_seconds(alone)
    assert len({one.loss for one in measured}) == len(datasets)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_workers_one_killed_in_mid_epoch_loses_nothing(
    pair: WorkerEvaluator, alone: list[Measurement], datasets: Datasets, caplog: pytest.LogCaptureFixture
) -> None:
    measure_all(pair, datasets[:2])
    victims = workers_of()[:1]

    def kill(progress: Progress) -> None:
        if progress.phase == "training" and victims:
            victims.pop().kill()

    assert without_seconds(measure_all(pair, datasets, kill)) == without_seconds(alone)
    assert "signal 9" in caplog.text


def test_workers_other_kind_of_device_stands_idle(
    pair: WorkerEvaluator,
    alone: list[Measurement],
    datasets: Datasets,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair.close()
    measure(pair, datasets[0])  # the first kind under this seed
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # for the worker that is started now
    differs = "DEFAULT" not in alone[0].provenance.device.kind

    def until_the_other_stands_idle(progress: Progress) -> None:
        while differs and progress.phase == "training" and "its device is of another kind" not in caplog.text:
            time.sleep(0.01)

    with started_workers():  # the CPU's abilities are looked at when torch is imported
        measured = measure_all(pair, datasets[:3], until_the_other_stands_idle)
    assert {one.provenance.device for one in measured} == {alone[0].provenance.device}
