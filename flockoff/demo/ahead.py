"""Compiles a fresh installation's libraries in the background."""

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
    """Within this context another process imports what the evaluation worker needs, unless that is compiled
    already.

    Python compiles a library on its first import and keeps the result. For PyTorch and its dependencies that
    takes half a minute, during which everyone would wait for the worker.
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
