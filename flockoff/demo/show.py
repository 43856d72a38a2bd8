"""The demo's leaderboard on a terminal."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flockoff.demo.result import DemoResult, DemoRow
from flockoff.text import printable, short_hotkey

_DETAIL_CHARACTERS = 200


def show_result(console: Console, result: DemoResult) -> None:
    console.print()
    console.print(_table(result))
    for row in result.rows:
        if row.detail:
            console.print(f"uid {row.uid}: {escape(printable(row.detail, _DETAIL_CHARACTERS))}")
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


def _table(result: DemoResult) -> Table:
    table = Table(
        title="Leaderboard",
        caption="loss: nats per assistant token, base: without training, wins: win rate",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    for name in ("uid", "hotkey", "dataset"):
        table.add_column(name, no_wrap=True)
    for name in ("loss", "base", "change", "wins", "weight"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in result.rows:
        table.add_row(*_cells(row, result.base_loss))
    return table


def _cells(row: DemoRow, base_loss: float) -> list[str]:
    missing = "-"
    return [
        str(row.uid),
        short_hotkey(row.hotkey),
        row.repo_id,
        missing if row.loss is None else f"{row.loss:.4f}",
        f"{base_loss:.4f}",
        missing if row.loss is None else f"{(row.loss / base_loss - 1):+.1%}",
        missing if row.win_rate is None else f"{row.win_rate:.2f}",
        f"{row.weight:.4f}",
        "[green]eligible[/green]"
        if row.standing == "eligible"
        else f"[red]{row.reason or row.standing}[/red]",
    ]
