"""Examines the training device and whether the base model fits it. Imports torch, which takes seconds."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from flockoff.competition import Competition
from flockoff.training.device import (
    choose_device,
    compute_device,
    memory_bytes,
    stored_dtype,
    training_dtypes,
    training_memory,
)


@dataclass(frozen=True, slots=True)
class DeviceExamination:
    """Bytes. ``needed`` and ``recomputes`` are None where the base model is not on this machine yet."""

    text: str  # as in provenances
    kind: str  # cuda, cpu
    total: int
    free: int
    needed: int | None  # by training, at least
    recomputes: bool | None  # activations, for lack of memory: slower
    cuda: str | None  # the version torch was built for
    lacks_for_kernels: str | None  # what this machine lacks for the fused kernels


def examine_device(name: str | None, competition: Competition, model_dir: Path | None) -> DeviceExamination:
    """Examine the device ``name`` (None: the one that a validator would use).

    Raises SetupError for a device that does not exist.
    """
    device = choose_device(name)
    free, total = memory_bytes(device)
    needed = recomputes = None
    if model_dir is not None:
        dtypes = training_dtypes(device, stored_dtype(model_dir))
        need = training_memory(model_dir, competition, dtypes)
        needed, recomputes = need.recomputed, need.recomputes(total)
    return DeviceExamination(
        str(compute_device(device)),
        device.type,
        total,
        free,
        needed,
        recomputes,
        torch.version.cuda,
        lacks_for_kernels(os.environ),
    )


def lacks_for_kernels(environ: Mapping[str, str]) -> str | None:
    """What is missing for compiling Triton's kernels and their launchers; None where nothing is."""
    if importlib.util.find_spec("triton") is None:
        return "Triton"
    compilers = (environ["CC"],) if environ.get("CC") else ("clang", "gcc")
    if not any(shutil.which(name, path=environ.get("PATH")) for name in compilers):
        return f"a C compiler ({' or '.join(compilers)})"
    return None
