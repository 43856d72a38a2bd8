"""The demo's leaderboard on a terminal."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flockoff.demo.result import DemoResult, DemoRow
from flockoff.text import printable, short_hotkey

_DETAIL_CHARACTERS = 400


def show_result(console: Console, result: DemoResult) -> None:
    console.print()
    console.print(_table(result))
    for row in result.rows:
        if row.detail:
            console.print(f"uid {row.uid}: {escape(printable(row.detail, _DETAIL_CHARACTERS))}")
    if result.sealed_margin is not None:
        console.print()
        console.print(_gains(result, result.sealed_margin))
    paid = ", ".join(f"uid {row.uid} {row.incentive:.4f}" for row in result.rows if row.incentive > 0)
    console.print(
        f"\nWeights are read back from the chain, where they were set in block {result.weights_block}."
    )
    console.print(f"Incentive after Yuma consensus: {paid}.")
    console.print(
        f"Epoch {result.epoch}, seed {result.seed}, base model's loss {result.base_loss:.4f}, "
        f"{result.seconds:.0f} s in all."
    )
    if result.failures:
        for failure in result.failures:
            console.print(f"[red]✗ not true: {failure}[/red]")
    else:
        console.print(
            "[green]✓[/green] The good data wins because it helps, noise is last, the copy gets nothing."
        )
        if result.sealed_margin is not None:
            console.print(f"[green]✓[/green] {_caught(result, result.sealed_margin)}", soft_wrap=True)


def _caught(result: DemoResult, margin: float) -> str:
    cheat = next(row for row in result.rows if row.dataset == "reworded")
    public, sealed = cheat.public_gain or 0.0, cheat.sealed_gain or 0.0
    there = f"takes {sealed:.1%} off" if sealed >= 0 else f"adds {-sealed:.1%} to"
    return (
        f"{cheat.miner} committed the public evaluation set with one word in six replaced. The search for its"
        " text is all but off in this demo, so only the sealed set could find that, and did: training on it"
        f" takes {public:.1%} off the loss on the public set, more than any other dataset does, but"
        f" {there} that on the sealed set. These are {100 * (public - sealed):.1f} points apart, where"
        f" {100 * margin:.1f} are allowed, so it gets nothing."
    )


def _gains(result: DemoResult, margin: float) -> Table:
    table = _plain_table(
        "What training took off the loss",
        "public: the set that everybody can read\n"
        "sealed: the one that only validators can\n"
        f"apart: in points, {100 * margin:.1f} are allowed",
    )
    table.add_column("dataset", no_wrap=True)
    for name in ("public", "sealed", "apart"):
        table.add_column(name, no_wrap=True, justify="right")
    for row in result.rows:
        if row.public_gain is not None and row.sealed_gain is not None:
            apart = 100 * (row.public_gain - row.sealed_gain)
            table.add_row(row.repo_id, f"{row.public_gain:.1%}", f"{row.sealed_gain:.1%}", f"{apart:+.1f}")
    return table


def _plain_table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )


def _table(result: DemoResult) -> Table:
    has_base = result.sealed_margin is None  # else 80 columns have no room for it: a verdict is longer
    base = "base: without training" if has_base else "change: against no training"
    table = _plain_table("Leaderboard", f"loss: nats per assistant token, {base}, wins: win rate")
    for name in ("uid", "hotkey", "dataset"):
        table.add_column(name, no_wrap=True)
    for name in ("loss", *(["base"] if has_base else []), "change", "wins", "weight"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in result.rows:
        table.add_row(*_cells(row, result.base_loss, has_base=has_base))
    return table


def _cells(row: DemoRow, base_loss: float, *, has_base: bool) -> list[str]:
    missing = "-"
    return [
        str(row.uid),
        short_hotkey(row.hotkey),
        row.repo_id,
        missing if row.loss is None else f"{row.loss:.4f}",
        *([f"{base_loss:.4f}"] if has_base else []),
        missing if row.loss is None else f"{(row.loss / base_loss - 1):+.1%}",
        missing if row.win_rate is None else f"{row.win_rate:.2f}",
        f"{row.weight:.4f}",
        "[green]eligible[/green]"
        if row.standing == "eligible"
        else f"[red]{row.reason or row.standing}[/red]",
    ]
