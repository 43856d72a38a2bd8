"""The GPU bench runs to completion on any device."""

import json
from pathlib import Path

import pytest

from tests.bench import bench_card

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_bench_card_runs_on_a_cpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_card, "peak", lambda kind, device: 1e11)  # its products would take a minute
    file = tmp_path / "card.json"
    assert bench_card.main(["--device", "cpu", "--tiny", "--repeats", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["failed"] == [] and found["again"]["same"] and found["again"]["recomputed"] < 1e-4
    assert [one["tokens"] for one in found["speed"]] == [16, 24]
