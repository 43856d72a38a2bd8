"""The demo's result: the leaderboard from the chain's weights, and a check of its promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flockoff.errors import Reason
from flockoff.records import Standing


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One miner. ``weight`` is read from the chain, the rest from the validator's ledger."""

    uid: int
    hotkey: str
    miner: str  # wallet name
    dataset: str
    repo_id: str
    loss: float | None  # nats per assistant token of the evaluation set
    win_rate: float | None
    weight: float
    incentive: float  # the chain's, after Yuma consensus
    standing: Standing | None
    reason: Reason | None
    detail: str
    copied: tuple[str, ...] = ()  # the hotkeys that a copy was copied from
    public_gain: float | None = None  # the share of the base model's loss removed on the public set,
    sealed_gain: float | None = None  # and on the sealed one; None without one, or for what was not measured


@dataclass(frozen=True, slots=True)
class DemoResult:
    """``failures``: the demo's promises that did not hold; empty on success."""

    rows: tuple[DemoRow, ...]  # highest weight first
    base_loss: float
    epoch: int  # start block
    seed: int
    weights_block: int | None
    seconds: float
    failures: tuple[str, ...]
    sealed_margin: float | None = None  # by which a public gain may exceed the sealed one; None without one


def broken_promises(
    rows: Sequence[DemoRow], base_loss: float, sealed_margin: float | None = None
) -> list[str]:
    """The failures among: the good data wins because it helps, noise is last, the copy gets nothing; and,
    where there is a sealed set, it catches the miner who reworded the public one.
    """
    by_name: Mapping[str, DemoRow] = {row.dataset: row for row in rows}
    good, small, noise, copy = (by_name[name] for name in ("good", "small", "noise", "copy"))
    losses = {row.dataset: row.loss for row in (good, small, noise) if row.loss is not None}
    if len(losses) < 3 or any(row.standing != "eligible" for row in (good, small, noise)):
        return ["the three different datasets were not all evaluated"]
    promises = {
        "training on the good data lowers the loss": losses["good"] < base_loss,
        "the good data leaves the lowest loss": losses["good"] < min(losses["small"], losses["noise"]),
        "the good data has the highest weight": good.weight > max(row.weight for row in (small, noise, copy)),
        "noise is last of the eligible": (noise.loss or 0) > losses["small"]
        and noise.win_rate == min(row.win_rate or 0 for row in (good, small, noise)),
        "the copy gets nothing": copy.weight == 0 and copy.standing == "at_fault",
        "the reason names the copy's original": copy.reason is Reason.DUPLICATE
        and copy.copied == (good.hotkey,),
        "the weights on chain sum to 1": abs(sum(row.weight for row in rows) - 1) < 1e-3,
    }
    if sealed_margin is not None:
        promises |= _sealed_promises(by_name["reworded"], rows, sealed_margin)
    return [promise for promise, holds in promises.items() if not holds]


def _sealed_promises(cheat: DemoRow, rows: Sequence[DemoRow], margin: float) -> dict[str, bool]:
    if cheat.public_gain is None or cheat.sealed_gain is None:
        return {"the reworded public set was trained on and measured": False}
    others = [row.public_gain for row in rows if row is not cheat and row.public_gain is not None]
    return {
        "the reworded public set gains most on the public one": cheat.public_gain > max(others, default=0.0),
        "it gains more there than its gain on the sealed set explains": cheat.public_gain - cheat.sealed_gain
        > margin,
        "the reworded public set is at fault for it": cheat.reason is Reason.CONTAMINATED
        and cheat.weight == 0,
    }
