"""The workers to start on this machine. Imports no torch."""

import os
from collections.abc import Mapping

from flockoff.errors import UsageError
from flockoff.text import counted
from flockoff.training.environment import check_device, gpu_index, installed_gpus, visible_names
from flockoff.training.pool import WorkerPlan


def local_plans(device: str | None, workers: int | None, *, gpus: int, cores: int) -> list[WorkerPlan]:
    """``workers`` on this machine's ``gpus`` GPUs, or in equal shares of its ``cores``.

    ``device`` "cuda:N" is one GPU and so one worker. ``workers`` None: one per GPU; one on a CPU, which is as
    fast as several and takes less memory. Raises UsageError for more workers than fit, and for a ``device``
    that does not exist.
    """
    check_device(device)
    if device not in (None, "cpu") and gpu_index(device) >= gpus:
        raise UsageError(
            f"There is no GPU {device}: NVIDIA's driver shows {gpus}.",
            remedy="Check nvidia-smi and CUDA_VISIBLE_DEVICES, or give another --device.",
        )
    if device not in (None, "cpu", "cuda"):
        if workers not in (None, 1):
            raise UsageError(
                f"{workers} workers cannot share {device}.", remedy="Leave out --device or --workers."
            )
        return [WorkerPlan(device)]
    on_gpus = device != "cpu" and gpus > 0
    if workers is None:
        workers = gpus if on_gpus else 1
    if workers == 1:
        return [WorkerPlan(device)]
    if on_gpus or device == "cuda":
        if workers > gpus:
            raise UsageError(
                f"{counted(gpus, 'GPU')} cannot be shared by {workers} workers.",
                remedy="Give at most that many --workers; if there should be more GPUs, check nvidia-smi.",
            )
        return [WorkerPlan(f"cuda:{number}") for number in range(workers)]
    if workers > cores:
        raise UsageError(
            f"{counted(cores, 'core')} cannot be shared by {workers} workers.",
            remedy="Give at most that many --workers.",
        )
    return [WorkerPlan("cpu", cores // workers) for _ in range(workers)]


def visible_gpus(environ: Mapping[str, str]) -> int:
    """How many GPUs NVIDIA's driver offers under ``environ``; 0 without the driver."""
    names = visible_names(environ)
    return len(installed_gpus(environ) if names is None else names)


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
