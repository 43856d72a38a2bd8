"""Workers that die, hang, take too much memory or too long, and how the evaluator handles them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from flockoff.errors import EvaluationFault, EvaluationTooSlow
from flockoff.metrics import Metrics
from flockoff.records import Measurement, Progress
from flockoff.training.device import device_fault
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.limits import Watch, WorkerLimits
from flockoff.training.pool import WorkerPlan
from tests.support.tiny_model import row, rules, write_dataset
from tests.support.warm_workers import HELD, workers_of

pytestmark = pytest.mark.slow

ROWS = [row(f"Say {n}.", "yes " * n) for n in range(1, 20)]
CPU = torch.device("cpu")
METRICS = Metrics()

OnProgress = Callable[[Progress], None]


def limited(limits: WorkerLimits, model_dir: Path, evaluation_file: Path, hold: Path) -> WorkerEvaluator:
    """Its workers freeze in training while the file ``hold`` is there."""
    return WorkerEvaluator(
        rules(evaluation_file),
        model_dir=model_dir,
        evaluation_file=evaluation_file,
        workers=[WorkerPlan("cpu", module=HELD, arguments=(str(hold),))],
        limits=limits,
        metrics=METRICS,
    )


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def evaluator(model_dir: Path, evaluation_file: Path, hold: Path) -> Iterator[WorkerEvaluator]:
    with closing(limited(WorkerLimits(), model_dir, evaluation_file, hold)) as one:
        yield one
    assert not workers_of()


@pytest.fixture(scope="module")
def undisturbed(evaluator: WorkerEvaluator, tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    return measure(evaluator, tmp_path_factory.mktemp("undisturbed"))


def measure(
    evaluator: WorkerEvaluator, directory: Path, on_progress: OnProgress = lambda _: None
) -> Measurement:
    file = directory / "data.jsonl"
    return evaluator.evaluate(
        file, write_dataset(file, ROWS), 7, tokens=1000, on_progress=on_progress, should_stop=lambda: False
    )


def replaced(cause: str) -> float:
    shown = METRICS.registry.get_sample_value("flockoff_worker_restarts_total", {"cause": cause})
    return shown or 0.0


class When:
    """Does something when a worker reports a phase, for the first so many times."""

    def __init__(self, phase: str, act: Callable[[], None], times: int = 1) -> None:
        self._phase = phase
        self._act = act
        self._left = times

    def __call__(self, progress: Progress) -> None:
        if self._left and progress.phase == self._phase:
            self._left -= 1
            self._act()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_supervision_frozen_worker_is_replaced_and_nothing_is_lost(
    evaluator: WorkerEvaluator,
    undisturbed: Measurement,
    hold: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = replaced("hung")
    (frozen,) = workers_of()
    listened = Watch.listened

    def is_frozen() -> bool:
        return bool(frozen.is_running() and frozen.status() == psutil.STATUS_STOPPED)

    def listened_long(watch: Watch, seconds: float) -> None:
        """A second with the frozen worker counts for a minute; no other worker is hurried."""
        listened(watch, 60 * seconds if is_frozen() else seconds)

    def let_the_next_one_go_on() -> None:
        while not is_frozen():
            time.sleep(0.01)
        hold.unlink()

    monkeypatch.setattr(Watch, "listened", listened_long)
    hold.touch()
    disturbed = measure(evaluator, tmp_path, When("training", let_the_next_one_go_on))

    assert replace(disturbed, seconds=0) == replace(undisturbed, seconds=0)
    assert replaced("hung") == before + 1
    assert not frozen.is_running()


@pytest.mark.parametrize(("faults", "pass_tokens"), [(1, 1024), (2, 0)])
def test_supervision_out_of_memory_is_tried_again_in_less_memory(
    evaluator: WorkerEvaluator, undisturbed: Measurement, tmp_path: Path, faults: int, pass_tokens: int
) -> None:
    evaluator.close()  # a worker says how much it has when it starts, and this measurement is a short one
    (device,), before = evaluator._pool._all, replaced("memory")
    device._memory_limit = 1

    def enough_again(progress: Progress) -> None:
        if replaced("memory") == before + faults:
            device._memory_limit = None

    saving = measure(evaluator, tmp_path, enough_again)

    assert saving.provenance.precision.pass_tokens == pass_tokens
    assert undisturbed.provenance.precision.pass_tokens == 2048
    assert (saving.steps, saving.train_rows) == (undisturbed.steps, undisturbed.train_rows)
    assert saving.loss == pytest.approx(undisturbed.loss, rel=1e-5)  # the same numbers are dropped
    assert not workers_of()  # the next dataset gets an ordinary one


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_supervision_dataset_on_which_three_workers_die_is_a_fault(
    evaluator: WorkerEvaluator, tmp_path: Path
) -> None:
    evaluator.close()
    before = replaced("killed")

    with pytest.raises(EvaluationFault, match="3 workers failed on it"):
        measure(evaluator, tmp_path, When("loading", lambda: workers_of()[0].kill(), times=4))

    assert replaced("killed") == before + 3
    assert not workers_of()


def test_supervision_too_slow_is_told_apart_and_not_tried_again(
    model_dir: Path, evaluation_file: Path, hold: Path, tmp_path: Path
) -> None:
    evaluator = limited(WorkerLimits(dataset=1e-9), model_dir, evaluation_file, hold)
    seen: list[Progress] = []

    with pytest.raises(EvaluationTooSlow, match=r"stopped after \d+ s.*max_seconds_per_miner"):
        measure(evaluator, tmp_path, seen.append)

    assert not workers_of()
    assert [one.phase for one in seen].count("loading") == 1
    assert not [one for one in threading.enumerate() if one.name == "evaluation-worker-reader"]


def test_device_fault_torchs_own_failed_allocation_is_about_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    fault = device_fault(caught.value, CPU)
    assert fault is not None and fault.cause == "memory"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "memory"),
        (MemoryError(), "memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "memory",
        ),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), None),
    ],
)
def test_device_fault_is_told_from_a_bug(error: RuntimeError | MemoryError, cause: str | None) -> None:
    fault = device_fault(error, CPU)
    assert (fault.cause if fault else None) == cause
