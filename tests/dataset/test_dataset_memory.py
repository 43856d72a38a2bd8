"""The worst files of tests/bench/bench_check.py, with a real tokenizer in a separate process."""

import sys
from pathlib import Path

import pytest

from tests.support.hostile_files import write_file
from tests.support.lone_check import MIB, check_alone
from tests.support.small_qwen import qwen_template, write_model

pytestmark = pytest.mark.slow

BAR = 200 * MIB  # above the idle process

WORST = {
    "ligatures that normalise to 18 letters, long rows": "valid",
    "emoji families, long rows": "valid",
    "brackets in strings": "too_many_tokens",
    "empty lists": "not_an_object",
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), qwen_template())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read from /proc")
@pytest.mark.parametrize(("kind", "verdict"), WORST.items())
def test_judge_dataset_worst_files_stay_within_the_memory_bar(
    tmp_path: Path, model_dir: Path, kind: str, verdict: str
) -> None:
    file = tmp_path / "data.jsonl"
    write_file(file, kind, 4 * MIB)
    check = check_alone(model_dir, file, 4)
    assert check.verdict == verdict
    assert 0 < check.peak_bytes < BAR
