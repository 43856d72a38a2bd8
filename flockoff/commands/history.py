"""``flockoff history``: the last epochs of a validator, or of one miner."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated

import typer

from flockoff.commands.ledgers import known_uids, look, require_hotkey
from flockoff.commands.tables import (
    RESULT_COLUMNS,
    console,
    dataset,
    duration,
    moment,
    number,
    print_csv,
    print_json,
    reason,
    result_cells,
    table,
)
from flockoff.flags import AsCsv, AsJson, DataDir, LastEpochs
from flockoff.launch import run
from flockoff.ledger import Result
from flockoff.ledger.views import EpochSummary
from flockoff.logs import say_on_stderr


def history(
    *,
    data_dir: DataDir,
    hotkey: Annotated[
        str | None,
        typer.Argument(metavar="[HOTKEY]", help="Address, its beginning, or uid; default: the validator."),
    ] = None,
    epochs: LastEpochs = 20,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show the last epochs in a validator's ledger, or how one miner fared in them.

    \b
    flockoff history
    flockoff history 5G4GQ9Pb --epochs 100
    flockoff history --csv > epochs.csv
    """
    say_on_stderr()
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude one another")

    def program(_stop: threading.Event) -> int:

        with look(data_dir) as ledger:
            if hotkey is None:
                summaries = ledger.views.epochs(epochs)
                if as_json:
                    print_json([asdict(summary) for summary in summaries])
                elif as_csv:
                    names = [each.name for each in fields(EpochSummary)]
                    print_csv(names, [[getattr(each, name) for name in names] for each in summaries])
                else:
                    _show_epochs(summaries)
                return 0
            found = require_hotkey(ledger, hotkey)
            turns = ledger.views.results_of(found, epochs)
            uids = known_uids(ledger)
        if as_json:
            print_json({"hotkey": found, "turns": [asdict(turn) for turn in turns]})
        elif as_csv:
            print_csv(RESULT_COLUMNS, [result_cells(turn) for turn in turns])
        else:
            _show_turns(found, turns, uids)
        return 0

    raise typer.Exit(run(program))


def _show_epochs(summaries: list[EpochSummary]) -> None:

    made = table(
        "Epochs",
        words=("epoch", "begun (UTC)", "weights set"),
        numbers=("places", "eligible", "at fault", "not evaluated", "evaluating"),
    )
    for summary in summaries:
        made.add_row(
            str(summary.start_block),
            moment(summary.begun_at),
            moment(summary.weights_set_at) if summary.closed_at else "under way",
            str(summary.places),
            str(summary.eligible),
            str(summary.at_fault),
            str(summary.not_evaluated),
            duration(summary.seconds),
        )
    console().print(made)


def _show_turns(hotkey: str, turns: list[Result], uids: Mapping[str, int]) -> None:

    made = table(
        hotkey,
        words=("epoch", "uid", "dataset"),
        numbers=("loss", "wins", "share", "score", "weight"),
        last="verdict",
    )
    for turn in turns:
        detail = f": {reason(turn.detail, uids)}" if turn.detail else ""
        made.add_row(
            str(turn.epoch),
            str(turn.uid),
            dataset(turn.model_id),
            number(turn.loss),
            number(turn.win_rate, ".2f"),
            number(turn.share),
            number(turn.score),
            number(turn.weight),
            str(turn.reason or (turn.standing or "").replace("_", " ")) + detail,
        )
    console().print(made)
