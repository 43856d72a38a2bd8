"""The base model as it stays in memory: frozen, float32, and the same after every dataset."""

import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from flockoff.competition import Competition
from flockoff.errors import SetupError
from flockoff.training.device import memory_need, recompute_activations, require_memory

_REMEDY = "Delete its folder, so that it is fetched again; choose a base model that transformers supports."


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model in its three parts: the body, the output head, and how it fits the device."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase  # for the trainer's signature; rows are encoded by flockoff.tokens
    device: torch.device
    recompute: bool  # activations are computed again in the backward pass, to save memory

    @property
    def body(self) -> torch.nn.Module:
        """From tokens to the states that the head reads, with the adapter where there is one."""
        body = self.network.base_model
        assert isinstance(body, torch.nn.Module)
        return body

    @property
    def head(self) -> torch.Tensor:
        """(vocabulary, hidden)"""
        weight = self.network.get_output_embeddings().weight  # type: ignore[no-untyped-call]
        assert isinstance(weight, torch.Tensor)
        return weight


def one_row_at_a_time(competition: Competition) -> Competition:
    """The same optimizer steps of the same rows, in passes of one row each."""
    training = competition.training
    return replace(
        competition,
        training=replace(training, batch_size=1, gradient_accumulation=training.rows_per_step),
    )


def load_model(
    directory: Path, competition: Competition, device: torch.device, frugal: bool = False
) -> LanguageModel:
    """The base model in ``directory`` on ``device``, from safetensors, without code from the repo.

    ``frugal``: activations are computed again in any case.
    Raises SetupError where it does not fit the device, is damaged, or is of a kind that is not supported.
    """
    try:
        _require_safetensors(directory)
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        need = memory_need(config, parameters_in(directory), competition)
        require_memory(need, device)
        network = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise SetupError(
            f"The base model in {directory} cannot be loaded: {error}", remedy=_REMEDY
        ) from error
    network.requires_grad_(False)
    network.train(False).to(device)
    model = LanguageModel(network, tokenizer, device, frugal or recompute_activations(need, device))
    _require_plain_head(model, config)
    return model


def _require_safetensors(directory: Path) -> None:
    """Raises SetupError for an index of other files: transformers would unpickle them, if with care."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return
    for name in set(json.loads(index.read_bytes())["weight_map"].values()):
        if not name.endswith(".safetensors"):
            raise SetupError(f"{index} names {name}, which is not a safetensors file.", remedy=_REMEDY)


def parameters_in(directory: Path) -> int:
    """How many numbers the model has, read from the files' headers."""
    total = 0
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    if total == 0:
        raise SetupError(f"The base model in {directory} has no safetensors file.", remedy=_REMEDY)
    return total


def _require_plain_head(model: LanguageModel, config: PretrainedConfig) -> None:
    """Raises SetupError for a model whose logits are not just states times head (scaled, capped, biased)."""
    ids = torch.arange(min(8, config.get_text_config().vocab_size), device=model.device)[None]
    with torch.no_grad():
        expected = model.network(input_ids=ids, use_cache=False).logits
        logits = model.body(input_ids=ids, use_cache=False).last_hidden_state @ model.head.t()
    if not torch.allclose(logits, expected, rtol=1e-4, atol=1e-4):
        raise SetupError(
            f"The base model's output head is of a kind that is not supported ({config.model_type}).",
            remedy="Choose a base model whose logits are its last states times its head's weights.",
        )
