"""What the device that would train is, and whether the base model fits it. Imports torch: takes seconds."""

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
    device_text,
    memory_bytes,
    training_dtypes,
)
from flockoff.training.model import stored_dtype, training_memory


@dataclass(frozen=True, slots=True)
class DeviceExamination:
    """Bytes. ``needed`` and ``recomputes`` are None where the base model is not on this machine yet."""

    text: str  # as provenances name it
    kind: str  # cuda, cpu
    total: int
    free: int
    needed: int | None  # by training, at the least
    recomputes: bool | None  # activations, because memory is short: slower
    cuda: str | None  # the CUDA that torch was built for
    lacks_for_kernels: str | None  # what a card's own kernels of training want and this machine has not


def examine_device(name: str | None, competition: Competition, model_dir: Path | None) -> DeviceExamination:
    """Look at the device called ``name`` (None: the one that a validator would take).

    Raises SetupError for a device that is not there.
    """
    device = choose_device(name)
    free, total = memory_bytes(device)
    needed = recomputes = None
    if model_dir is not None:
        dtypes = training_dtypes(device, stored_dtype(model_dir))
        need = training_memory(model_dir, competition, dtypes)
        needed, recomputes = need.recomputed, need.recomputes(total)
    return DeviceExamination(
        device_text(device),
        device.type,
        total,
        free,
        needed,
        recomputes,
        torch.version.cuda,
        lacks_for_kernels(os.environ),
    )


def lacks_for_kernels(environ: Mapping[str, str]) -> str | None:
    """What is missing to compile Triton's kernels and the code that launches them; None where nothing is."""
    if importlib.util.find_spec("triton") is None:
        return "Triton"
    compilers = (environ["CC"],) if environ.get("CC") else ("clang", "gcc")
    if not any(shutil.which(name, path=environ.get("PATH")) for name in compilers):
        return f"a C compiler ({' or '.join(compilers)})"
    return None
