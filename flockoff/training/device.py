"""The device that trains: which one, how exactly it computes, and whether it can hold the base model."""

import contextlib
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psutil
import torch
from transformers import PretrainedConfig

from flockoff.competition import Competition, Training
from flockoff.errors import SetupError
from flockoff.training.messages import WorkerFault

HEAD_CHUNK = 512  # positions whose logits are in memory at a time
_FLOAT32_BYTES = 4
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|ALLOC_FAILED", re.IGNORECASE)
_DEVICE = re.compile(
    r"CUDA (driver )?error|CUBLAS_STATUS|CUDNN_STATUS|cuDNN error|NCCL error|device-side assert"
)
_COMFORT = 0.6  # of the memory: activations are kept, not computed again, where all fits into it


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that training needs: with all activations kept, and with only each layer's input kept."""

    kept: int
    recomputed: int


def choose_device(name: str | None) -> torch.device:
    """The device to train on; ``name`` "cpu", "cuda", "cuda:N", or None for a GPU if there is one.

    The environment leaves at most one GPU in sight, so its index here is 0 whichever it is.
    Raises SetupError where a GPU is asked for and none can be used.
    """
    if torch.cuda.is_available() and name != "cpu":
        return torch.device("cuda", 0)
    if name not in (None, "cpu"):
        raise SetupError(
            f"No GPU can be used as {name}.",
            remedy="Check nvidia-smi and the PyTorch build, or pass --device cpu.",
        )
    return torch.device("cpu")


def compute_exactly(threads: int | None) -> None:
    """Settings of this process under which the same work gives the same bits."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")


def training_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 products on CUDA, float32 elsewhere. Weights, adapters and sums are float32 on both.

    With the base model's weights in bfloat16, two thirds of what an adapter changes would round away.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def precision_text(device: torch.device, training: Training, recompute: bool) -> str:
    """How it is computed, as far as it moves the last digits: the rows of a pass too."""
    compute = "bfloat16" if device.type == "cuda" else "float32"
    passes = f"rows a pass: {training.batch_size}" + (", recomputed" if recompute else "")
    return f"weights float32, training {compute} ({passes}), evaluation float32"


@contextlib.contextmanager
def device_faults(device: torch.device) -> Iterator[None]:
    """Raises WorkerFault in place of errors that say that memory ran out or the device failed."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        fault = device_fault(error, device)
        if fault is None:
            raise
        raise fault from error


def device_fault(error: RuntimeError | MemoryError, device: torch.device) -> WorkerFault | None:
    """What an error of torch says about the device; None where it says nothing: a bug of ours.

    torch has classes for two kinds of it; the rest is told by the text alone.
    """
    text = str(error).split("\n")[0]
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _NO_MEMORY.search(text):
        return WorkerFault(
            "memory",
            f"{device_text(device)} ran out of memory: {text}",
            remedy="Close what else uses the device.",
        )
    if isinstance(error, torch.AcceleratorError) or _DEVICE.search(text):
        return WorkerFault(
            "device",
            f"{device_text(device)} failed: {text}",
            remedy="Look at nvidia-smi and the kernel's log (dmesg): a restart of the machine may help.",
        )
    return None


def device_text(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"cpu {platform.machine()} {instructions} ({torch.get_num_threads()} threads)"


def memory_need(config: PretrainedConfig, parameters: int, competition: Competition) -> MemoryNeed:
    """An estimate for rows that fill the context, in float32.

    Per token and layer about 18 hidden and 8 intermediate vectors are kept for the backward pass, which
    reproduces the 46 GiB counted for Qwen2.5-1.5B at two rows of 4096 tokens in bfloat16.
    """
    text = config.get_text_config()
    tokens = competition.training.batch_size * competition.training.context_length
    layer = tokens * (18 * text.hidden_size + 8 * text.intermediate_size)
    inputs = tokens * text.hidden_size * text.num_hidden_layers
    fixed = parameters + 3 * HEAD_CHUNK * text.vocab_size
    return MemoryNeed(
        kept=_FLOAT32_BYTES * (fixed + layer * text.num_hidden_layers),
        recomputed=_FLOAT32_BYTES * (fixed + layer + inputs),
    )


def memory_bytes(device: torch.device) -> tuple[int, int]:
    """The device's memory: free now, and in all."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def recompute_activations(need: MemoryNeed, device: torch.device) -> bool:
    """Whether to trade time for memory. Decided by the whole memory, not by what is free at the moment."""
    return need.kept > _COMFORT * memory_bytes(device)[1]


def require_memory(need: MemoryNeed, device: torch.device) -> None:
    """Raises SetupError, in one sentence, where the device cannot hold the training."""
    free, _ = memory_bytes(device)
    if need.recomputed > free:
        raise SetupError(
            f"The base model does not fit: training it takes about {need.recomputed / 2**30:.1f} GiB, and "
            f"{device_text(device)} has {free / 2**30:.1f} GiB free.",
            remedy="Use a device with more memory, or free some.",
        )
