from dataclasses import replace

import pytest
from rich.console import Console

from flockoff.demo.result import DemoResult, DemoRow, broken_promises
from flockoff.demo.show import show_result
from flockoff.errors import Reason

BASE = 2.8


def eligible(dataset: str, loss: float, win_rate: float, weight: float) -> DemoRow:
    return DemoRow(
        uid=1,
        hotkey=f"hotkey of {dataset}",
        miner=dataset,
        dataset=dataset,
        repo_id=f"a/{dataset}",
        loss=loss,
        win_rate=win_rate,
        weight=weight,
        incentive=weight,
        standing="eligible",
        reason=None,
        detail="",
    )


GOOD = eligible("good", 2.5, 1.0, 0.998)
SMALL = eligible("small", 2.6, 0.5, 0.002)
NOISE = eligible("noise", 2.9, 0.0, 0.0)
COPY = replace(
    eligible("copy", 0.0, 0.0, 0.0),
    loss=None,
    win_rate=None,
    standing="at_fault",
    reason=Reason.DUPLICATE,
    detail="The dataset is a copy of what hotkey hotkey of good committed.",
    copied=("hotkey of good",),
)


def test_demo_whose_promises_hold_has_no_failure() -> None:
    assert broken_promises([GOOD, SMALL, NOISE, COPY], BASE) == []


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        (replace(GOOD, loss=BASE), "lowers the loss"),
        (replace(GOOD, loss=2.7), "lowest loss"),
        (replace(SMALL, weight=0.999), "highest weight"),
        (replace(NOISE, loss=2.55), "noise is last"),
        (replace(NOISE, win_rate=0.75), "noise is last"),
        (replace(COPY, weight=0.1), "copy gets nothing"),
        (replace(COPY, standing="eligible"), "copy gets nothing"),
        (replace(COPY, reason=Reason.SAME_LOSS), "names the copy's"),
        (replace(COPY, copied=()), "names the copy's"),
        (replace(GOOD, weight=0.5), "sum to 1"),
        (replace(SMALL, standing="not_evaluated", loss=None), "not all evaluated"),
    ],
)
def test_demo_with_a_broken_promise_names_it(row: DemoRow, failure: str) -> None:
    rows = [row if row.dataset == other.dataset else other for other in (GOOD, SMALL, NOISE, COPY)]
    assert any(failure in broken for broken in broken_promises(rows, BASE))


HONEST = [replace(row, public_gain=0.07, sealed_gain=0.09) for row in (GOOD, SMALL, NOISE)]
CHEAT = replace(
    eligible("reworded", 2.4, 0.0, 0.0),
    loss=None,
    win_rate=None,
    standing="at_fault",
    reason=Reason.CONTAMINATED,
    public_gain=0.3,
    sealed_gain=0.05,
)


@pytest.mark.parametrize(
    ("cheat", "margin", "failure"),
    [
        (CHEAT, 0.24, None),
        (CHEAT, 0.26, "than its gain on the sealed set"),
        (replace(CHEAT, public_gain=0.06, sealed_gain=-0.3), 0.24, "gains most"),
        (replace(CHEAT, public_gain=None, sealed_gain=None), 0.24, "trained on and measured"),
        (replace(CHEAT, standing="eligible", reason=None), 0.24, "at fault for it"),
    ],
)
def test_sealed_demo_promises_that_the_paraphraser_is_caught(
    cheat: DemoRow, margin: float, failure: str | None
) -> None:
    broken = broken_promises([*HONEST, COPY, cheat], BASE, margin)
    assert broken == [] if failure is None else any(failure in promise for promise in broken)


@pytest.mark.parametrize("sealed_gain", [0.05, -0.05])
def test_sealed_demo_is_shown_in_80_columns_with_no_cell_cut(sealed_gain: float) -> None:
    hotkey = "5Cae3EhH7FiYXyA9PPixM3AhoMYKHWjfwbZ2SQhuaN2SMqKU"
    cheat = replace(CHEAT, sealed_gain=sealed_gain, miner="miner4")
    rows = tuple(
        replace(row, hotkey=hotkey, repo_id=f"miner{place}/{row.dataset}")
        for place, row in enumerate([*HONEST, COPY, cheat], start=1)
    )
    console = Console(width=80)
    with console.capture() as captured:
        show_result(
            console,
            DemoResult(
                rows,
                base_loss=BASE,
                epoch=1,
                seed=2,
                weights_block=3,
                seconds=4.0,
                failures=(),
                sealed_margin=0.2,
            ),
        )
    said = captured.get()
    assert said.count("…") == said.count("5Cae3…MqKU") == len(rows)
    there = "takes 5.0% off" if sealed_gain > 0 else "adds 5.0% to"
    assert (
        f"takes 30.0% off the loss on the public set, more than any other dataset does, but {there}" in said
    )
    assert "contaminated" in said
