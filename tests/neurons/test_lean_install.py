"""A miner's installation without PyTorch, in which the miner's programs work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flockoff.flags import PROJECT_ROOT
from tests.support.playground import Playground
from tests.support.tiny_model import row, write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the Bittensor SDK has no Windows build"),
]


@pytest.fixture(scope="module")
def lean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment made by the README's command for miners."""
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        pytest.skip("needs uv")
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    assert "uv sync --no-default-groups" in readme
    environment = tmp_path_factory.mktemp("lean") / "venv"
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "HOME")}
    subprocess.run(
        [uv, "sync", "--locked", "--quiet", "--no-default-groups", "--python", sys.executable],
        cwd=PROJECT_ROOT,
        env=kept | {"UV_PROJECT_ENVIRONMENT": str(environment)} | home(),
        check=True,
        timeout=400,
    )
    return environment / "bin" / "python"


def home() -> dict[str, str]:
    """The user's own, where uv keeps what it has downloaded."""
    import pwd

    return {"HOME": pwd.getpwuid(os.getuid()).pw_dir}


def test_lean_install_checks_and_rehearses_without_torch(
    playground: Playground, lean_python: Path, tmp_path: Path
) -> None:
    names = ("torch", "transformers", "datasets")
    missing = f"from importlib.util import find_spec; print([name for name in {names} if find_spec(name)])"
    assert said(lean_python, ["-c", missing], {}) == "[]\n"
    wallet = playground.subnet.miners[0]
    environment = playground.environment(playground.hub.add_user(wallet.name))
    file = tmp_path / "data.jsonl"
    write_dataset(file, [row("Hi", "Hello to you.")])
    flags = ["--competition", str(playground.competition), "--cache-dir", str(tmp_path / "cache")]
    flockoff = "from flockoff.cli import main; main()"
    assert "is valid: 1 row" in said(lean_python, ["-c", flockoff, "check", str(file), *flags], environment)
    arguments = [
        "neurons/miner.py",
        *playground.miner_arguments(0, [row("Hi", "Hello.")], "lean"),
        "--dry_run",
    ]
    assert "Dry run: nothing was changed." in said(lean_python, arguments, environment)
    refused = subprocess.run(
        [lean_python, "-c", flockoff, "score", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert refused.returncode == 1 and "Run: uv sync" in refused.stderr


def said(python: Path, arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [python, *arguments],
        cwd=PROJECT_ROOT,
        env=environment or None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
