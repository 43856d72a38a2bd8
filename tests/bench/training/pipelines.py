"""Three ways from a dataset's file to its evaluation loss, by the same rules, with the same optimizer steps.

- ``naive``: how subnets do it today, per miner: load the base model from disk, train with transformers'
  Trainer on padded rows and full logits, save the adapter, load the base model again and merge, evaluate row
  by row with full logits.
- ``trl``: TRL's SFTTrainer as it comes, its gradient checkpointing too, on a base model that stays loaded.
- ``ours`` and ``ours-bf16``: what a validator runs, on a base model that stays loaded, with the products of
  training in float32 and in bfloat16.

``gemm`` is not a pipeline: it measures this device's best matrix products.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from flockoff.competition import Competition
from flockoff.dataset import canonical_order, load_rows
from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.data import epoch_order, evaluation_rows
from flockoff.training.device import choose_device
from flockoff.training.messages import Assignment, Request
from flockoff.training.rows import write_rows
from flockoff.training.session import Session

Result = dict[str, Any]
Pipeline = Callable[[Path, int], Result]  # of a dataset under a seed

_IGNORED = -100  # label of a position that does not count in the loss
_TRL_EVALUATION_BATCH = 8  # Trainer's default
_PEAK_SECONDS = 5.0  # of one matrix product


def naive(assignment: Assignment) -> Pipeline:
    device = _set_up(assignment)

    def run(dataset: Path, seed: int) -> Result:
        rows, evaluation = _encoded(assignment, dataset)
        set_seed(seed)
        network = get_peft_model(_load(assignment), lora_config(assignment.competition))
        with tempfile.TemporaryDirectory() as directory:
            arguments = TrainingArguments(
                **trainer_arguments(assignment.competition, seed, directory, device)
            )
            _NaiveTrainer(
                network,
                arguments,
                train_dataset=columns(rows),
                data_collator=_padded,
                order=StepOrder(rows, assignment.competition, seed),
            ).train()
            adapter = Path(directory) / "adapter"
            network.save_pretrained(str(adapter))
            del network
            merged = PeftModel.from_pretrained(_load(assignment), adapter).merge_and_unload().to(device)
        return {"loss": _full_logits_loss(merged, evaluation, 1)}

    return run


def trl(assignment: Assignment) -> Pipeline:
    device = _set_up(assignment)
    base = _load(assignment)
    tokenizer = AutoTokenizer.from_pretrained(assignment.model_dir)

    def run(dataset: Path, seed: int) -> Result:
        rows, evaluation = _encoded(assignment, dataset)
        with tempfile.TemporaryDirectory() as directory:
            arguments = SFTConfig(
                **trainer_arguments(assignment.competition, seed, directory, device),
                max_length=assignment.competition.training.context_length,
            )
            trainer = PlainSFTTrainer(
                base,
                arguments,
                train_dataset=columns(rows),
                processing_class=tokenizer,
                peft_config=lora_config(assignment.competition),
                order=StepOrder(rows, assignment.competition, seed),
            )
            trainer.train()
            adapted = trainer.model
            assert isinstance(adapted, PeftModel)
            loss = _full_logits_loss(adapted, evaluation, _TRL_EVALUATION_BATCH)
            adapted.unload()
        return {"loss": loss}

    return run


def ours(assignment: Assignment, compute: torch.dtype = torch.float32) -> Pipeline:
    _set_up(assignment)
    loaded = Session.load(assignment)
    session = replace(loaded, model=replace(loaded.model, compute=compute))
    limits = assignment.competition.limits

    def run(dataset: Path, seed: int) -> Result:
        read = load_rows(dataset, limits, session.encoder.special_tokens)
        rows = session.encoder.encode(canonical_order(read))
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "rows.npz"
            write_rows(rows, file)
            measurement = session.measure(Request(str(file), seed), lambda progress: None)
        return {"loss": measurement.loss, "precision": measurement.provenance.precision}

    return run


def gemm(assignment: Assignment) -> Pipeline:
    device = _set_up(assignment)

    def run(_dataset: Path, _seed: int) -> Result:
        return {
            str(kind).removeprefix("torch."): peak(kind, device) for kind in (torch.float32, torch.bfloat16)
        }

    return run


PIPELINES: dict[str, Callable[[Assignment], Pipeline]] = {
    "gemm": gemm,
    "naive": naive,
    "trl": trl,
    "ours": ours,
    "ours-bf16": partial(ours, compute=torch.bfloat16),
}


def peak(kind: torch.dtype, device: torch.device) -> float:
    """The best of several square matrix products, in operations a second.

    A processor that can only imitate ``kind`` is not asked for products that would take it minutes.
    """
    sizes = (1024, 4096, 8192) if device.type == "cuda" else (512, 2048, 4096)
    best = 0.0
    for size in sizes:
        if best and 2 * size**3 / best > _PEAK_SECONDS:
            break
        first, second = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        for _ in range(1 + sizes[-1] // size):
            _finish(device)
            start = time.perf_counter()
            torch.mm(first, second)
            _finish(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _set_up(assignment: Assignment) -> torch.device:
    if assignment.threads is not None:
        torch.set_num_threads(assignment.threads)
    return choose_device(assignment.device)


def _load(assignment: Assignment) -> Any:
    return AutoModelForCausalLM.from_pretrained(assignment.model_dir, dtype=torch.float32)


def _encoded(assignment: Assignment, dataset: Path) -> tuple[list[EncodedRow], list[EncodedRow]]:
    """The dataset's rows and the evaluation set's."""
    competition = assignment.competition
    encoder = load_encoder(Path(assignment.model_dir), competition.training.context_length)
    rows = canonical_order(load_rows(dataset, competition.limits, encoder.special_tokens))
    return encoder.encode(rows), evaluation_rows(Path(assignment.evaluation_file), competition, encoder)


def columns(rows: Sequence[EncodedRow]) -> Dataset:
    return Dataset.from_dict(
        {"input_ids": [list(row.input_ids) for row in rows], "labels": [_labels(row) for row in rows]}
    )


def _labels(row: EncodedRow) -> list[int]:
    return [token if counts else _IGNORED for token, counts in zip(row.input_ids, row.assistant, strict=True)]


def lora_config(competition: Competition) -> LoraConfig:
    lora = competition.lora
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )


def trainer_arguments(
    competition: Competition, seed: int, directory: str, device: torch.device
) -> dict[str, Any]:
    training = competition.training
    return {
        "output_dir": directory,
        "seed": seed,
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation,
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "bf16": False,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


class StepOrder(Sampler[int]):
    """The rows of each optimizer step are those that a validator takes; within it they come as they may."""

    def __init__(self, rows: Sequence[EncodedRow], competition: Competition, seed: int) -> None:
        self._lengths = [len(row.input_ids) for row in rows]
        self._rows_per_step = competition.training.rows_per_step
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self._lengths, self._seed, self._epoch, self._rows_per_step)
        shuffle = random.Random(self._seed).shuffle
        for first in range(0, len(order), self._rows_per_step):
            step = order[first : first + self._rows_per_step]
            shuffle(step)
            yield from step


class _NaiveTrainer(Trainer):
    def __init__(self, *arguments: Any, order: StepOrder, **named: Any) -> None:
        self._order = order
        super().__init__(*arguments, **named)

    def _get_train_sampler(self, train_dataset: Any = None) -> StepOrder:
        return self._order


class PlainSFTTrainer(SFTTrainer):
    def __init__(self, *arguments: Any, order: StepOrder, **named: Any) -> None:
        self._order = order
        super().__init__(*arguments, **named)

    def _get_train_sampler(self, train_dataset: Any = None) -> StepOrder:
        return self._order


def _padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest row."""
    longest = max(len(row["input_ids"]) for row in rows)

    def column(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([row[name] + [filler] * (longest - len(row[name])) for row in rows])

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": column("input_ids", 0),
        "labels": column("labels", _IGNORED),
        "attention_mask": (torch.arange(longest)[None] < lengths[:, None]).long(),
    }


def _full_logits_loss(network: Any, rows: Sequence[EncodedRow], batch_size: int) -> float:
    """Nats per assistant token, from the logits of every position."""
    network.train(False)
    columns = [{"input_ids": list(row.input_ids), "labels": _labels(row)} for row in rows]
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(columns), batch_size):
            batch = {
                name: tensor.to(network.device)
                for name, tensor in _padded(columns[first : first + batch_size]).items()
            }
            labels = batch.pop("labels")[:, 1:]
            logits = network(**batch).logits[:, :-1].float()
            total += functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
            ).item()
            count += int((labels != _IGNORED).sum())
    return total / count
