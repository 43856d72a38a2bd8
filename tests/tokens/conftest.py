from pathlib import Path

import pytest

from tests.support.small_qwen import qwen_template, write_model


@pytest.fixture(scope="session")
def qwen_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("qwen"), qwen_template())
