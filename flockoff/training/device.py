"""The training device: which one, its numeric settings, and whether the base model fits."""

import contextlib
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from safetensors import safe_open

from flockoff.competition import Competition
from flockoff.errors import SetupError
from flockoff.planner.memory import MemoryNeed, memory_need
from flockoff.planner.model import read_size
from flockoff.records import ComputeDevice
from flockoff.training.environment import installed_gpus
from flockoff.training.messages import WorkerFault

_PASS_TOKENS = {"cpu": 2048, "cuda": 16384}  # larger passes are no faster
_AMPERE = (8, 0)
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|ALLOC_FAILED", re.IGNORECASE)
_DEVICE = re.compile(
    r"CUDA (driver )?error|CUBLAS_STATUS|CUDNN_STATUS|cuDNN error|NCCL error|device-side assert"
)


def choose_device(name: str | None) -> torch.device:
    """The device to train on; ``name`` "cpu", "cuda", "cuda:N", or None for a GPU if there is one.

    The environment leaves at most one GPU visible, so its index here is always 0.
    Raises SetupError where a requested GPU cannot be used, where there is a GPU that PyTorch cannot use
    (which must not silently fall back to the CPU), and where the GPU is too old to train on.
    """
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", 0)
        require_kind(
            torch.cuda.get_device_name(device),
            torch.cuda.get_device_capability(device),
            torch.cuda.get_arch_list(),
        )
        return device
    cards = installed_gpus(os.environ) if name is None else ()
    if name is None and not cards:
        return torch.device("cpu")
    what = cards[0] if cards else f"a GPU as {name}"
    raise SetupError(
        f"PyTorch {torch.__version__} cannot use {what}: {_why_no_gpu()}",
        remedy="Look at nvidia-smi, update the NVIDIA driver, and run uv sync; or pass --device cpu.",
    )


def require_kind(card: str, capability: tuple[int, int], built_for: Sequence[str]) -> None:
    """Raises SetupError for a ``card`` without bfloat16, or one this PyTorch has no kernels for.

    ``built_for``: as from ``torch.cuda.get_arch_list``: sm_86 runs on 8.6 and 8.9, compute_90 (compiled by
    the driver) on 9.0 and newer.
    """
    kind = f"{card} (compute capability {capability[0]}.{capability[1]})"
    if capability < _AMPERE:
        raise SetupError(
            f"{kind} has no bfloat16 and no attention kernels: it cannot train.",
            remedy="Use an NVIDIA card of the Ampere generation (RTX 30) or newer, or pass --device cpu.",
        )
    if not any(_runs(built, capability) for built in built_for):
        raise SetupError(
            f"PyTorch {torch.__version__} has no kernels for {kind}, only {', '.join(built_for) or 'none'}.",
            remedy="Run uv sync, which installs the build of the lock file.",
        )


def _runs(built: str, capability: tuple[int, int]) -> bool:
    kind, _, digits = built.partition("_")
    number = int("".join(filter(str.isdecimal, digits)) or 0)
    major, minor = divmod(number, 10)
    if kind == "compute":
        return (major, minor) <= capability
    return major == capability[0] and minor <= capability[1]


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "it was built without CUDA."
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).split("\n")[0]
    return "it finds none."


def compute_exactly(threads: int | None) -> None:
    """Process settings for bit-identical results."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    # Split-K products are summed in float32, like all others.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@dataclass(frozen=True, slots=True)
class Dtypes:
    """The dtype of the base model's ``weights`` in memory, and of training's matrix products (``compute``).

    Adapter, residual stream, norms and sums are always float32, and so is evaluation.
    """

    weights: torch.dtype
    compute: torch.dtype


def stored_dtype(directory: Path) -> torch.dtype:
    """bfloat16 where all weights in ``directory`` are; else float32."""
    for file in directory.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            if any(weights.get_slice(name).get_dtype() != "BF16" for name in weights.keys()):  # noqa: SIM118
                return torch.float32
    return torch.bfloat16


def training_dtypes(device: torch.device, stored: torch.dtype) -> Dtypes:
    """bfloat16 on CUDA for base models ``stored`` in it; else float32.

    With float32 weights, bfloat16 products would train another model than is evaluated, and rounding the
    weights would hide two thirds of an adapter's effect. Losses: .github/docs/performance.md.
    """
    if device.type == "cuda" and stored == torch.bfloat16:
        return Dtypes(torch.bfloat16, torch.bfloat16)
    return Dtypes(torch.float32, torch.float32)


@contextlib.contextmanager
def device_faults(device: torch.device) -> Iterator[None]:
    """Turns out-of-memory and device errors into WorkerFault."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        fault = device_fault(error, device)
        if fault is None:
            raise
        raise fault from error


def device_fault(error: RuntimeError | MemoryError, device: torch.device) -> WorkerFault | None:
    """The WorkerFault behind a torch error; None where it is not about the device: a bug of ours.

    torch has classes for two kinds; the rest is recognised by its text.
    """
    text = str(error).split("\n")[0]
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _NO_MEMORY.search(text):
        return WorkerFault(
            "memory",
            f"{compute_device(device)} ran out of memory: {text}",
            remedy="Close what else uses the device.",
        )
    if isinstance(error, torch.AcceleratorError) or _DEVICE.search(text):
        return WorkerFault(
            "device",
            f"{compute_device(device)} failed: {text}",
            remedy="Look at nvidia-smi and the kernel's log (dmesg): a restart of the machine may help.",
        )
    return None


def compute_device(device: torch.device) -> ComputeDevice:
    if device.type == "cuda":
        return ComputeDevice(f"cuda {torch.cuda.get_device_name(device)}")
    instructions = torch.backends.cpu.get_cpu_capability()
    return ComputeDevice(f"cpu {platform.machine()} {instructions}", torch.get_num_threads())


def memory_bytes(device: torch.device) -> tuple[int, int]:
    """The device's memory: free, total."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def training_memory(
    directory: Path, competition: Competition, dtypes: Dtypes, *, fused: bool | None = None
) -> MemoryNeed:
    """The memory that training on the model in ``directory`` needs.

    Raises SetupError for a model whose size cannot be read.
    """
    return memory_need(
        read_size(directory),
        competition,
        weight_bytes=dtypes.weights.itemsize,
        compute_bytes=dtypes.compute.itemsize,
        fused=fused,
    )


def require_memory(need: MemoryNeed, device: torch.device) -> None:
    """Raises SetupError where training does not fit the device."""
    free, _ = memory_bytes(device)
    if need.recomputed > free:
        raise SetupError(
            f"The base model does not fit: training it takes about {need.recomputed / 2**30:.1f} GiB, and "
            f"{compute_device(device)} has {free / 2**30:.1f} GiB free.",
            remedy="Use a device with more memory, or free some.",
        )


def kept_tokens(need: MemoryNeed, device: torch.device) -> int:
    """Tokens per pass with activations kept. Goes by total memory, not by what is free now."""
    return min(need.kept_tokens(memory_bytes(device)[1]), _PASS_TOKENS[device.type])
