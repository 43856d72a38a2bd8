"""A random Qwen2 of a few thousand weights, its tokenizer, and datasets to train it on."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from flockoff.competition import Competition, EvaluationSet, Lora, Training
from flockoff.dataset import content_hash
from flockoff.records import Row, Turn

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HIDDEN, INNER, LAYERS = 32, 48, 2
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_tokenizer(directory: Path) -> int:
    """One token a byte, and three special ones. Returns the size of the vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": SPECIALS[2], "pad_token": SPECIALS[0], "tokenizer_class": "TokenizersBackend"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return tokenizer.get_vocab_size()


def write_tiny_model(directory: Path, vocabulary: int | None = None) -> Path:
    """``vocabulary``: more ids than the tokenizer's, of which the upper ones stand for nothing.

    Written without torch, which takes longer to import than most tests to run.
    """
    ids = max(write_tokenizer(directory), vocabulary or 0)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "float32",
        "vocab_size": ids,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(_weights(ids), directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def _weights(ids: int) -> dict[str, np.ndarray]:
    """Random as transformers would make them: matrices by a small normal distribution, without biases."""
    rng = np.random.default_rng(0)
    weights = {"model.embed_tokens.weight": (ids, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in (f"model.layers.{number}" for number in range(LAYERS)):
        for name, rows, columns in (
            ("self_attn.q_proj", HIDDEN, HIDDEN),
            ("self_attn.k_proj", HIDDEN // 2, HIDDEN),
            ("self_attn.v_proj", HIDDEN // 2, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HIDDEN),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.up_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
        ):
            weights[f"{layer}.{name}.weight"] = (rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{name}.weight"] = (HIDDEN,)
        for name, rows in (("q", HIDDEN), ("k", HIDDEN // 2), ("v", HIDDEN // 2)):
            weights[f"{layer}.self_attn.{name}_proj.bias"] = (rows,)
    return {name: _initial(name, shape, rng) for name, shape in weights.items()}


def _initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) == 2:
        return rng.normal(0.0, 0.02, shape).astype(np.float32)
    return (np.ones if "norm" in name else np.zeros)(shape, np.float32)


def row(question: str, answer: str, system: str | None = None) -> Row:
    return Row(system, (Turn("user", question), Turn("assistant", answer)))


def write_dataset(path: Path, rows: Sequence[Row]) -> str:
    """Returns the content hash."""
    lines = [
        {
            "system": one.system,
            "conversations": [{"role": turn.role, "content": turn.content} for turn in one.turns],
        }
        for one in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return content_hash(rows)


def rules(evaluation_file: Path, *, dropout: float = 0.1, **training: float) -> Competition:
    """A competition for the tiny model. ``training``: fields of Training."""
    arguments = {"context_length": 128, "learning_rate": 1e-2, "warmup_steps": 1} | training
    return Competition(
        evaluation=EvaluationSet(sha256=sha256(evaluation_file.read_bytes()).hexdigest()),
        lora=Lora(rank=4, alpha=8, dropout=dropout),
        training=Training(**arguments),  # type: ignore[arg-type]
    )
