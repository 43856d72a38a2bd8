"""The base model in memory: frozen, and unchanged by every dataset."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from flockoff.competition import Competition
from flockoff.errors import SetupError
from flockoff.planner.memory import MemoryNeed
from flockoff.records import EncodedRow, Precision
from flockoff.training.device import (
    Dtypes,
    kept_tokens,
    require_memory,
    stored_dtype,
    training_dtypes,
    training_memory,
)
from flockoff.training.lora import Adapters
from flockoff.training.messages import Saving
from flockoff.training.packing import ATTENTION, pack, register_attention
from flockoff.training.trial import NO_PATHS, FusedPaths, choose_paths

_REMEDY = "Delete its folder, so that it is downloaded again; choose a base model that transformers supports."
_TRIAL_TOKENS = 8
_ALIKE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # transformers computes in the weights' precision


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model with a cleared adapter, and how it fits the device."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase  # for the trainer's signature; rows are encoded by flockoff.tokens
    device: torch.device
    adapters: Adapters
    compute: torch.dtype  # of training's products; evaluation is in float32
    kept_tokens: int  # per pass with activations kept; a longer row is a pass of its own, checkpointed
    paths: FusedPaths = NO_PATHS  # of the GPU's fused kernels

    @property
    def precision(self) -> Precision:
        weights, compute = (str(dtype).removeprefix("torch.") for dtype in (self.head.dtype, self.compute))
        return Precision(weights, compute, self.kept_tokens, self.paths.taken)

    @property
    def body(self) -> torch.nn.Module:
        """Everything between the embedding and the output head."""
        body = self.network.base_model
        assert isinstance(body, torch.nn.Module)
        return body

    @property
    def head(self) -> torch.Tensor:
        """(vocabulary, hidden)"""
        weight = self.network.get_output_embeddings().weight  # type: ignore[no-untyped-call]
        assert isinstance(weight, torch.Tensor)
        return weight


def load_model(
    directory: Path,
    competition: Competition,
    device: torch.device,
    saving: Saving = "none",
    dtypes: Dtypes | None = None,
) -> LanguageModel:
    """The base model in ``directory`` on ``device``, from safetensors, without code from the repo.

    ``dtypes``: None for the device's own.
    Raises SetupError where it does not fit the device, is damaged, or is of a kind that is not supported.
    """
    register_attention()
    try:
        _require_safetensors(directory)
        dtypes = dtypes or training_dtypes(device, stored_dtype(directory))
        need = training_memory(directory, competition, dtypes)
        require_memory(need, device)
        network = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtypes.weights,
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
    _copy_mapped_weights(network)
    logits = _trial_logits(network, device)
    adapters = Adapters(network, competition.lora)
    paths = NO_PATHS
    if device.type == "cuda" and dtypes.compute == dtypes.weights == torch.bfloat16:
        body: Any = network.base_model
        paths = choose_paths(adapters, body.layers[0].mlp, device, dtypes.compute)
        need = training_memory(directory, competition, dtypes, fused="gate" in paths.taken)
    model = LanguageModel(
        network=network,
        tokenizer=tokenizer,
        device=device,
        adapters=adapters,
        compute=dtypes.compute,
        kept_tokens=_kept_tokens(need, device, saving),
        paths=paths,
    )
    network.set_attn_implementation(ATTENTION)
    _require_same_logits(model, logits)
    return model


def _kept_tokens(need: MemoryNeed, device: torch.device, saving: Saving) -> int:
    most = kept_tokens(need, device)
    return {"none": most, "halves": most // 2, "rows": 0}[saving]


def _copy_mapped_weights(network: PreTrainedModel) -> None:
    """Copy memory-mapped weights: the kernel may evict their pages, to be read again in mid-step, and they
    change with the file.
    """
    for weight in network.parameters():
        if weight.device.type == "cpu":
            weight.data = weight.data.clone()


def _require_safetensors(directory: Path) -> None:
    """Raises SetupError for an index of other files, which transformers would unpickle."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return
    for name in set(json.loads(index.read_bytes())["weight_map"].values()):
        if not name.endswith(".safetensors"):
            raise SetupError(f"{index} names {name}, which is not a safetensors file.", remedy=_REMEDY)


def _trial_row(network: PreTrainedModel) -> EncodedRow:
    """Tokens from the middle of the vocabulary: the first are often special, which bfloat16 gets wrong."""
    first = int(network.config.vocab_size) // 2
    return EncodedRow(tuple(range(first, first + _TRIAL_TOKENS)), (True,) * _TRIAL_TOKENS)


def _trial_logits(network: PreTrainedModel, device: torch.device) -> torch.Tensor:
    """transformers' logits for ``_trial_row``: (tokens, vocabulary)."""
    ids = torch.tensor([_trial_row(network).input_ids], device=device)
    with torch.no_grad():
        logits: torch.Tensor = network(input_ids=ids, use_cache=False).logits[0]
    return logits


def _require_same_logits(model: LanguageModel, expected: torch.Tensor) -> None:
    """Raises SetupError for a model whose logits are not just states times head (but scaled, capped or
    biased), or whose attention or norms are not of the kinds computed here.
    """
    batch = pack([_trial_row(model.network)] * 2, model.device)
    with torch.no_grad():
        embedded = model.network.get_input_embeddings()(batch.input_ids).float()
        states = model.body(inputs_embeds=embedded, position_ids=batch.positions, rows=batch, use_cache=False)
        logits = states.last_hidden_state[0].float() @ model.head.float().t()
    apart = ((logits - expected.float().repeat(2, 1)).norm(dim=1) / logits.norm(dim=1)).median()
    slides = getattr(model.network.config, "sliding_window", None) is not None
    if slides or not apart < _ALIKE[model.head.dtype]:
        raise SetupError(
            f"The base model's architecture is not supported ({model.network.config.model_type}).",
            remedy="Choose a base model of the Llama or Qwen2 family.",
        )
