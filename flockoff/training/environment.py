"""What the processes that run a base model inherit from the one that starts them: no secrets."""

import os
from collections.abc import Mapping

from flockoff.errors import UsageError

_NAMES = frozenset(
    [
        *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
        *("TEMP", "TMP", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "NUMBER_OF_PROCESSORS"),
        *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"),  # how to be let in, not the token
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
    "CONDA_",
)
_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
    # Threads that sleep at once cost a sixth of an idle machine's speed, those that wait for long half of a
    # busy one's: this is a fraction of a millisecond.
    "GOMP_SPINCOUNT": "30000",
    # What a step frees, the next one needs: given back to the kernel, it is zeroed anew each time.
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only with a workspace of its own
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
}


def scrubbed_environment(parent: Mapping[str, str], device: str | None = None) -> dict[str, str]:
    """The part of ``parent`` that a computation needs, offline, with one device in sight.

    An allowlist: tokens, wallet variables and passwords are not on it, whatever they are called.
    Raises UsageError for a ``device`` that is not "cpu", "cuda" or "cuda:N".
    """
    kept = {
        name: value
        for name, value in parent.items()
        if name.upper() in _NAMES or name.upper().startswith(_PREFIXES)
    }
    return _SETTINGS | kept | _visible_devices(parent, device)


def current_environment(device: str | None = None) -> dict[str, str]:
    """``scrubbed_environment`` of this process."""
    return scrubbed_environment(os.environ, device)


def _visible_devices(parent: Mapping[str, str], device: str | None) -> dict[str, str]:
    """One GPU at most: with several in sight, transformers would spread each batch over all of them."""
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    kind, _, index = ("cuda" if device is None else device).partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        raise UsageError(f"Unknown device {device!r}.", remedy="Use cpu, cuda, or cuda:N for the N-th GPU.")
    visible = parent.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {"CUDA_VISIBLE_DEVICES": index or "0"}
    names = [name for name in visible.split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": names[int(index or 0)] if int(index or 0) < len(names) else ""}
