"""Has Python compile, beside everything else, what a fresh installation has not compiled yet."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from flockoff.training.environment import current_environment

_IMPORTS = "flockoff.training.session"  # what an evaluation worker needs


@contextmanager
def compiled_ahead() -> Iterator[None]:
    """Within it another process imports what the evaluation worker will, unless Python has compiled that.

    Python compiles a library when it is imported for the first time, and stores the result beside it. For
    PyTorch and what comes with it that takes half a minute, in which the worker would keep everybody waiting.
    """
    if sys.dont_write_bytecode or _is_compiled("torch"):
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-c", f"import {_IMPORTS}"],
        env=current_environment("cpu"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as importing:
        try:
            yield
        finally:
            importing.kill()  # nothing is lost: each library is stored as soon as it is compiled


def _is_compiled(library: str) -> bool:
    spec = find_spec(library)
    return spec is None or spec.origin is None or Path(cache_from_source(spec.origin)).exists()
