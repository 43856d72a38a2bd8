from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arena import Arena, running_arena

MINERS = 4
TEMPO = 400


@pytest.fixture
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    """``indirect`` parameters give another tempo."""
    with running_arena(tmp_path, miners=MINERS, tempo=getattr(request, "param", TEMPO)) as one:
        yield one
