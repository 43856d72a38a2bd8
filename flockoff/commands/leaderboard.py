"""``flockoff leaderboard``: who leads in an epoch, and why the others do not."""

import threading
from dataclasses import asdict

import typer

from flockoff.commands.ledgers import look, require_epoch
from flockoff.commands.tables import MISSING, console, number, outside, print_json, reason, table
from flockoff.flags import AsJson, DataDir, EpochBlock
from flockoff.launch import run
from flockoff.ledger import Result
from flockoff.logs import say_on_stderr
from flockoff.text import short_hotkey


def leaderboard(*, data_dir: DataDir, epoch: EpochBlock, as_json: AsJson = False) -> None:
    """Show an epoch's leaderboard from a validator's ledger, with the reason for every verdict.

    \b
    flockoff leaderboard
    flockoff leaderboard --epoch 7200 --json
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:

        with look(data_dir) as ledger:
            start_block = require_epoch(ledger, epoch)
            rows, base = ledger.views.leaderboard(start_block), ledger.base_loss()
        base_loss = None if base is None else base.loss
        if as_json:
            print_json({"epoch": start_block, "base_loss": base_loss, "rows": [asdict(row) for row in rows]})
        else:
            _show(start_block, base_loss, rows)
        return 0

    raise typer.Exit(run(program))


def _show(epoch: int, base_loss: float | None, rows: list[Result]) -> None:

    made = table(
        f"Epoch {epoch}",
        words=("uid", "hotkey", "dataset"),
        numbers=("loss", "change", "wins", "score", "weight"),
        last="verdict",
    )
    uids = {row.hotkey: row.uid for row in rows if row.uid is not None}
    for row in rows:
        change = None if row.loss is None or base_loss is None else row.loss / base_loss - 1
        verdict = "no turn" if row.standing is None else str(row.reason or row.standing.replace("_", " "))
        detail = f": {reason(row.detail, uids)}" if row.detail else ""
        made.add_row(
            MISSING if row.uid is None else str(row.uid),
            outside(short_hotkey(row.hotkey)),
            outside((row.model_id or MISSING).split(":")[0], 40),
            number(row.loss),
            number(change, "+.1%"),
            number(row.win_rate, ".2f"),
            number(row.score),
            number(row.weight),
            verdict + detail,
        )
    screen = console()
    screen.print(made)
    base = "" if base_loss is None else f"; the base model's is {base_loss:.4f}"
    screen.print(f"loss: nats per assistant token{base}. wins: win rate.")
