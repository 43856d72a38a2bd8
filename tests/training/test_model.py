import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_model import rules
from transformers import AutoConfig

from flockoff.competition import Competition
from flockoff.errors import SetupError
from flockoff.training.device import (
    MemoryNeed,
    choose_device,
    device_text,
    memory_bytes,
    memory_need,
    recompute_activations,
    require_memory,
)
from flockoff.training.model import load_model

CPU = torch.device("cpu")


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


def amend(file: Path, changes: dict[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


class Touch:
    """A pickle of it touches a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self._file}'",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors.bin"])
def test_load_model_without_safetensors_unpickles_nothing(
    copy: Path, evaluation_file: Path, name: str
) -> None:
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(pickle.dumps(Touch(copy / "touched")))
    with pytest.raises(SetupError, match="no safetensors"):
        load_model(copy, rules(evaluation_file), CPU)
    assert not (copy / "touched").exists()


def test_load_model_index_that_names_a_pickle_unpickles_nothing(copy: Path, evaluation_file: Path) -> None:
    with safe_open(copy / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
    (copy / "model.safetensors").rename(copy / "other.safetensors")
    (copy / "shard.bin").write_bytes(pickle.dumps(Touch(copy / "touched")))
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "shard.bin")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SetupError, match=r"names shard\.bin"):
        load_model(copy, rules(evaluation_file), CPU)
    assert not (copy / "touched").exists()


def test_load_model_damaged_file_is_a_setup_error(copy: Path, evaluation_file: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"\x10" + b"\0" * 30)
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_model(copy, rules(evaluation_file), CPU)


def test_load_model_that_needs_code_of_its_own_is_a_setup_error(copy: Path, evaluation_file: Path) -> None:
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    amend(copy / "config.json", {"model_type": "own", "auto_map": auto_map})
    (copy / "own.py").write_text("raise SystemExit('ran code of the repo')")
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_model(copy, rules(evaluation_file), CPU)


def test_load_model_tokenizer_with_code_of_its_own_is_loaded_without_it(
    copy: Path, evaluation_file: Path
) -> None:
    auto_map = {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}
    amend(copy / "tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": auto_map})
    (copy / "own.py").write_text("raise SystemExit('ran code of the repo')")
    assert load_model(copy, rules(evaluation_file), CPU).tokenizer.vocab_size > 0


def test_load_model_with_another_kind_of_head_is_a_setup_error(tmp_path: Path, evaluation_file: Path) -> None:
    from tiny_model import write_tokenizer
    from transformers import GraniteConfig, GraniteForCausalLM

    config = GraniteConfig(
        vocab_size=write_tokenizer(tmp_path),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=8.0,
    )
    GraniteForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(SetupError, match="output head is of a kind"):
        load_model(tmp_path, rules(evaluation_file), CPU)


def test_require_memory_too_little_says_both_numbers() -> None:
    need = MemoryNeed(kept=2**60, recomputed=2**50)
    with pytest.raises(SetupError, match=r"takes about 1048576.0 GiB, and cpu .* GiB free"):
        require_memory(need, CPU)
    assert recompute_activations(need, CPU)


def test_require_memory_enough_passes() -> None:
    need = MemoryNeed(kept=2**20, recomputed=2**20)
    require_memory(need, CPU)
    assert not recompute_activations(need, CPU)
    free, total = memory_bytes(CPU)
    assert 0 < free <= total


def test_memory_need_of_the_default_competition_fits_twelve_gib() -> None:
    config = AutoConfig.for_model(
        "qwen2", hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, vocab_size=151936
    )
    need = memory_need(config, 1_543_714_304, Competition())
    assert 10 < need.recomputed / 2**30 < 11.5
    assert need.kept > 24 * 2**30


def test_choose_device_without_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device(None) == choose_device("cpu") == CPU
    with pytest.raises(SetupError, match="No GPU can be used as cuda:1"):
        choose_device("cuda:1")
    assert device_text(CPU).startswith("cpu ") and device_text(CPU).endswith(" threads)")
