import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from flockoff.errors import SetupError
from flockoff.planner.memory import MemoryNeed
from flockoff.records import EncodedRow
from flockoff.training.device import (
    Dtypes,
    choose_device,
    compute_device,
    kept_tokens,
    memory_bytes,
    require_kind,
    require_memory,
    stored_dtype,
    training_dtypes,
)
from flockoff.training.loss import row_losses
from flockoff.training.model import load_model
from tests.support.tiny_model import rules

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

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
    with pytest.raises(SetupError, match=r"no file named model\.safetensors"):
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
    with pytest.raises(SetupError, match="of type 'own'"):
        load_model(copy, rules(evaluation_file), CPU)


def test_load_model_tokenizer_with_code_of_its_own_is_loaded_without_it(
    copy: Path, evaluation_file: Path
) -> None:
    auto_map = {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}
    amend(copy / "tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": auto_map})
    (copy / "own.py").write_text("raise SystemExit('ran code of the repo')")
    assert load_model(copy, rules(evaluation_file), CPU).tokenizer.vocab_size > 0


def test_load_model_with_another_kind_of_head_is_a_setup_error(tmp_path: Path, evaluation_file: Path) -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    from tests.support.tiny_model import write_tokenizer

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
    with pytest.raises(SetupError, match="of type 'granite'"):
        load_model(tmp_path, rules(evaluation_file), CPU)


def test_load_model_whose_attention_slides_is_a_setup_error(copy: Path, evaluation_file: Path) -> None:
    window: dict[str, object] = {
        "use_sliding_window": True,
        "sliding_window": 4096,
        "max_window_layers": 0,
        "layer_types": None,
    }
    amend(copy / "config.json", window)
    with pytest.raises(SetupError, match="architecture is not supported"):
        load_model(copy, rules(evaluation_file), CPU)


def test_load_model_weights_stored_in_bfloat16_are_held_so_and_give_the_same_losses(
    copy: Path, evaluation_file: Path
) -> None:
    assert stored_dtype(copy) == torch.float32
    weights = load_file(copy / "model.safetensors")
    halves = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    save_file(halves, copy / "model.safetensors", metadata={"format": "pt"})
    assert stored_dtype(copy) == torch.bfloat16
    rows, competition = [EncodedRow(tuple(range(40)), (True,) * 40)], rules(evaluation_file)
    held = load_model(copy, competition, CPU, dtypes=Dtypes(torch.bfloat16, torch.float32))
    wide = load_model(copy, competition, CPU)
    assert held.head.dtype == torch.bfloat16 and wide.head.dtype == torch.float32
    assert row_losses(held, rows, lambda done: None) == row_losses(wide, rows, lambda done: None)
    assert (held.precision.weights, held.precision.compute) == ("bfloat16", "float32")


def test_load_model_is_accepted_in_bfloat16(smollm2_dir: Path, evaluation_file: Path) -> None:
    """Its first tokens are special: in bfloat16 transformers gets their logits wrong by several times."""
    low = Dtypes(torch.bfloat16, torch.bfloat16)
    model = load_model(smollm2_dir, rules(evaluation_file), CPU, dtypes=low)
    assert model.head.dtype == torch.bfloat16


def test_training_dtypes_rounds_no_weights() -> None:
    gpu = torch.device("cuda", 0)
    assert training_dtypes(gpu, torch.bfloat16) == Dtypes(torch.bfloat16, torch.bfloat16)
    assert training_dtypes(gpu, torch.float32) == Dtypes(torch.float32, torch.float32)
    assert training_dtypes(CPU, torch.bfloat16) == Dtypes(torch.float32, torch.float32)


def test_require_memory_too_little_says_both_numbers() -> None:
    need = MemoryNeed(fixed=2**50, token=2**20, recomputed_token=0, longest=4096)
    with pytest.raises(SetupError, match=r"takes about 1048576.0 GiB, and cpu .* GiB free"):
        require_memory(need, CPU)
    assert kept_tokens(need, CPU) == 0 and need.recomputes(2**40)


def test_require_memory_enough_passes() -> None:
    need = MemoryNeed(fixed=2**20, token=2**10, recomputed_token=2**5, longest=1)
    require_memory(need, CPU)
    free, total = memory_bytes(CPU)
    assert 0 < free <= total
    assert kept_tokens(need, CPU) == 2048 and not need.recomputes(total)
    assert need.kept_tokens(10 * 2**20) == (8 * 2**20 - 2**20) // 2**10


def test_choose_device_without_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device(None) == choose_device("cpu") == CPU
    with pytest.raises(SetupError, match=r"cannot use a GPU as cuda:1: .+"):
        choose_device("cuda:1")


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="a stand-in of nvidia-smi in sh")
def test_choose_device_never_takes_the_cpu_beside_a_card_that_it_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="cannot use NVIDIA GeForce RTX 4090: "):
        choose_device(None)
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("capability", "problem"),
    [((7, 5), "no bfloat16"), ((8, 6), None), ((8, 9), None), ((9, 0), None), ((12, 0), "no kernels")],
)
def test_require_kind_names_a_card_that_cannot_train(
    capability: tuple[int, int], problem: str | None
) -> None:
    built_for = ["sm_75", "sm_80", "sm_86", "sm_90a"]
    if problem is None:
        require_kind("NVIDIA X", capability, built_for)
        return
    with pytest.raises(SetupError, match=problem):
        require_kind("NVIDIA X", capability, built_for)
    if capability == (12, 0):  # the driver compiles for newer cards what is there as source
        require_kind("NVIDIA X", capability, [*built_for, "compute_90"])


def test_compute_device_names_a_cpu_and_its_threads() -> None:
    here = compute_device(CPU)
    assert here.kind.startswith("cpu ") and here.threads == torch.get_num_threads()
