"""The evaluator with real workers: the first is started, those that replace it are forked."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import fsum
from pathlib import Path

import psutil
import pytest

from flockoff.errors import EvaluationStopped, MinerFault, Reason, SetupError
from flockoff.ports import Evaluator
from flockoff.records import Measurement, Progress
from flockoff.training.evaluator import WorkerEvaluator
from tests.support.tiny_model import row, rules, write_dataset
from tests.support.warm_workers import started_workers, workers_of

pytestmark = pytest.mark.slow

GOOD = [row(f"Say {n}.", "yes " * n) for n in range(1, 20)]
OTHER = [row(f"And {n}?", "no " * n) for n in range(1, 10)]


@dataclass(frozen=True)
class Dataset:
    path: Path
    content_hash: str


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("good") / "data.jsonl"
    return Dataset(path, write_dataset(path, GOOD))


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "worker.log"


@pytest.fixture(scope="module")
def evaluator(model_dir: Path, evaluation_file: Path, log_file: Path) -> Iterator[WorkerEvaluator]:
    secret = pytest.MonkeyPatch()
    secret.setenv("HF_TOKEN", "hf_secret")
    secret.setenv("BT_WALLET_NAME", "secret")
    one = WorkerEvaluator(
        rules(evaluation_file),
        model_dir=model_dir,
        evaluation_file=evaluation_file,
        device="cpu",
        log_file=log_file,
    )
    yield one
    one.close()
    secret.undo()


def ignore(progress: Progress) -> None:
    pass


def never() -> bool:
    return False


def evaluate(
    evaluator: Evaluator,
    dataset: Dataset,
    seed: int,
    on_progress: Callable[[Progress], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> Measurement:
    return evaluator.evaluate(
        dataset.path,
        dataset.content_hash,
        seed,
        tokens=1000,
        on_progress=on_progress,
        should_stop=should_stop,
    )


@pytest.fixture(scope="module")
def first(evaluator: WorkerEvaluator, good: Dataset) -> Measurement:
    """The good dataset's measurement by the first worker, which is really started, before anything else."""
    with started_workers():
        return evaluate(evaluator, good, 7)


def test_evaluator_measures_with_progress_and_provenance(
    evaluator: WorkerEvaluator, good: Dataset, first: Measurement, evaluation_file: Path
) -> None:
    seen: list[Progress] = []
    measured = evaluate(evaluator, good, 8, seen.append)
    assert measured.loss != first.loss
    assert (measured.train_rows, measured.steps) == (19, 6)
    assert measured.eval_tokens > 0 and measured.train_tokens > 19 and measured.seconds > 0
    assert len(measured.row_nll) == 7
    assert measured.loss == fsum(measured.row_nll) / measured.eval_tokens
    provenance = measured.provenance
    assert provenance.seed == 8 and provenance.device.kind.startswith("cpu ")
    assert provenance.evaluation_set == rules(evaluation_file).evaluation.sha256
    assert provenance.base_model.startswith("Qwen/Qwen2.5-1.5B-Instruct@")
    assert set(provenance.libraries) == {"torch", "transformers", "peft", "trl", "tokenizers", "python"}
    training = [(one.done, one.total) for one in seen if one.phase == "training"]
    assert training == [(done, 6) for done in range(1, 7)]
    assert all(one.loss is not None and one.loss > 0 for one in seen if one.phase == "training")
    assert [(one.done, one.total) for one in seen if one.phase == "evaluating"][-1] == (7, 7)


def test_evaluator_base_loss_is_measured_once_and_kept(
    evaluator: WorkerEvaluator, first: Measurement
) -> None:
    seen: list[Progress] = []
    base = evaluator.base_loss(on_progress=seen.append, should_stop=never)
    assert seen and base.steps == base.train_rows == 0 and base.loss != first.loss
    count = len(seen)
    assert evaluator.base_loss(on_progress=seen.append, should_stop=never) == base
    assert len(seen) == count


