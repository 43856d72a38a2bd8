"""Training an adapter on a dataset with TRL's trainer.

TRL and transformers bring the loop over epochs and steps, the optimizer, the learning rate's schedule and the
clipping of gradients; the order of rows, how a step is divided into passes, the loss and its gradients are
this project's own.
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

OnStep = Callable[[int, int, float], None]  # steps done, steps in all, the last step's loss


@contextlib.contextmanager
def trained_adapter(
    model: LanguageModel, rows: Sequence[EncodedRow], competition: Competition, seed: int, on_step: OnStep
) -> Iterator[int]:
    """Within this context ``model`` has an adapter trained on ``rows``; gives the number of steps.

    The adapter's initial values, the dropout and the order of rows follow from ``seed`` alone, and
    afterwards the base model is as it was before.
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
        if forward is None:  # TRL puts its own around it, once more for each dataset
            vars(model.network).pop("forward", None)
        else:
            model.network.forward = forward


class RowOrder(Sampler[int]):
    """The rows in ``epoch_order``; the data loader tells which epoch it is."""

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
        self.remove_callback(PrinterCallback)  # it writes to the standard output

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
        """The loss of the step that just ended."""
        return self._step_loss


def _places(rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
    """The rows stay where they are: a step is told which of them are its own."""
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
        gradient_accumulation_steps=1,  # how a step is divided, ``add_step_gradients`` knows
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
