"""A Ray cluster of two nodes on this machine, one of which is lost in mid-epoch."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from flockoff.cluster.plans import cluster_plans, room
from flockoff.errors import SetupError
from flockoff.records import Measurement, Progress
from flockoff.training.environment import current_environment
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.limits import WorkerLimits
from flockoff.training.pool import WorkerPlan
from tests.support.free_port import free_port
from tests.support.tiny_model import row, rules, write_dataset, write_tiny_model

SEED = 7
SECONDS_FOR_BOTH = 300  # to start a worker each


@dataclass
class Site:
    """Two nodes of one CPU each; ``second`` is the one that can be lost."""

    address: str
    cluster: Any
    second: Any
    model_dir: Path
    evaluation_file: Path
    datasets: Sequence[tuple[Path, str]]

    def evaluator(self, workers: Sequence[WorkerPlan]) -> WorkerEvaluator:
        return WorkerEvaluator(
            rules(self.evaluation_file),
            model_dir=self.model_dir,
            evaluation_file=self.evaluation_file,
            workers=workers,
            limits=WorkerLimits(frozen=SECONDS_FOR_BOTH),  # workers are stopped for as long as a test needs
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    evaluation_file = folder / "evaluation.jsonl"
    write_dataset(evaluation_file, [row(f"What is {n}?", "It is " + "so " * n) for n in range(1, 8)])
    files = [folder / f"{number}.jsonl" for number in range(4)]
    datasets = [
        (file, write_dataset(file, [row(f"Say {number} {n}.", "yes " * n) for n in range(1, 20)]))
        for number, file in enumerate(files)
    ]
    token = folder / "token"
    token.write_text("0" * 64, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # where nodes keep files
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")  # as .github/docs/cluster.md has it
        # As for a head that is not started below `uv run`, which these tests are.
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        from ray.cluster_utils import Cluster  # reads how to be let in when it is imported

        port = free_port()
        head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            second = cluster.add_node(num_cpus=1)
            yield Site(
                f"ray://127.0.0.1:{port}",
                cluster,
                second,
                write_tiny_model(folder / "model"),
                evaluation_file,
                datasets,
            )
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]


def measure_all(
    evaluator: WorkerEvaluator,
    datasets: Sequence[tuple[Path, str]],
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> list[Measurement]:
    def measure(dataset: tuple[Path, str]) -> Measurement:
        file, content_hash = dataset
        measured = evaluator.evaluate(
            file, content_hash, SEED, tokens=1000, on_progress=on_progress, should_stop=lambda: False
        )
        return replace(measured, seconds=0.0)

    with ThreadPoolExecutor(evaluator.slots) as threads:
        return list(threads.map(measure, datasets))


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The evaluation workers that descend from ``process``."""
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "flockoff.training.worker" in child.cmdline():
                found.append(child)
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_survey_below_uv_run_sends_the_cluster_no_folder(site: Site) -> None:
    environment = current_environment("cpu")
    survey = ["uv", "run", "--no-sync", "python", "-m", "flockoff.cluster.survey", site.address]
    done = subprocess.run(
        survey, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == {"cpus": [1, 1], "gpus": [0, 0]}
    log = Path(site.cluster.head_node.get_logs_dir_path(), "ray_client_server.err").read_text("utf-8")
    assert "New data connection" in log and "working_dir" not in log


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_cluster_node_lost_in_mid_epoch_loses_no_score_and_moves_no_bit(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(site.evaluator([WorkerPlan("cpu", 1)])) as one:
        alone = measure_all(one, site.datasets)
    plans = cluster_plans(site.address)
    assert [plan.threads for plan in plans] == [1, 1]
    both_train = threading.Barrier(2, timeout=SECONDS_FOR_BOTH)
    met: set[int] = set()

    def meet(progress: Progress) -> None:
        """The second dataset waits while the other node's worker is still starting."""
        if progress.phase == "training" and threading.get_ident() not in met:
            met.add(threading.get_ident())
            both_train.wait()

    with closing(site.evaluator(plans)) as two:
        together = measure_all(two, site.datasets[:2], meet)
        workers = workers_of(psutil.Process())
        environments = ["".join(worker.environ().values()) for worker in workers]
        [raylet] = site.second.all_processes["raylet"]
        [lost] = workers_of(psutil.Process(raylet.process.pid))
        # Both are stopped before they are asked again, so that each is given a dataset and neither answers
        # before the loss was noticed, however fast or slow this machine is.
        for worker in workers:
            worker.suspend()
        with ThreadPoolExecutor(1) as thread:
            rest = thread.submit(measure_all, two, site.datasets[2:])
            site.cluster.remove_node(site.second, allow_graceful=False)
            lost.kill()
            while "was lost" not in caplog.text and not rest.done():
                time.sleep(0.05)
            for worker in workers:
                if worker != lost:
                    worker.resume()
            together += rest.result()

    assert together == alone
    assert "was lost" in caplog.text
    assert len(environments) == 2 and not any("secret" in environment for environment in environments)


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        ([8, 64, 64], [0, 4, 2], (0, 1, 6)),
        ([4, 4], [0, 0], (4, 0, 2)),
        ([0, 2, 5], [0, 0, 0], (2, 0, 3)),
        ([0], [0], (1, 0, 0)),
    ],
)
def test_room_is_a_worker_a_gpu_or_the_smallest_nodes_cpus(
    cpus: list[int], gpus: list[int], expected: tuple[int, int, int]
) -> None:
    assert room(cpus, gpus) == expected


@pytest.mark.slow
def test_cluster_that_nobody_answers_for_is_a_setup_error() -> None:
    with pytest.raises(SetupError, match="no answer"):
        cluster_plans("ray://127.0.0.1:1")
