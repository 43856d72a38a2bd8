"""How the pool hands out devices; no worker is started here."""

import threading
import time
from pathlib import Path

import pytest

from flockoff.competition import Competition
from flockoff.errors import EvaluationStopped, UsageError
from flockoff.metrics import Metrics
from flockoff.training.messages import Assignment
from flockoff.training.plans import local_plans, usable_cores, visible_gpus
from flockoff.training.pool import PooledDevice, WorkerPlan, WorkerPool

ASSIGNMENT = Assignment(Competition(), "model", "evaluation.jsonl")


def pool(count: int) -> WorkerPool:
    plan = WorkerPlan("cpu", 1)
    return WorkerPool(
        [
            PooledDevice(number, plan, ASSIGNMENT, log_file=None, memory_limit=None, metrics=Metrics())
            for number in range(count)
        ]
    )


def take(pool: WorkerPool, ticket: int) -> PooledDevice:
    return pool.take(ticket, lambda _: True, lambda: False)


def test_pool_whoever_came_first_is_first_served() -> None:
    one = pool(1)
    held, order = take(one, 0), list[int]()

    def wait_for_it(ticket: int) -> None:
        device = take(one, ticket)
        order.append(ticket)
        one.give_back(device)

    waiting = [threading.Thread(target=wait_for_it, args=(ticket,)) for ticket in (3, 1, 2)]
    for thread in waiting:
        thread.start()
    while len(one._waiting) < len(waiting):
        time.sleep(0.01)
    one.give_back(held)
    for thread in waiting:
        thread.join(300)
    assert order == [1, 2, 3]


def test_pool_call_that_is_stopped_waits_no_longer() -> None:
    one = pool(1)
    take(one, 0)
    with pytest.raises(EvaluationStopped, match="before it began"):
        one.take(1, lambda _: True, lambda: True)
    assert not one._waiting


def test_pool_resting_device_is_passed_over() -> None:
    two = pool(2)
    first = take(two, 0)
    first.rest(at_once=True)
    two.give_back(first)
    assert take(two, 1).number == 1


def test_pool_sets_all_aside_but_the_last_usable_one() -> None:
    two = pool(2)
    first, second = take(two, 0), take(two, 1)
    assert two.set_aside(first)
    assert not two.set_aside(second)


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "expected"),
    [
        (None, None, 0, [(None, None)]),
        (None, None, 1, [(None, None)]),
        (None, None, 2, [("cuda:0", None), ("cuda:1", None)]),
        ("cuda", 2, 3, [("cuda:0", None), ("cuda:1", None)]),
        ("cuda:1", None, 3, [("cuda:1", None)]),
        ("cpu", None, 3, [("cpu", None)]),
        ("cpu", 3, 3, [("cpu", 2)] * 3),
        (None, 4, 0, [("cpu", 2)] * 4),
    ],
)
def test_local_plans_one_worker_a_gpu_or_a_share_of_the_cores(
    device: str | None, workers: int | None, gpus: int, expected: list[tuple[str | None, int | None]]
) -> None:
    plans = local_plans(device, workers, gpus=gpus, cores=8)
    assert [(plan.device, plan.threads) for plan in plans] == expected


@pytest.mark.parametrize(
    ("device", "workers", "gpus"), [("cuda:1", 2, 4), (None, 3, 2), ("cuda", 2, 1), ("cpu", 9, 0)]
)
def test_local_plans_more_workers_than_room_is_refused(device: str | None, workers: int, gpus: int) -> None:
    with pytest.raises(UsageError, match="workers"):
        local_plans(device, workers, gpus=gpus, cores=8)


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0), ("cuda:3", 3), ("gpu", 1), ("cuda:", 1)])
def test_local_plans_device_that_is_not_there_is_refused_at_the_start(device: str, gpus: int) -> None:
    with pytest.raises(UsageError, match=r"no GPU|Unknown device"):
        local_plans(device, None, gpus=gpus, cores=8)


@pytest.mark.parametrize(
    ("visible", "count"), [("0,1", 2), ("", 0), ("-1", 0), ("GPU-8a2f", 1), ("0, 1,-1,2", 2)]
)
def test_visible_gpus_are_those_of_the_environment(visible: str, count: int) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": visible}) == count


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="a stand-in of nvidia-smi in sh")
def test_visible_gpus_without_a_word_are_the_drivers(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A (UUID: GPU-1)'\necho '  MIG 1g'\necho 'GPU 1: B'\n")
    program.chmod(0o755)
    assert visible_gpus({"PATH": str(tmp_path)}) == 2
    program.unlink()
    assert visible_gpus({"PATH": str(tmp_path)}) == 0


def test_usable_cores_are_at_least_one() -> None:
    assert usable_cores() >= 1
