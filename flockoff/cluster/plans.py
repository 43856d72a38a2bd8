"""The workers that a Ray cluster has room for. Imports no ray: a separate process queries the cluster."""

import json
import subprocess
import sys
from collections.abc import Sequence

from flockoff.errors import SetupError
from flockoff.text import printable
from flockoff.training.environment import current_environment
from flockoff.training.pool import WorkerPlan

_SURVEY_SECONDS = 600.0  # a cluster that hangs, not one that is slow: three tries to connect take 100
_SHOWN = 300  # characters


def cluster_plans(address: str) -> list[WorkerPlan]:
    """A worker for each GPU of the Ray cluster at ``address``; where it has none, workers on its CPUs. Raises
    SetupError if the cluster cannot be queried or has no room.
    """
    cpus, gpus, count = room(*_survey(address))
    if count == 0:
        raise SetupError(
            f"The Ray cluster at {address} has no node to evaluate on.",
            remedy="Join one: ray start --address=HEAD:6379",
        )
    # The bridge itself computes nothing, so its device is the CPU.
    plan = WorkerPlan("cpu", cpus or None, "flockoff.cluster.bridge", (address, str(cpus), str(gpus)))
    return [plan] * count


def room(cpus: Sequence[int], gpus: Sequence[int]) -> tuple[int, int, int]:
    """The CPUs and GPUs that each worker takes, and how many workers there are.

    ``cpus``, ``gpus``: of each node. Without GPUs every worker has as many CPUs as the smallest node, so that
    all have the same number of threads.
    """
    if any(gpus):
        return 0, 1, sum(gpus)
    each = min((count for count in cpus if count > 0), default=1)
    return each, 0, sum(count // each for count in cpus)


def _survey(address: str) -> tuple[list[int], list[int]]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "flockoff.cluster.survey", address],
            env=current_environment("cpu"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SURVEY_SECONDS,
        )
    except subprocess.TimeoutExpired:
        problem = f"it did not answer within {_SURVEY_SECONDS:.0f} s"
    else:
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
            return found["cpus"], found["gpus"]
        problem = printable((done.stderr.strip().splitlines() or ["no reason was given"])[-1], _SHOWN)
    raise SetupError(
        f"The Ray cluster at {address} cannot be used: {problem.rstrip('.')}.",
        remedy="Run `ray status` on its head. How to start one is in .github/docs/cluster.md.",
    )
