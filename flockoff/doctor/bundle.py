"""A diagnostic bundle for bug reports: one text without secrets.

Whatever comes in, from files or from the environment, is only looked at as text and masked at the end, all at
once: what is a secret here, what has a secret's name, and what has a secret's form.
"""

import importlib.metadata
import json
import os
import platform
import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from flockoff import __version__
from flockoff.competition import Competition, competition_hash
from flockoff.doctor.finding import Finding
from flockoff.errors import FlockoffError
from flockoff.ledger import Ledger
from flockoff.text import HIDDEN, SECRET_CHARACTERS, printable, secrets_in, without

_PACKAGES = (
    *("bittensor", "huggingface_hub", "httpx2", "numpy", "tokenizers", "prometheus-client", "apprise"),
    *("torch", "transformers", "peft", "trl", "accelerate", "safetensors", "ray", "wandb"),
)
_STEERING = re.compile(
    r"^(HF_|BT_|FLOCKOFF_|WANDB_|CUDA_|NVIDIA_|RAY_|PYTORCH_|OMP_|SSL_)|PROXY$|^(HOME|LANG)$", re.I
)
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|_PW|PWD_|AUTH|CREDENTIAL|MNEM|SEED|COOKIE|ALERT", re.I)
_NOT_SECRET = re.compile(r"TOKENIZERS_PARALLELISM|SSH_AUTH_SOCK|KEYBOARD", re.I)
# Forms that secrets have. Group 1, which stays, is what comes before the secret.
_FORMS = (
    re.compile(r"()\bhf_[A-Za-z0-9]{6,}"),
    re.compile(r"(://)[^\s/@]+(?=@)"),
    re.compile(r"(?i)(bearer\s+)\S+"),
    re.compile(r"(?i)((?:token|api_?key|password|passwd|secret)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',]+"),
    re.compile(r"(?i)(mnem\w*\W+)\S[^\n]*"),  # a wallet's words
)
_LOG_LINES = 200
_LINE_CHARACTERS = 2000
_TAIL_BYTES = 2**20
_EPOCHS = 10


def secrets_around(environ: Mapping[str, str], env_files: Sequence[Path] = ()) -> frozenset[str]:
    """What the environment and ``.env`` files hold under the name of a secret, or inside an address."""
    found: set[str] = set()
    pairs = [*environ.items()]
    for file in env_files:
        for line in _text(file).splitlines():
            name, equals, value = line.partition("=")
            if equals:
                pairs.append((name.removeprefix("export ").strip(), value.strip().strip("'\"")))
    for name, value in pairs:
        if _SECRET_NAME.search(name) and not _NOT_SECRET.search(name):
            found |= {value, *value.split()}
            found = found.union(*(secrets_in(each) for each in value.split()))
        elif "://" in value:
            found |= secrets_in(value)
    return frozenset(each for each in found if len(each) >= SECRET_CHARACTERS)


def bundle(
    findings: Collection[Finding],
    *,
    role: str,
    settings: Mapping[str, object],
    competition: Competition,
    ledger: Path,
    log_dir: Path | None,
    secrets: Collection[str],
) -> str:
    """The full text. ``settings``: from the flags. Unreadable parts become lines in it, not errors."""
    sections = {
        f"flockoff {__version__} as a {role}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC": _versions(),
        "Findings": (f"[{each.state}] {each.subject}: {each.found} {each.remedy}" for each in findings),
        "Settings": (f"{name}: {value}" for name, value in settings.items()),
        "Competition": [f"{competition.id}, rules {competition_hash(competition)}"],
        # Never their values: what steers is known by its name, and a value may be anything.
        "Set in the environment": sorted(name for name in os.environ if _STEERING.search(name)),
        "Ledger": _ledger(ledger),
        "Last lines of the log": _log(log_dir),
    }
    lines: list[str] = []
    for heading, content in sections.items():
        lines += [f"## {heading}", "", *(printable(line, _LINE_CHARACTERS) for line in content), ""]
    return masked("\n".join(lines), secrets, home=os.environ.get("HOME", ""))


def masked(text: str, secrets: Collection[str], *, home: str = "") -> str:
    """``text`` without ``secrets`` and without what has a secret's form; the home folder is a tilde."""
    for form in _FORMS:
        text = form.sub(rf"\g<1>{HIDDEN}", text)
    text = without(text, secrets)
    return text.replace(home, "~") if len(home) > 1 else text


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()} on {platform.platform()}"
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} is not installed"


def _ledger(path: Path) -> Iterator[str]:
    if not path.exists():
        yield f"There is none in {path.parent}."
        return
    try:
        with Ledger.look(path) as ledger:
            identity, epochs = ledger.identity(), ledger.views.epochs(_EPOCHS)
            verdicts = ledger.views.leaderboard() if epochs else []
    except FlockoffError as error:
        yield f"It cannot be read: {error}"
        return
    yield f"{path.stat().st_size:,} bytes; {json.dumps(asdict(identity))}"
    for epoch in epochs:
        yield json.dumps(asdict(epoch))
    counts = Counter(str(each.reason or each.standing or "no turn") for each in verdicts)
    yield "Verdicts of the last closed epoch: " + json.dumps(dict(counts.most_common()))


def _log(directory: Path | None) -> Iterator[str]:
    if directory is None:
        yield "Not looked at: give --logging.logging_dir, where the neuron has one."
        return
    files = sorted(directory.glob("*.log"))
    if not files:
        yield f"There are no *.log in {directory}."
    for file in files:
        yield f"### {file.name}"
        yield from deque(_text(file).splitlines(), maxlen=_LOG_LINES)


def _text(file: Path) -> str:
    """The end of a text file, or the error that prevents reading it."""
    try:
        with file.open("rb") as content:
            content.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            return content.read(_TAIL_BYTES).decode("utf-8", errors="backslashreplace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"It cannot be read: {error.strerror}."
