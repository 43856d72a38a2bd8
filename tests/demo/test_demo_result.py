from dataclasses import replace

import pytest

from flockoff.demo.result import DemoRow, broken_promises
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
