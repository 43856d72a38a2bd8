"""Training as a textbook has it: padded rows, full logits, PEFT's own layers, one pass a step, no tricks.

What the product computes is held against it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, get_linear_schedule_with_warmup

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training.data import epoch_order


def plain_network(directory: Path, competition: Competition, seed: int) -> PeftModel:
    """The base model with a new adapter, as PEFT makes it after ``torch.manual_seed(seed)``."""
    network = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    torch.manual_seed(seed)
    lora = competition.lora
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )
    adapted = get_peft_model(network, config)
    assert isinstance(adapted, PeftModel)
    return adapted.train()


def plain_loss(network: torch.nn.Module, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """The mean over all assistant tokens of ``rows``, differentiable."""
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    targets = torch.full((len(rows), longest), -100)
    for place, row in enumerate(rows):
        ids[place, : len(row.input_ids)] = torch.tensor(row.input_ids)
        counts = torch.tensor(row.assistant)
        targets[place, : len(row.input_ids)][counts] = torch.tensor(row.input_ids)[counts]
    logits = network(input_ids=ids, use_cache=False).logits  # causal: no token sees the padding behind it
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


def plain_training(
    network: PeftModel, rows: Sequence[EncodedRow], competition: Competition, seed: int
) -> Iterator[float]:
    """The loss of each optimizer step, right before the step is made."""
    training = competition.training
    lengths, size = [len(row.input_ids) for row in rows], training.rows_per_step
    orders = [epoch_order(lengths, seed, epoch, size) for epoch in range(training.epochs)]
    steps = [order[first : first + size] for order in orders for first in range(0, len(order), size)]
    parameters = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=training.learning_rate, weight_decay=training.weight_decay, foreach=False
    )
    schedule = get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer, training.warmup_steps, len(steps)
    )
    for step in steps:
        loss = plain_loss(network, [rows[place] for place in step])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        yield loss.item()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def stir(network: torch.nn.Module) -> None:
    """lora_B is zero at first, which would leave lora_A without any gradient."""
    for name, value in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1, generator=torch.Generator().manual_seed(len(name)))


def gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
