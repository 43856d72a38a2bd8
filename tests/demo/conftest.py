from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """Where converted base models are kept between test runs."""
    assert request.config.cache is not None
    return request.config.cache.mkdir("models")
