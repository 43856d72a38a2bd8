"""The sizes of a base model, from which its work and memory follow without loading it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flockoff.competition import BaseModel
from flockoff.errors import SetupError


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer with an adapter. ``reads_layer_input``: its input comes from the layer below."""

    inputs: int
    outputs: int
    reads_layer_input: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """A decoder of the Llama and Qwen2 family: grouped-query attention, gated feed-forward, RMS norms."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    tied: bool  # the output head is the embedding matrix
    attention_bias: bool  # of queries, keys and values

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Of one layer: queries, keys, values, attention output, gate, up, down."""
        keys = self.key_value_heads * self.head_dim
        return (
            Linear(self.hidden, self.attention_width, reads_layer_input=True),
            Linear(self.hidden, keys, reads_layer_input=True),
            Linear(self.hidden, keys, reads_layer_input=True),
            Linear(self.attention_width, self.hidden),
            Linear(self.hidden, self.intermediate),
            Linear(self.hidden, self.intermediate),
            Linear(self.intermediate, self.hidden),
        )

    @property
    def parameters(self) -> int:
        layer = sum(one.inputs * one.outputs for one in self.linears) + 2 * self.hidden
        if self.attention_bias:
            layer += sum(one.outputs for one in self.linears if one.reads_layer_input)
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        return self.layers * rank * sum(one.inputs + one.outputs for one in self.linears)


QWEN2_5_1_5B = ModelSize(
    vocabulary=151_936,
    hidden=1536,
    intermediate=8960,
    layers=28,
    heads=12,
    key_value_heads=2,
    head_dim=128,
    tied=True,
    attention_bias=True,
)
# From the config.json of these repos; the same in all their revisions.
KNOWN_SIZES: Mapping[str, ModelSize] = {
    "Qwen/Qwen2.5-1.5B-Instruct": QWEN2_5_1_5B,
    "HuggingFaceTB/SmolLM2-135M-Instruct": ModelSize(
        vocabulary=49_152,
        hidden=576,
        intermediate=1536,
        layers=30,
        heads=9,
        key_value_heads=3,
        head_dim=64,
        tied=True,
        attention_bias=False,
    ),
}


def size_of(config: Mapping[str, Any]) -> ModelSize:
    """The sizes in a model's ``config.json``. Raises SetupError for another family."""
    kind = config.get("model_type")
    if kind not in ("llama", "qwen2"):
        raise SetupError(
            f"The work of a base model of type {kind!r} cannot be counted.",
            remedy="Planning supports the Llama and Qwen2 families only; measure this one instead.",
        )
    heads = config["num_attention_heads"]
    return ModelSize(
        vocabulary=config["vocab_size"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        key_value_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        tied=config.get("tie_word_embeddings", False),
        attention_bias=kind == "qwen2" or config.get("attention_bias", False),
    )


def read_size(directory: Path) -> ModelSize:
    """The sizes of the model in ``directory``. Raises SetupError where they cannot be read."""
    file = directory / "config.json"
    try:
        return size_of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(
            f"Cannot read the model's sizes from {file}: {error}.",
            remedy="Check that it is a model's folder.",
        ) from error


def base_size(base: BaseModel) -> ModelSize:
    """The sizes of a competition's base model, without its files. Raises SetupError if unknown."""
    if base.repo not in KNOWN_SIZES:
        raise SetupError(
            f"The sizes of {base.repo} are not known here.",
            remedy="Pass the folder of its config.json with --model-dir.",
        )
    return KNOWN_SIZES[base.repo]
