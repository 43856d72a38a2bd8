"""A few epochs of tests/bench/soak.py."""

import sys
from pathlib import Path

import pytest

from tests.support.arena import running_arena
from tests.support.soak_run import TEMPO, Soak

pytestmark = pytest.mark.slow

EPOCHS = 8


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be counted there")
def test_validator_over_many_epochs_sets_all_weights_and_takes_no_more_and_more(tmp_path: Path) -> None:
    with running_arena(tmp_path, miners=16, tempo=TEMPO, block_seconds=0.05) as arena:
        soak = Soak(arena, keep_epochs=3, cached=32, changes=3)
        soak.submit_all()
        samples = list(soak.play(EPOCHS))
        said = soak.log.read_text(encoding="utf-8")
    assert [sample.weights_set for sample in samples] == list(range(1, EPOCHS + 1))
    assert "ERROR" not in said
    warnings = [line for line in said.splitlines() if "WARNING" in line]
    assert all(" is in memory (" in line for line in warnings)  # as this run's temporary folder may be
    early, late = samples[1 : EPOCHS // 2], samples[EPOCHS // 2 :]
    # Connections and threads come and go: what is left over from each epoch would be many more.
    assert max(each.files for each in late) <= max(each.files for each in early) + 2
    assert max(each.threads for each in late) <= max(each.threads for each in early) + 3
    assert "Stopped on request. A restart continues where it left off." in said
    assert said.rstrip().endswith("The validator has ended.")