def test_evaluator_same_content_and_seed_give_the_same_bits_in_any_order(
    evaluator: WorkerEvaluator, good: Dataset, first: Measurement, tmp_path: Path
) -> None:
    other = Dataset(tmp_path / "other.jsonl", write_dataset(tmp_path / "other.jsonl", OTHER))
    evaluate(evaluator, other, 7)
    reordered = tmp_path / "reordered.jsonl"
    write_dataset(reordered, GOOD[::-1])
    assert evaluate(evaluator, Dataset(reordered, good.content_hash), 7).loss == first.loss


def test_evaluator_miner_fault_leaves_the_worker_in_use(
    evaluator: WorkerEvaluator, first: Measurement, good: Dataset, tmp_path: Path
) -> None:
    (worker,) = workers_of()
    long = tmp_path / "long.jsonl"
    with pytest.raises(MinerFault) as caught:
        evaluate(evaluator, Dataset(long, write_dataset(long, [row("a" * 500, "b")])), 7)
    assert caught.value.reason is Reason.NOTHING_TO_LEARN
    assert workers_of() == [worker]


def test_evaluator_worker_inherits_no_secret(evaluator: WorkerEvaluator, first: Measurement) -> None:
    (worker,) = workers_of()
    environment = worker.environ()
    assert "secret" not in "".join(environment.values())
    assert environment["HF_HUB_OFFLINE"] == "1"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_evaluator_dead_worker_is_replaced_and_the_next_gives_the_same_bits(
    evaluator: WorkerEvaluator,
    good: Dataset,
    first: Measurement,
    log_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (worker,) = workers_of()
    worker.send_signal(signal.SIGINT)  # as Ctrl-C does to the whole group: not the worker's business
    assert evaluate(evaluator, good, 7).loss == first.loss
    with log_file.open("a", encoding="utf-8") as log:
        log.write("the last words\n")
    asked: list[bool] = []

    def kill() -> bool:
        """Asked before the worker gets the request, and again when it has had it for a while."""
        if len(asked) == 1:
            worker.kill()
        asked.append(True)
        return False

    worker.suspend()  # or it might have answered by then
    assert evaluate(evaluator, good, 7, should_stop=kill).loss == first.loss
    (other,) = workers_of()
    assert other != worker
    assert "signal 9); last log line: the last words." in caplog.text


def test_evaluator_stopped_leaves_no_process_or_thread(
    evaluator: WorkerEvaluator, good: Dataset, first: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.training.pool.POLL_SECONDS", 0.0)  # asked after every line of the worker's
    seen: list[Progress] = []
    with pytest.raises(EvaluationStopped):
        evaluate(evaluator, good, 9, seen.append, should_stop=lambda: bool(seen))
    assert not workers_of()
    assert not [one for one in threading.enumerate() if one.name == "evaluation-worker-reader"]
    evaluator.close()


def test_evaluator_setup_error_of_the_worker_is_raised(model_dir: Path, evaluation_file: Path) -> None:
    one = WorkerEvaluator(
        rules(evaluation_file), model_dir=model_dir, evaluation_file=model_dir / "config.json", device="cpu"
    )
    with pytest.raises(SetupError, match="is not the competition's evaluation set"):
        one.base_loss(on_progress=ignore, should_stop=never)
    assert not workers_of()


PARENT = """
import sys
from pathlib import Path
from flockoff.competition import Competition
from flockoff.training.evaluator import WorkerEvaluator

def show(progress):
    print(evaluator._pool._all[0]._worker.pid, flush=True)

evaluator = WorkerEvaluator(Competition(), model_dir=Path("m"), evaluation_file=Path("e"), device="cpu")
evaluator.base_loss(on_progress=show, should_stop=lambda: False)
"""


def test_evaluator_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    command, env = [sys.executable, "-c", PARENT], os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(timeout=300)
    assert not worker.is_running()


def test_evaluator_import_leaves_torch_alone() -> None:
    program = (
        "import sys; import flockoff.training.evaluator, flockoff.training.prepare;"
        "print({'torch', 'transformers', 'peft', 'trl', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "set()", done.stderr
