import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


def test_plan_of_a_4090_tells_time_cards_memory_and_sources(command: Callable[..., Result]) -> None:
    said = command("plan", "--miners", "32", "--rows", "10000", "--gpu", "4090").stdout
    assert "32 datasets of 10,000 rows of 256 tokens, 2 passes, Qwen/Qwen2.5-1.5B-Instruct" in said
    assert re.search(r"4090 +165.2 +\d+ min \d\d s +\d+ of 32", said)
    assert "40% of each GPU's peak" in said and "NVIDIA, Ada GPU Architecture" in said
    assert "3090" not in said


def test_plan_without_a_card_shows_all(command: Callable[..., Result]) -> None:
    said = command("plan").stdout
    assert all(name in said for name in ("3060", "3090", "4080", "4090", "5090", "L40S", "A100", "H100"))


def test_plan_for_other_hardware_goes_by_its_peak(command: Callable[..., Result]) -> None:
    options = ("plan", "--rows", "1000", "--memory", "24", "--json")
    slow, fast = (
        json.loads(command(*options, "--tflops", str(peak)).stdout)["plans"][0]["seconds"]
        for peak in (50, 100)
    )
    assert slow == pytest.approx(2 * fast)


def test_plan_for_another_competition_reads_the_models_sizes(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    base = f'[base_model]\nrepo = "ann/tiny"\nrevision = "{"0" * 40}"\n'
    rules.write_text(f"{base}[training]\nepochs = 1\n", encoding="utf-8")
    refused = command("plan", "--competition", str(rules))
    assert refused.exit_code == 1 and "--model-dir" in refused.output
    config = {
        "model_type": "qwen2",
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    said = command("plan", "--competition", str(rules), "--model-dir", str(tmp_path)).stdout
    assert "1 pass, ann/tiny" in said


def test_plan_of_an_unknown_card_ends_with_the_known(command: Callable[..., Result]) -> None:
    result = command("plan", "--gpu", "Voodoo")
    assert result.exit_code == 2 and "4090" in result.output
