"""Training an adapter on a dataset with TRL's trainer.

TRL and transformers provide the loop over epochs and steps, the optimizer, the learning rate schedule and
gradient clipping; the row order, the division of a step into passes, the loss and its gradients are ours.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training.data import epoch_order
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel

OnStep = Callable[[int, int, float], None]  # steps done, total steps, the last step's loss


@contextlib.contextmanager
def trained_adapter(
    model: LanguageModel, rows: Sequence[EncodedRow], competition: Competition, seed: int, on_step: OnStep
) -> Iterator[int]:
    """Within this context ``model`` has an adapter trained on ``rows``; yields the number of steps.

    The adapter's initial values, dropout and row order follow from ``seed`` alone; on exit the adapter is
    cleared.
    """
    model.adapters.reset(seed)
    forward = vars(model.network).get("forward")
    try:
        with tempfile.TemporaryDirectory(prefix="flockoff-") as directory:
            trainer = AdapterTrainer(model, rows, competition, seed, on_step, directory)
            trainer.train()
        yield trainer.state.global_step
    finally:
        model.adapters.clear()
        if forward is None:  # TRL wraps it again for each dataset
            vars(model.network).pop("forward", None)
        else:
            model.network.forward = forward


class RowOrder(Sampler[int]):
    """The rows in ``epoch_order``; the data loader sets the epoch."""

    def __init__(self, lengths: Sequence[int], seed: int, rows_per_step: int) -> None:
        self._lengths = lengths
        self._seed = seed
        self._rows_per_step = rows_per_step
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self._lengths, self._seed, self._epoch, self._rows_per_step))


class AdapterTrainer(SFTTrainer):
    """SFTTrainer with the row order of ``RowOrder`` and the gradients of ``add_step_gradients``."""

    def __init__(
        self,
        model: LanguageModel,
        rows: Sequence[EncodedRow],
        competition: Competition,
        seed: int,
        on_step: OnStep,
        directory: str,
    ) -> None:
        self._language_model = model
        self._rows = rows
        self._dropout = competition.lora.dropout
        self._seed = seed
        self._step_loss = 0.0
        self._order = RowOrder([len(row.input_ids) for row in rows], seed, competition.training.rows_per_step)
        super().__init__(
            model=model.adapters.model,
            args=_arguments(competition, model, seed, directory),
            data_collator=_places,
            train_dataset=Dataset.from_dict({"place": range(len(rows))}),
            processing_class=model.tokenizer,
            callbacks=[_StepReport(self, on_step)],
        )
        self.remove_callback(PrinterCallback)  # it writes to stdout

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> RowOrder:
        return self._order

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        rows = [self._rows[place] for place in inputs["places"].tolist()]
        step = self.state.global_step
        self._step_loss = add_step_gradients(self._language_model, rows, self._dropout, self._seed, step)
        return torch.tensor(self._step_loss, device=self._language_model.device)

    def take_step_loss(self) -> float:
        """The last step's loss."""
        return self._step_loss


def _places(rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
    """The batch holds row numbers only; the rows themselves stay in memory."""
    return {"places": torch.tensor([row["place"] for row in rows])}


class _StepReport(TrainerCallback):
    def __init__(self, trainer: AdapterTrainer, on_step: OnStep) -> None:
        self._trainer = trainer
        self._on_step = on_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._on_step(state.global_step, state.max_steps, self._trainer.take_step_loss())


def _arguments(competition: Competition, model: LanguageModel, seed: int, directory: str) -> SFTConfig:
    training = competition.training
    return SFTConfig(
        output_dir=directory,
        seed=seed,
        data_seed=seed,
        per_device_train_batch_size=training.rows_per_step,
        gradient_accumulation_steps=1,  # ``add_step_gradients`` divides a step
        num_train_epochs=training.epochs,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=False,
        gradient_checkpointing=False,  # the network has its own settings
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=model.device.type == "cpu",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
