import json
from pathlib import Path

import pytest

from flockoff.competition import BaseModel
from flockoff.errors import SetupError
from flockoff.planner.model import KNOWN_SIZES, base_size, read_size

SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def written(directory: Path, config: dict[str, object]) -> Path:
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


def test_known_sizes_have_as_many_parameters_as_the_models_files() -> None:
    parameters = {repo: size.parameters for repo, size in KNOWN_SIZES.items()}
    assert parameters == {
        "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
        "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    }


def test_read_size_of_a_config_file_is_the_known_one(tmp_path: Path) -> None:
    assert read_size(written(tmp_path, SMOLLM2)) == KNOWN_SIZES["HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_read_size_without_grouped_keys_or_tied_head_counts_them(tmp_path: Path) -> None:
    config = {name: value for name, value in SMOLLM2.items() if name != "num_key_value_heads"}
    size = read_size(written(tmp_path, config | {"tie_word_embeddings": False, "head_dim": 32}))
    assert (size.key_value_heads, size.attention_width, size.tied) == (9, 288, False)
    assert size.parameters > 2 * 49152 * 576


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**SMOLLM2, "model_type": "mamba"}, "mamba"),
        ({"model_type": "llama"}, "num_attention_heads"),
        (None, "config.json"),
    ],
)
def test_read_size_of_what_cannot_be_counted_is_refused(
    tmp_path: Path, config: dict[str, object] | None, said: str
) -> None:
    if config is not None:
        written(tmp_path, config)
    with pytest.raises(SetupError, match=said):
        read_size(tmp_path)


def test_base_size_of_an_unknown_model_says_how_to_give_it() -> None:
    with pytest.raises(SetupError) as raised:
        base_size(BaseModel(repo="ann/model", revision="0" * 40))
    assert "--model-dir" in raised.value.remedy
