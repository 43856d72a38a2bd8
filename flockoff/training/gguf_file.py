"""Converts a Llama model from a GGUF file to the files that transformers and tokenizers read.

transformers converts GGUF too, but reads such a file once each for configuration, weights and tokenizer, at
several seconds a time, and needs torch for it. This reads it once, with numpy. The format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]

_MAGIC, _VERSION = b"GGUF", 3
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_CONTROL = 3  # the token type of <|im_start|> and the like

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(file: Path, directory: Path) -> None:
    """Write the model in ``file`` to the existing ``directory``: float32 weights, configuration, tokenizer.

    Raises ValueError if it is not a GGUF file of a Llama model with a byte-level BPE tokenizer.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = _Reader(content)
        facts, places = reader.header()
        if facts.get("general.architecture") != "llama" or facts.get("tokenizer.ggml.model") != "gpt2":
            raise ValueError("it is not a Llama model with a byte-level BPE tokenizer")
        weights = {name: values for name, values in _weights(content, places, reader.at, facts)}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    _write(directory / "config.json", _config(facts, tied="lm_head.weight" not in weights))
    _write(directory / "tokenizer.json", _tokenizer(facts))
    _write(directory / "tokenizer_config.json", _special_tokens(facts))
    (directory / "chat_template.jinja").write_text(facts["tokenizer.chat_template"], encoding="utf-8")


class _Reader:
    """Reads a file's header; ``at`` is the current offset."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self.at = 0

    def header(self) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]]]:
        """The metadata, and each tensor's name, shape (outermost dimension first), type and offset."""
        magic, version, tensors, facts = self._numbers("4sIQQ")
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"it is not a GGUF file of version {_VERSION}")
        found = {self._string(): self._value(*self._numbers("I")) for _ in range(facts)}
        places = []
        for _ in range(tensors):
            name = self._string()
            (dimensions,) = self._numbers("I")
            shape = self._numbers(f"{dimensions}Q")[::-1]
            kind, offset = self._numbers("IQ")
            places.append((name, shape, GGMLQuantizationType(kind), offset))
        alignment = int(found.get("general.alignment", 32))
        self.at = -(-self.at // alignment) * alignment
        return found, places

    def _numbers(self, form: str) -> tuple[Any, ...]:
        try:
            found = struct.unpack_from("<" + form, self._content, self.at)
        except struct.error:
            raise ValueError("it ends before its header does") from None
        self.at += struct.calcsize("<" + form)
        return found

    def _string(self) -> str:
        (length,) = self._numbers("Q")
        (text,) = self._numbers(f"{length}s")
        return str(text, "utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._numbers(_NUMBERS[kind])[0]
        inner, count = self._numbers("IQ")
        if inner in _NUMBERS:
            return list(self._numbers(f"{count}{_NUMBERS[inner]}"))
        return [self._value(inner) for _ in range(count)]


def _weights(
    content: mmap.mmap,
    places: list[tuple[str, tuple[int, ...], GGMLQuantizationType, int]],
    start: int,
    facts: Mapping[str, Any],
) -> Iterator[tuple[str, Array]]:
    """The tensors under transformers' names, as float32."""
    heads = {"attn_q": facts["llama.attention.head_count"], "attn_k": facts["llama.attention.head_count_kv"]}
    for name, shape, kind, offset in places:
        block, size = GGML_QUANT_SIZES[kind]
        raw = np.frombuffer(content, np.uint8, int(np.prod(shape)) // block * size, start + offset)
        if kind is GGMLQuantizationType.F32:
            values: Array = raw.view(np.float32).reshape(shape).copy()
        else:
            values = dequantize(raw.reshape(*shape[:-1], -1), kind).astype(np.float32, copy=False)
        *layer, part, suffix = name.removeprefix("blk.").split(".")
        if part in heads:
            values = _halves_apart(values, heads[part])
        named = f"model.layers.{layer[0]}.{_INSIDE[part]}" if layer else _OUTSIDE[part]
        yield f"{named}.{suffix}", values


def _halves_apart(values: Array, heads: int) -> Array:
    """A projection's rows as transformers rotates them, halves of a head: GGUF has neighbours."""
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))


def _config(facts: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    heads, width = facts["llama.attention.head_count"], facts["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": width,
        "head_dim": width // heads,
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "num_attention_heads": heads,
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "num_hidden_layers": facts["llama.block_count"],
        "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": facts["llama.rope.freq_base"]},
        "tie_word_embeddings": tied,
        "vocab_size": len(facts["tokenizer.ggml.tokens"]),
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
    }


def _tokenizer(facts: Mapping[str, Any]) -> dict[str, Any]:
    tokens, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    bytes_as_letters = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": token, **special}
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == _CONTROL
        ],
        "pre_tokenizer": {**bytes_as_letters, "add_prefix_space": False},
        "decoder": {**bytes_as_letters, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in facts["tokenizer.ggml.merges"]],
        },
    }


def _special_tokens(facts: Mapping[str, Any]) -> dict[str, Any]:
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    tokens = facts["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{
            f"{name}_token": tokens[facts[f"tokenizer.ggml.{key}_token_id"]]
            for name, key in names.items()
            if f"tokenizer.ggml.{key}_token_id" in facts
        },
    }


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
