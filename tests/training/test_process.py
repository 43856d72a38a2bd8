"""Tiny worker processes: their environment, their replies, and their cleanup."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flockoff.competition import Competition
from flockoff.errors import EvaluationFault
from flockoff.training import process
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.messages import WorkerFault
from flockoff.training.process import WorkerProcess

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\n"
HALF_A_LINE = "import os, sys\nsys.stdout.write('one\\ntw')\nsys.stdout.flush()\nos._exit(3)\n"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "echo_worker.py").write_text(ECHO)
    (tmp_path / "half_worker.py").write_text(HALF_A_LINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = psutil.Process().children()
    yield
    assert psutil.Process().children() == before


def started(module: str) -> WorkerProcess:
    return WorkerProcess(module, device="cpu", log_file=None)


def test_process_has_a_folder_of_its_own_that_goes_with_it(modules: None) -> None:
    with closing(started("echo_worker")) as worker:
        worker.send("hello")
        assert worker.receive(300) == "hello\n"
        environment = psutil.Process(worker.pid).environ()
        scratch = Path(environment["TMPDIR"])
        assert scratch.is_dir() and environment["HF_HOME"] == str(scratch)
        (scratch / "left").write_text("behind")
    assert not scratch.exists()
    worker.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_process_that_is_frozen_is_closed_all_the_same(
    modules: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * process._GRACE_SECONDS < 10  # what a service manager waits for at the most
    worker = started("echo_worker")
    worker.send("hello")
    assert worker.receive(300) == "hello\n"
    os.kill(worker.pid, signal.SIGSTOP)
    kill = worker._process.kill

    def kill_and_wait() -> None:
        monkeypatch.setattr(process, "_GRACE_SECONDS", 300.0)
        kill()

    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.1)
    monkeypatch.setattr(worker._process, "kill", kill_and_wait)
    worker.close()
    assert not psutil.pid_exists(worker.pid)


def test_process_that_dies_within_a_line_is_reported_and_the_half_is_not_believed(modules: None) -> None:
    with closing(started("half_worker")) as worker:
        assert worker.receive(300) == "one\n"
        with pytest.raises(WorkerFault, match="exit status 3") as caught:
            worker.receive(300)
    assert caught.value.cause == "died"


def test_evaluator_without_room_for_a_worker_is_nobodys_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    evaluator = WorkerEvaluator(
        Competition(),
        model_dir=tmp_path,
        evaluation_file=tmp_path / "e",
        device="cpu",
        log_file=tmp_path / "file" / "worker.log",
    )
    with pytest.raises(EvaluationFault, match="worker cannot be started"):
        evaluator.base_loss(on_progress=lambda _: None, should_stop=lambda: False)
