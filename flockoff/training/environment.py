"""The environment of processes that run a base model: no secrets."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from itertools import takewhile

from flockoff.errors import UsageError

_NAMES = frozenset(
    [
        *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        "CC",  # Triton compiles its kernel launchers with it
        *("HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
        *("TEMP", "TMP", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS"),
        *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"),  # how to authenticate, not the token
        "RAY_CLIENT_RECONNECT_GRACE_PERIOD",
        *("USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "DYLD_LIBRARY_PATH"),
    ]
)
_PREFIXES = (
    "LC_",
    "OMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "KMP_",
    "ATEN_",
    "CUDA_",
    "NVIDIA_",
    "PYTORCH_",
    "TRITON_",
    "CONDA_",
)
_NVIDIA_SMI_SECONDS = 30.0
_LIBRARIES = ("torch", "transformers", "peft", "trl", "tokenizers")
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    # Spinning not at all costs a sixth of the speed on an idle machine, spinning long half of it on a busy
    # one: this is a fraction of a millisecond.
    "GOMP_SPINCOUNT": "30000",
    # Keep freed memory: the next step needs it, and the kernel would zero it each time.
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a fixed workspace
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # cuda:N is nvidia-smi's N
    "TRITON_DEFAULT_FP_FUSION": "1",  # a changed default would move the last digits
    # Below `uv run`, Ray would send the working folder, .env included, to the nodes and build it there.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}


def library_versions() -> dict[str, str]:
    """The versions, here, of what moves a loss's last digits: Python and the libraries, by name."""
    return {name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()}


def scrubbed_environment(parent: Mapping[str, str], device: str | None = None) -> dict[str, str]:
    """The part of ``parent`` that a computation needs, offline, with one device visible.

    An allowlist, so tokens, wallet variables and passwords never pass, whatever their names.
    Raises UsageError for a ``device`` that is not "cpu", "cuda" or "cuda:N".
    """
    kept = {
        name: value
        for name, value in parent.items()
        if name.upper() in _NAMES or name.upper().startswith(_PREFIXES)
    }
    return _SETTINGS | _allocator(kept) | kept | _visible_devices(parent, device)


def _allocator(given: Mapping[str, str]) -> dict[str, str]:
    """On Linux, let PyTorch's GPU memory grow in place: passes of many sizes then do not fragment it."""
    if sys.platform != "linux" or "PYTORCH_CUDA_ALLOC_CONF" in given:  # the old name, still honoured
        return {}
    return {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def current_environment(device: str | None = None) -> dict[str, str]:
    """``scrubbed_environment`` of this process."""
    return scrubbed_environment(os.environ, device)


def installed_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of all GPUs that NVIDIA's driver reports; empty without the driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],
            env=scrubbed_environment(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_NVIDIA_SMI_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in lines)


def check_device(device: str | None) -> None:
    """Raises UsageError for a ``device`` that is not None, "cpu", "cuda" or "cuda:N"."""
    kind, colon, index = (device if device is not None else "cuda").partition(":")
    if device != "cpu" and (kind != "cuda" or (colon and not index.isdecimal())):
        raise UsageError(f"Unknown device {device!r}.", remedy="Use cpu, cuda, or cuda:N for the N-th GPU.")


def gpu_index(device: str | None) -> int:
    """Which of the visible GPUs ``device`` is; the first one unless it says otherwise."""
    return int((device or "").partition(":")[2] or 0)


def visible_names(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` makes visible: those before the first invalid one. None where
    it is not set, so that all are.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    names = (name.strip() for name in listed.split(","))
    return tuple(takewhile(lambda name: name and not name.startswith("-"), names))


def _visible_devices(parent: Mapping[str, str], device: str | None) -> dict[str, str]:
    """At most one GPU: transformers would spread each batch over all visible ones."""
    check_device(device)
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    index, names = gpu_index(device), visible_names(parent)
    if names is None:
        return {"CUDA_VISIBLE_DEVICES": str(index)}
    return {"CUDA_VISIBLE_DEVICES": names[index] if index < len(names) else ""}
