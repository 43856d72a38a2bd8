"""For the tests that kill: they need fork and SIGKILL, so not Windows."""

import sys

import pytest

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-step",
        action="store_true",
        help="crash at every step and every request, not only where something is written",
    )


@pytest.fixture(scope="session")
def every_step(request: pytest.FixtureRequest) -> bool:
    """Whether nothing is left out. The option is known where this folder is named on the command line."""
    return bool(request.config.getoption("--every-step", default=False))
