"""Text from outside in the demo's output: shown literally, never as markup or control sequences."""

import io

import pytest
from rich.console import Console

from flockoff.demo.result import DemoResult, DemoRow
from flockoff.demo.show import show_result
from flockoff.demo.stage import Stage
from flockoff.errors import Reason

HOSTILE = [
    "[red]red[/red]",
    "[/no such tag]",
    "\\[/dim]",
    "\\",
    "[link=http://evil]here[/link]",
    "\x1b[2J\x07\u202e",
]


def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, highlight=False, width=200)


def shown_by(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_stage_shows_a_programs_message_as_it_is_spelled(text: str) -> None:
    terminal = console()
    with Stage(terminal).step("Mining") as step:
        step.show(text)
    assert step.detail.isprintable()
    assert step.detail == text or not text.isprintable()
    assert f"Mining {step.detail}" in shown_by(terminal)


@pytest.mark.parametrize("text", HOSTILE)
def test_result_shows_a_verdicts_detail_as_it_is_spelled(text: str) -> None:
    row = DemoRow(
        uid=1,
        hotkey="5" * 48,
        miner="miner1",
        dataset="good",
        repo_id="miner1/good",
        loss=None,
        win_rate=None,
        weight=0.0,
        incentive=0.0,
        standing="at_fault",
        reason=Reason.UNKNOWN_KEY,
        detail=f"The key {text} is unknown.",
    )
    terminal = console()
    show_result(
        terminal,
        DemoResult(rows=(row,), base_loss=1.0, epoch=1, seed=1, weights_block=1, seconds=1.0, failures=()),
    )
    [line] = [line for line in shown_by(terminal).splitlines() if line.startswith("uid 1:")]
    assert line.rstrip().isprintable()
    assert "unknown." in line
    if text.isprintable():
        assert text in line
