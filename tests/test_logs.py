"""The form of log lines, whatever is logged and wherever it goes."""

import json
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from flockoff.logs import Entry, event, read_entry, set_up_logging

EVENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +\S")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n2026-01-01 00:00:00,000 INFO    all is well\x9b31m\u202e\u2028\ud800"

log = logging.getLogger("flockoff.test")


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], str]]:
    """Gives all that the terminal has shown since the last look; logging is as before when the test ends."""
    root, ours = logging.getLogger(), logging.getLogger("flockoff")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    root.handlers = []
    yield lambda: capsys.readouterr().err
    for handler in root.handlers:
        with suppress(OSError):  # of a full disk
            handler.close()
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


def lines_of(text: str) -> list[str]:
    assert all(line.isprintable() for line in text.split("\n"))
    return text.splitlines()


def test_log_hostile_text_stays_within_its_line(terminal: Callable[[], str]) -> None:
    set_up_logging(logging.INFO, None, "test")
    log.info("uid %d: %s", 7, HOSTILE)
    logging.getLogger("some.library").warning(HOSTILE)
    lines = lines_of(terminal())
    assert len(lines) == 2
    assert all(EVENT.match(line) for line in lines)
    assert r"uid 7: \x1b]0;owned\x07\x1b[2J\x0d\x0a2026" in lines[0]
    assert lines[0].endswith(r"well\x9b31m\u202e\u2028\ud800")


def test_log_hostile_exception_cannot_pass_for_an_event(terminal: Callable[[], str]) -> None:
    set_up_logging(logging.INFO, None, "test")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("It failed.", stack_info=True)
    first, *rest = lines_of(terminal())
    assert first.endswith("It failed.")
    assert len(rest) > 5
    assert all(line.startswith("    | ") for line in rest)


def test_log_secrets_are_hidden_in_messages_and_tracebacks(terminal: Callable[[], str]) -> None:
    set_up_logging(logging.INFO, None, "test", {"hf_secret", "hf_secret_longer"})
    try:
        raise ValueError("refused hf_secret")
    except ValueError:
        log.exception("for %s and %s", "hf_secret_longer", {"token": "hf_secret"})
    shown = terminal()
    assert "for *** and {'token': '***'}" in shown
    assert "ValueError: refused ***" in shown
    assert "hf_secret" not in shown


def test_log_endless_line_is_cut(terminal: Callable[[], str]) -> None:
    set_up_logging(logging.INFO, None, "test")
    log.info("x" * 10**7)
    assert len(terminal()) < 11_000


def test_log_message_that_cannot_be_formed_is_not_dumped_on_the_terminal(terminal: Callable[[], str]) -> None:
    set_up_logging(logging.INFO, None, "test")
    log.info("%d rows", HOSTILE)
    assert terminal() == ""


def test_log_file_has_the_same_lines(terminal: Callable[[], str], tmp_path: Path) -> None:
    set_up_logging(logging.INFO, tmp_path / "new" / "folder", "test", {"hf_secret"})
    log.info("%s hf_secret", HOSTILE)
    written = (tmp_path / "new" / "folder" / "test.log").read_text(encoding="utf-8")
    assert written == terminal()
    assert len(lines_of(written)) == 1


def test_log_file_that_cannot_be_opened_is_said_once_and_tried_again(
    terminal: Callable[[], str], tmp_path: Path
) -> None:
    obstacle = tmp_path / "logs"
    obstacle.write_text("a file where the folder should be", encoding="utf-8")
    set_up_logging(logging.INFO, obstacle, "test")
    for number in range(3):
        log.info("line %d", number)
    lines = lines_of(terminal())
    assert len(lines) == 4
    assert "logs/test.log cannot be written" in lines[1].replace("\\", "/")
    obstacle.unlink()
    log.info("line 3")
    assert (obstacle / "test.log").read_text(encoding="utf-8").endswith("line 3\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_log_file_on_a_full_disk_is_said_once(terminal: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "test.log").symlink_to("/dev/full")
    set_up_logging(logging.INFO, tmp_path, "test")
    for number in range(1000):
        log.info("line %d", number)
    lines = lines_of(terminal())
    assert len(lines) == 1001
    assert "No space left" in lines[1]


def test_log_json_line_has_the_event_and_its_fields(terminal: Callable[[], str], tmp_path: Path) -> None:
    set_up_logging(logging.INFO, tmp_path, "test", {"hf_secret"}, as_json=True)
    about = event("verdict", uid=7, loss=0.1, rate=math.inf, detail="hf_secret", reason=None)
    log.warning("uid %d: %s", 7, HOSTILE, extra=about)
    try:
        raise ValueError(f"hf_secret {HOSTILE}")
    except ValueError:
        log.exception("It failed.")
    shown = terminal()
    assert (tmp_path / "test.log").read_text(encoding="utf-8") == shown
    first, second = map(json.loads, lines_of(shown))
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert first == {
        "level": "warning",
        "event": "verdict",
        "message": f"uid 7: {HOSTILE}",
        "logger": "flockoff.test",
        "uid": 7,
        "loss": 0.1,
        "rate": "inf",
        "detail": "***",
        "reason": None,
    }
    assert (second["event"], second["message"]) == ("message", "It failed.")
    assert "ValueError: *** " in second["traceback"]
    assert shown.isascii()
    entries = [read_entry(line) for line in lines_of(shown)]
    assert entries == [
        Entry("verdict", f"uid 7: {HOSTILE}"),
        Entry("message", "It failed.", second["traceback"]),
    ]


@pytest.mark.parametrize(
    "line", ["", "Traceback (most recent call last):", "7", "[]", '{"event": "verdict"}']
)
def test_read_entry_line_of_another_kind_is_a_message_as_it_stands(line: str) -> None:
    assert read_entry(line) == Entry("message", line)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_log_level_is_in_colour_on_a_terminal_only(environment: dict[str, str], coloured: bool) -> None:
    import pty

    code = (
        "import logging; from flockoff.logs import set_up_logging\n"
        "set_up_logging(logging.INFO, None, 'test'); log = logging.getLogger('flockoff.test')\n"
        "log.error('\\x1b[2Jbad'); log.info('good')"
    )
    parent, child = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-c", code],
        stderr=child,
        env=plain | {"TERM": "xterm"} | environment,
        check=True,
        timeout=300,
    )
    bad, good = os.read(parent, 10_000).decode().splitlines()
    os.close(parent)
    os.close(child)
    assert ("\x1b[1;31mERROR  \x1b[0m \\x1b[2Jbad" in bad) is coloured
    assert ("\x1b[32mINFO   \x1b[0m good" in good) is coloured
    assert coloured or "\x1b" not in bad + good
