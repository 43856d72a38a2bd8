"""An optimizer step as others make it, on the same card, model and rows, beside ours.

- ``TRL``: SFTTrainer as it comes: two rows at a time, activations computed twice
- ``TRL, tuned``: eight rows at a time, activations kept, without padding where flash-attn is installed, and
  the fused loss that TRL takes by itself on CUDA
- ``Liger``: the same with Liger's kernels (``pip install liger-kernel``)

All train the same adapter on a base model held in bfloat16 (on a CPU in float32), with dropout. A step's time
goes from one step's end to the next one's, optimizer included, with the device waited for.
"""

import importlib.util
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.sft_config import SFTConfig

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training.model import LanguageModel
from flockoff.training.trainer import trained_adapter
from tests.bench.training.pipelines import PlainSFTTrainer, StepOrder, columns, lora_config, trainer_arguments

Step = tuple[float, float]  # seconds of the clock, and of this process's CPU


@dataclass(slots=True)
class Ends:
    """When each step ended, with the device through with it."""

    device: torch.device
    times: list[Step]

    def note(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append((time.perf_counter(), time.process_time()))

    def median(self) -> Step:
        """Of the steps but the first two, which compile, and get memory that stays."""
        pairs = list(zip(self.times[1:], self.times[2:], strict=False))
        return median(b[0] - a[0] for a, b in pairs), median(b[1] - a[1] for a, b in pairs)


class _Noting(TrainerCallback):
    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._ends.note()


def peers(
    model: LanguageModel, directory: Path, rules: Competition, rows: Sequence[EncodedRow], steps: int
) -> Iterator[tuple[str, Step | str]]:
    """Each peer with its step, or why it has none; ours comes first. ``rows``: of one step."""
    rules = replace(rules, training=replace(rules.training, epochs=steps + 2))
    yield "ours", _ours(model, rules, rows)
    tuned: dict[str, Any] = {
        "per_device_train_batch_size": len(rows),
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
    }
    flash = importlib.util.find_spec("flash_attn") is not None and model.device.type == "cuda"
    if flash:
        tuned |= {"padding_free": True, "max_length": None}
    names = {"TRL": {}, "TRL, tuned" + ("" if flash else " (no flash-attn)"): tuned}
    for name, settings in names.items():
        yield name, _trl(model.device, directory, rules, rows, settings, flash=flash and bool(settings))
    if importlib.util.find_spec("liger_kernel") is None:
        yield "Liger", "not installed: pip install liger-kernel"
    elif model.device.type != "cuda":
        yield "Liger", "needs a card"
    else:
        liger = tuned | {"use_liger_kernel": True}
        yield "Liger", _trl(model.device, directory, rules, rows, liger, flash=flash)


def _ours(model: LanguageModel, rules: Competition, rows: Sequence[EncodedRow]) -> Step:
    ends = Ends(model.device, [])
    with trained_adapter(model, rows, rules, 1, lambda done, total, loss: ends.note()):
        return ends.median()


def _trl(
    device: torch.device,
    directory: Path,
    rules: Competition,
    rows: Sequence[EncodedRow],
    settings: dict[str, Any],
    *,
    flash: bool,
) -> Step | str:
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    attention = {"attn_implementation": "flash_attention_2"} if flash else {}
    ends = Ends(device, [])
    try:
        network = AutoModelForCausalLM.from_pretrained(directory, dtype=kind, **attention)
        with tempfile.TemporaryDirectory(prefix="flockoff-peer-") as folder:
            base = trainer_arguments(rules, 1, folder, device) | {"max_length": rules.training.context_length}
            trainer = PlainSFTTrainer(
                network,
                SFTConfig(**base | {"bf16": device.type == "cuda"} | settings),
                train_dataset=columns(rows),
                processing_class=AutoTokenizer.from_pretrained(directory),
                peft_config=lora_config(rules),
                order=StepOrder(rows, rules, 1),
                callbacks=[_Noting(ends)],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
    except (torch.OutOfMemoryError, RuntimeError, ValueError, ImportError) as error:
        return f"failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return ends.median()
