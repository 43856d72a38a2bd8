"""The machine itself: Python, packages, memory, disk, the base model on it."""

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import psutil

from flockoff.competition import Competition
from flockoff.doctor.finding import Finding, State
from flockoff.hub import cached_base_model
from flockoff.ledger.filesystem import REMEDY, Mount, weakness

GB = 1e9
_PYTHON = ((3, 11), (3, 14))  # pyproject.toml's requires-python: from, and below
_TRAINING = ("torch", "transformers", "peft", "trl")
_RAM_GB = {"validator": 16, "miner": 8}
_DISK_GB = {"validator": 50, "miner": 10}
_TOLERANCE = 0.9  # of the README's requirement: "16 GB" of memory is often less than 16e9 bytes


def python() -> Iterator[Finding]:
    first, below = _PYTHON
    good = first <= sys.version_info[:2] < below
    remedy = "" if good else "Run: uv python install 3.12 && uv sync --python 3.12"
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", "good" if good else "bad", found, remedy)


def packages(role: str) -> Iterator[Finding]:
    missing = [name for name in _TRAINING if importlib.util.find_spec(name) is None]
    if not missing:
        found = ", ".join(f"{name} {version(name)}" for name in ("bittensor", *_TRAINING))
        yield Finding("packages", "good", found)
    elif role == "miner":
        yield Finding(
            "packages", "good", f"bittensor {version('bittensor')}; none for training, as a miner needs"
        )
    else:
        yield Finding("packages", "bad", f"{', '.join(missing)} not installed", "Run: uv sync")


def memory(role: str) -> Iterator[Finding]:
    total, needed = psutil.virtual_memory().total / GB, _RAM_GB[role]
    short = total < _TOLERANCE * needed
    remedy = f"A {role} wants {needed} GB; with less, keep other programs off this machine." if short else ""
    yield Finding("memory", "doubtful" if short else "good", f"{total:.0f} GB", remedy)


def disk(role: str, folders: dict[str, Path]) -> Iterator[Finding]:
    """``folders``: by content; they need not exist yet."""
    for what, folder in folders.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free, needed = shutil.disk_usage(there).free / GB, _DISK_GB[role]
        state: State = "good"
        remedy = ""
        if free < 2:
            state, remedy = "bad", f"Free some space; a {role} wants {needed} GB."
        elif free < _TOLERANCE * needed:
            state = "doubtful"
            remedy = f"A {role} wants {needed} GB; give a validator's datasets less with --max_disk_gb."
        yield Finding(f"disk for {what}", state, f"{free:.0f} GB free at {folder}", remedy)


def ledger_folder(folder: Path, mounts: Iterable[Mount]) -> Iterator[Finding]:
    """Whether SQLite can keep a ledger safe where ``folder`` is; it need not exist yet."""
    if weak := weakness(folder, mounts):
        yield Finding("ledger and datasets", "doubtful", f"{folder} {weak}", REMEDY)


def base_model(competition: Competition, cache_dir: Path, role: str) -> Iterator[Finding]:
    base, only = competition.base_model, role == "miner"
    name = base.repo if base.package is None else f"{base.gguf_file} of the package {base.package}"
    if base.package is not None:
        good = importlib.util.find_spec(base.package) is not None
        yield Finding(
            "base model", "good" if good else "bad", name, "" if good else "Run: uv sync --all-groups"
        )
        return
    here = cached_base_model(base, cache_dir, tokenizer_only=only) is not None
    what = "tokenizer" if only else "model and tokenizer"
    found = f"{what} of {name} {'is here' if here else 'will be downloaded at the first start'}"
    yield Finding("base model", "good", found)
