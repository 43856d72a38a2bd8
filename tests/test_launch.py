"""How programs end, in real processes with real signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flockoff.errors import SetupError
from flockoff.launch import require_installed

PROGRAM = """
import logging, os, sys, threading, time
import flockoff.launch
from flockoff.errors import Interrupted, SetupError, UsageError
from flockoff.launch import run
from flockoff.logs import set_up_logging

def waits(stop):
    print("ready", flush=True)
    if not stop.wait(3000):
        return 1
    raise Interrupted

def finishes(stop):
    print("ready", flush=True)
    stop.wait(3000)
    print("asked", flush=True)
    sys.stdin.readline()
    return 0

def deaf(stop):
    print("ready", flush=True)
    stop.wait(3000)
    print("asked", flush=True)
    time.sleep(3000)
    return 0

def deaf_in_its_end(stop):
    try:
        return deaf(stop)
    finally:
        print("ending", flush=True)
        time.sleep(3000)

def fails(stop):
    raise SetupError("The disk is gone.", remedy="Bring it back.")

def misused(stop):
    raise UsageError("That is no flag.")

def has_a_bug(stop):
    raise ZeroDivisionError("of \\x1b[31m all things")

def has_a_bug_in_a_thread(stop):
    thread = threading.Thread(target=has_a_bug, args=[stop], name="helper")
    thread.start()
    thread.join()
    return 0

def cannot_read(stop):
    open("/")

def prints_much(stop):
    for number in range(100_000):
        print(number)
    return 0

def prints_what_not_every_terminal_has(stop):
    from flockoff.launch import lenient_output
    lenient_output()
    print("5EZt7\u2026WL9N \u2588")
    return 0

def works_without_streams(stop):
    from flockoff.launch import lenient_output
    lenient_output()
    sys.stdout.write("nobody sees this")
    with open(os.devnull, "rb") as file:
        return file.fileno() <= 2 or sys.stdin.read() != ""

def works(stop):
    for number in range(100):
        logging.getLogger("flockoff").info("line %d", number)
    return 0

set_up_logging(logging.INFO, None, "program")
if sys.argv[2]:
    flockoff.launch._ECHO_SECONDS = float(sys.argv[2])
sys.exit(run(globals()[sys.argv[1]]))
"""
AT_ONCE, APART = "3000", "0"  # how signals come, however long this machine takes between two of them


def started(what: str, echo: str = "", **options: object) -> "subprocess.Popen[str]":
    """``echo``: within how many seconds two signals mean the same, where it is not the usual."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", PROGRAM, what, echo]
    return subprocess.Popen(command, text=True, **(pipes | options))  # type: ignore[call-overload, no-any-return]


def await_line(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def signalled(process: "subprocess.Popen[str]", number: signal.Signals, answer: str) -> None:
    process.send_signal(number)
    await_line(process, answer)


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [("fails", 1, "The disk is gone. Bring it back."), ("misused", 2, "That is no flag.")],
)
def test_program_that_fails_ends_with_the_status_and_one_line(what: str, status: int, said: str) -> None:
    with started(what) as process:
        _, error = process.communicate(timeout=300)
    assert process.returncode == status
    assert error.endswith(f" ERROR   {said}\n")
    assert error.count("\n") == 1


def test_program_with_a_bug_says_where_to_report_it_before_the_traceback() -> None:
    with started("has_a_bug") as process:
        _, error = process.communicate(timeout=300)
    assert process.returncode == 70
    first, *rest = error.splitlines()
    assert "This is a bug: please report it at https://" in first
    assert all(line.startswith("    | ") for line in rest)
    assert rest[-1] == r"    | ZeroDivisionError: of \x1b[31m all things"


