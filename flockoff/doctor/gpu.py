"""The training device."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from flockoff.competition import Competition
from flockoff.doctor.finding import Finding
from flockoff.hub import cached_base_model
from flockoff.launch import require_installed
from flockoff.training.environment import scrubbed_environment

GIB = 2**30


def device(competition: Competition, cache_dir: Path, name: str | None) -> Iterator[Finding]:
    """The device, its driver, and its memory against what the competition needs."""
    require_installed("torch", "transformers")
    from flockoff.training.examination import examine_device

    base = competition.base_model
    here = cached_base_model(base, cache_dir, tokenizer_only=False) if base.package is None else None
    seen = examine_device(name, competition, here)
    driver = _driver()
    if seen.kind == "cuda":
        yield Finding("device", "good", f"{seen.text}, CUDA {seen.cuda}, driver {driver or 'unknown'}")
        yield kernels(seen.lacks_for_kernels)
    elif driver is None:
        remedy = "A validator of FLock OFF's own competition needs an NVIDIA card with 12 GB at least."
        yield Finding("device", "doubtful", seen.text, remedy)
    else:
        remedy = "Leave out --device cpu: a validator of FLock OFF's own competition needs the card."
        yield Finding("device", "doubtful", f"{seen.text}, beside an NVIDIA driver {driver}", remedy)
    room = f"{seen.free / GIB:.1f} of {seen.total / GIB:.1f} GiB free"
    if seen.needed is None:
        yield Finding("device memory", "good", f"{room}; the need is known once the base model is downloaded")
    elif seen.needed > seen.free:
        remedy = "Close other programs on the device, or use one with more memory."
        yield Finding("device memory", "bad", f"{room}, training needs {seen.needed / GIB:.1f}", remedy)
    else:
        slow = ", with activations recomputed to fit" if seen.recomputes else ""
        yield Finding("device memory", "good", f"{room}, training needs {seen.needed / GIB:.1f}{slow}")


def kernels(lack: str | None) -> Finding:
    """Whether the fused GPU kernels can be compiled; ``lack``: what is missing."""
    if lack is None:
        return Finding("kernels", "good", "Triton and a C compiler")
    remedy = (
        "Training is several times slower without them. On Debian or Ubuntu: sudo apt install gcc libc6-dev"
    )
    return Finding("kernels", "doubtful", f"{lack} is missing for the fused GPU kernels", remedy)


def _driver() -> str | None:
    """The NVIDIA driver's version; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            asked,
            env=scrubbed_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else None
