"""How programs end, in real processes with real signals."""

import signal
import subprocess
import sys

import pytest

from flockoff.errors import SetupError
from flockoff.launch import require_installed

PROGRAM = """
import sys, threading
from flockoff.errors import Interrupted, SetupError, UsageError
from flockoff.launch import run

def waits(stop):
    print("ready", flush=True)
    if not stop.wait(30):
        return 1
    raise Interrupted

def fails(stop):
    raise SetupError("The disk is gone.", remedy="Bring it back.")

def misused(stop):
    raise UsageError("That is no flag.")

sys.exit(run({"waits": waits, "fails": fails, "misused": misused, "works": lambda stop: 0}[sys.argv[1]]))
"""


def started(what: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [("works", 0, ""), ("fails", 1, "The disk is gone. Bring it back."), ("misused", 2, "That is no flag.")],
)
def test_program_ends_with_the_status_and_one_line(what: str, status: int, said: str) -> None:
    with started(what) as process:
        _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert error.strip() == said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_asked_to_stop_ends_itself(number: signal.Signals) -> None:
    with started("waits") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, error = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in error


def test_require_installed_names_what_is_missing_and_how_to_get_it() -> None:
    require_installed("json", "numpy")
    with pytest.raises(SetupError, match=r"no_such_module.*uv sync"):
        require_installed("json", "no_such_module")