def test_program_with_a_bug_in_a_thread_says_so_in_the_log() -> None:
    with started("has_a_bug_in_a_thread") as process:
        _, error = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "ERROR   A bug has ended thread helper" in error
    assert error.endswith("    | ZeroDivisionError: of \\x1b[31m all things\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_program_asked_to_stop_ends_itself(name: str) -> None:
    # These tests themselves may run under nohup, which the program would take over.
    with started("waits", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)) as process:
        await_line(process, "ready")
        process.send_signal(signal.Signals[name])
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in error


def test_program_asked_twice_at_once_finishes_what_it_is_at() -> None:
    with started("finishes", AT_ONCE, stdin=subprocess.PIPE) as process:
        await_line(process, "ready")
        signalled(process, signal.SIGINT, "asked")
        process.send_signal(signal.SIGTERM)
        process.communicate("go on\n", timeout=300)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_asked_again_is_interrupted_where_it_is(number: signal.Signals) -> None:
    with started("deaf", APART) as process:
        await_line(process, "ready")
        signalled(process, signal.SIGTERM, "asked")
        process.send_signal(number)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in error


@pytest.mark.slow
def test_program_asked_a_third_time_does_not_even_clean_up() -> None:
    with started("deaf_in_its_end", APART) as process:
        await_line(process, "ready")
        signalled(process, signal.SIGTERM, "asked")
        signalled(process, signal.SIGTERM, "ending")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM


def test_program_under_nohup_outlives_its_terminal() -> None:
    ignores = {"stdin": subprocess.PIPE, "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with started("finishes", APART, **ignores) as process:
        await_line(process, "ready")
        process.send_signal(signal.SIGHUP)  # were it a request, the next one would interrupt
        signalled(process, signal.SIGTERM, "asked")
        process.communicate("go on\n", timeout=300)
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(("what", "status"), [("works", 0), ("fails", 1), ("has_a_bug", 70)])
def test_program_whose_messages_go_to_a_full_disk_ends_as_otherwise(what: str, status: int) -> None:
    with Path("/dev/full").open("w") as full, started(what, stderr=full) as process:
        process.communicate(timeout=300)
    assert process.returncode == status


@pytest.mark.parametrize(("what", "status"), [("works", 0), ("fails", 1), ("has_a_bug", 70)])
def test_program_without_a_terminal_ends_as_otherwise(what: str, status: int) -> None:
    with started(what, stderr=None, preexec_fn=lambda: os.close(2)) as process:
        process.communicate(timeout=300)
    assert process.returncode == status


def test_program_without_any_stream_ends_as_otherwise() -> None:
    with started("works_without_streams", preexec_fn=lambda: os.closerange(0, 3)) as process:
        process.communicate(timeout=300)
    assert process.returncode == 0


def test_program_whose_terminal_goes_away_goes_on() -> None:
    with started("works") as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(300) == 0


def test_require_installed_names_what_is_missing_and_how_to_get_it() -> None:
    require_installed("json", "numpy")
    with pytest.raises(SetupError, match=r"no_such_module.*uv sync"):
        require_installed("json", "no_such_module")


def test_run_file_that_cannot_be_used_is_one_line_with_a_remedy() -> None:
    process = started("cannot_read")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Cannot use /: Is a directory. Give a file; this is a folder." in said
    assert "bug" not in said and "Traceback" not in said


def test_run_reader_that_closes_the_pipe_is_no_bug() -> None:
    process = started("prints_much")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(300), said) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_run_full_disk_behind_stdout_is_one_line_with_a_remedy() -> None:
    with Path("/dev/full").open("w") as full:
        process = started("prints_much", stdout=full)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "No space left on device" in said and "The disk is full" in said
    assert "bug" not in said and "Traceback" not in said and "Exception ignored" not in said


def test_run_terminal_that_is_not_utf8_is_no_bug() -> None:
    process = started(
        "prints_what_not_every_terminal_has",
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    said, errors = process.communicate(timeout=300)
    assert (process.returncode, said, errors) == (0, "5EZt7\\u2026WL9N \\u2588\n", "")
