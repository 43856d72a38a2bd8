import sys
from pathlib import Path

import psutil
import pytest

from flockoff.demo.ahead import compiled_ahead


def importing() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children()
        if any("flockoff.training.session" in part for part in process.cmdline())
    ]


def test_what_was_never_compiled_is_imported_by_a_process_that_does_not_outlive_the_demo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))  # where nothing is yet
    with compiled_ahead():
        [process] = importing()
    assert not process.is_running()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with compiled_ahead():
        assert importing() == []
