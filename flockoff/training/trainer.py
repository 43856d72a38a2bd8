"""TRL's trainer on rows that are tokens already, in the order and with the loss that the rules ask for."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from flockoff.competition import Competition, Lora
from flockoff.records import EncodedRow
from flockoff.training.data import epoch_order, labels_of, padded
from flockoff.training.device import training_precision
from flockoff.training.loss import answer_states, summed_loss
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
    with tempfile.TemporaryDirectory(prefix="flockoff-") as directory:
        trainer = AdapterTrainer(model, rows, competition, seed, on_step, directory)
        try:
            trainer.train()
            yield trainer.state.global_step
        finally:
            _detach(trainer, model)


def _detach(trainer: "AdapterTrainer", model: LanguageModel) -> None:
    adapted = trainer.model
    assert isinstance(adapted, PeftModel)
    adapted.unload()
    model.network.disable_input_require_grads()  # type: ignore[no-untyped-call]
    if model.recompute:
        model.network.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
    del model.network.forward  # SFTTrainer puts its own over the class's
    model.network.train(False)


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
    """SFTTrainer with the row order of ``RowOrder`` and the loss of one optimizer step as the rules have it:

    the summed loss of the step's assistant tokens divided by their number.
    """

    loss_is_scaled_for_ga = True  # type: ignore[assignment]  # by the tokens of the whole step

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
        self._step_loss = 0.0
        self._order = RowOrder([len(row.input_ids) for row in rows], seed, competition.training.rows_per_step)
        columns = {
            "input_ids": [list(row.input_ids) for row in rows],
            "labels": [labels_of(row) for row in rows],
        }
        super().__init__(
            model=model.network,
            args=_arguments(competition, model, seed, directory),
            data_collator=padded,
            train_dataset=Dataset.from_dict(columns),
            processing_class=model.tokenizer,
            peft_config=_lora(competition.lora),
            callbacks=[_StepReport(self, on_step)],
        )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> RowOrder:
        return self._order

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """The micro-batch's part of the step's loss; ``num_items_in_batch`` is the step's, not its own."""
        assert not return_outputs and num_items_in_batch is not None
        with training_precision(self._language_model.device):
            states, targets = answer_states(self._language_model, inputs["input_ids"], inputs["labels"])
            loss = summed_loss(states, self._language_model.head, targets) / num_items_in_batch
        self._step_loss += loss.item()
        return loss

    def take_step_loss(self) -> float:
        """The loss of the step that just ended."""
        loss, self._step_loss = self._step_loss, 0.0
        return loss


class _StepReport(TrainerCallback):
    def __init__(self, trainer: AdapterTrainer, on_step: OnStep) -> None:
        self._trainer = trainer
        self._on_step = on_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._on_step(state.global_step, state.max_steps, self._trainer.take_step_loss())


def _lora(lora: Lora) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",  # the output head is not among them
        bias="none",
    )


def _arguments(competition: Competition, model: LanguageModel, seed: int, directory: str) -> SFTConfig:
    training = competition.training
    return SFTConfig(
        output_dir=directory,
        seed=seed,
        data_seed=seed,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        num_train_epochs=training.epochs,
        learning_rate=training.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch",
        bf16=False,  # compute_loss chooses the precision itself
        gradient_checkpointing=model.recompute,
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
