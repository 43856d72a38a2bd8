"""A Ray cluster of two nodes on this machine, one of which is slow at first, then lost in mid-epoch."""

import secrets
import shutil
import subprocess
import sys
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
from flockoff.records import Influence, Measurement, Progress
from flockoff.training.environment import current_environment
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.limits import WorkerLimits
from flockoff.training.messages import (
    Alive,
    Assignment,
    Ready,
    Reply,
    WorkerFault,
    decode_reply,
    encode_assignment,
)
from flockoff.training.pool import WorkerPlan
from tests.support import ray_process
from tests.support.free_port import free_port
from tests.support.tiny_model import row, rules, write_dataset, write_tiny_model

SEED = 7
BRIDGE = "flockoff.cluster.bridge"
LONG = 600  # seconds: pytest's limit for a test


@dataclass
class Site:
    """Two nodes of one CPU each. ``second`` starts no process before the file ``gate`` exists, and is the one
    that can be lost.
    """

    address: str
    cluster: Any
    second: Any
    gate: Path
    model_dir: Path
    evaluation_file: Path
    datasets: Sequence[tuple[Path, str]]

    @property
    def plan(self) -> WorkerPlan:
        return WorkerPlan("cpu", 1, BRIDGE, (self.address, "1", "0"))

    def evaluator(self, workers: Sequence[WorkerPlan]) -> WorkerEvaluator:
        return WorkerEvaluator(
            rules(self.evaluation_file),
            model_dir=self.model_dir,
            evaluation_file=self.evaluation_file,
            workers=workers,
            limits=WorkerLimits(frozen=LONG),  # hosts are stopped for as long as a test needs
        )

    def reservations(self) -> list[str]:
        """The state of each reservation ever made."""
        return [group["state"] for group in self.cluster.global_state.placement_group_table().values()]


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
    # Two heads on one machine may give servers for clients the same port: none is let in at the other's.
    token.write_text(secrets.token_hex(32), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))  # where nodes keep files
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")  # as .github/docs/cluster.md has it
        # As for a head that is not started below `uv run`, which these tests are.
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        # A busy head may take its time, and a killed bridge need not be waited for.
        patch.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", str(LONG))
        patch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster  # reads how to be let in when it is imported

        port = free_port()
        gate = folder / "gate"
        common = {"num_cpus": 1, "worker_path": ray_process.__file__, "include_log_monitor": False}
        head = {"include_dashboard": False, "no_monitor": True, "ray_client_server_port": port}
        cluster: Any = Cluster(initialize_head=True, head_node_args=common | head)
        try:
            second = cluster.add_node(**common, env_vars={ray_process.GATE: str(gate)})
            yield Site(
                f"ray://127.0.0.1:{port}",
                cluster,
                second,
                gate,
                write_tiny_model(folder / "model"),
                evaluation_file,
                datasets,
            )
        finally:
            cluster.shutdown()


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


def influence(evaluator: WorkerEvaluator, dataset: tuple[Path, str]) -> Influence:
    return evaluator.influence(
        *dataset, SEED, tokens=1000, on_progress=lambda _: None, should_stop=lambda: False
    )


def wait_for(happened: Callable[[], bool]) -> None:
    """However long it takes: pytest has a limit for the whole test."""
    while not happened():
        time.sleep(0.05)


