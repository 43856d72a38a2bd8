from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a dataset's bytes; returns its path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "data.jsonl"
        path.write_bytes(content)
        return path

    return write