def host_on(node: Any) -> psutil.Process:
    """The actor's process on this node."""
    [raylet] = node.all_processes["raylet"]
    hosts = []
    for child in psutil.Process(raylet.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if " ".join(child.cmdline()).startswith("ray::Host"):
                hosts.append(child)
    [host] = hosts
    return host


def bridges() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if BRIDGE in child.cmdline()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_plans_made_below_uv_run_are_a_worker_a_node_and_send_no_folder(site: Site) -> None:
    made = "import sys; from flockoff.cluster.plans import cluster_plans; print(cluster_plans(sys.argv[1]))"
    done = subprocess.run(
        ["uv", "run", "--no-sync", "python", "-c", made, site.address],
        env=current_environment("cpu"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == str([site.plan, site.plan])
    log = Path(site.cluster.head_node.get_logs_dir_path(), "ray_client_server.err").read_text("utf-8")
    assert "New data connection" in log and "working_dir" not in log


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_cluster_node_lost_in_mid_epoch_loses_no_score_and_moves_no_bit(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(site.evaluator([WorkerPlan("cpu", 1)])) as one:
        alone = measure_all(one, site.datasets)
        alone_influence = influence(one, site.datasets[0])
    both_train = threading.Barrier(2)
    met: set[int] = set()

    def meet(progress: Progress) -> None:
        """The second dataset waits while the other node's worker is still starting."""
        if progress.phase == "training" and threading.get_ident() not in met:
            met.add(threading.get_ident())
            both_train.wait()

    with ThreadPoolExecutor(1) as thread, closing(site.evaluator([site.plan, site.plan])) as two:
        # The second node has its device reserved while it starts no process.
        begun = thread.submit(measure_all, two, site.datasets[:2], meet)
        wait_for(lambda: (bool(met) and site.reservations().count("CREATED") == 2) or begun.done())
        site.gate.touch()
        together = begun.result()
        assert influence(two, site.datasets[0]) == alone_influence
        assert "Ray cluster" not in caplog.text, "nothing was taken for absent or lost"

        environments = ["".join(bridge.environ().values()) for bridge in bridges()]
        kept, lost = host_on(site.cluster.head_node), host_on(site.second)
        # Both are stopped before they are asked again, so that each is given a dataset and neither answers
        # before the loss was noticed, however fast or slow this machine is.
        kept.suspend()
        lost.suspend()
        rest = thread.submit(measure_all, two, site.datasets[2:])
        site.cluster.remove_node(site.second, allow_graceful=False)
        lost.kill()
        wait_for(lambda: "was lost" in caplog.text or rest.done())
        kept.resume()
        together += rest.result()

        # The device that is left is in use until the bridge that holds it is killed.
        with bridge_of_ours(site, patience=0.0) as refused:
            assert isinstance(fault := answer_of(refused), WorkerFault) and fault.cause == "absent"
        with bridge_of_ours(site, patience=LONG) as waiting:
            wait_for(lambda: "PENDING" in site.reservations())
            [bridge] = bridges()
            bridge.kill()
            assert isinstance(answer_of(waiting), Ready)
            wait_for(lambda: not kept.is_running())
            last = host_on(site.cluster.head_node)
            assert waiting.stdin is not None
            waiting.stdin.close()  # as when its parent is gone, while it has nothing to do
            waiting.wait()
        wait_for(lambda: set(site.reservations()) == {"REMOVED"} and not last.is_running())

    assert together == alone
    assert "was lost" in caplog.text
    assert len(environments) == 2 and not any("secret" in environment for environment in environments)


def bridge_of_ours(site: Site, *, patience: float) -> subprocess.Popen[str]:
    """A bridge with an assignment, which waits for a device for ``patience`` seconds."""
    program = f"from flockoff.cluster import bridge; bridge._FREE_SECONDS = {patience}; bridge.main()"
    assignment = Assignment(rules(site.evaluation_file), str(site.model_dir), str(site.evaluation_file))
    bridge = subprocess.Popen(
        [sys.executable, "-c", program, *site.plan.arguments],
        env=current_environment("cpu"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bridge.stdin is not None
    bridge.stdin.write(encode_assignment(assignment) + "\n")
    bridge.stdin.flush()
    return bridge


def answer_of(bridge: subprocess.Popen[str]) -> Reply:
    """What it says first that is neither a sign of life nor progress."""
    assert bridge.stdout is not None
    replies = map(decode_reply, bridge.stdout)
    return next(reply for reply in replies if not isinstance(reply, Alive | Progress))


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
