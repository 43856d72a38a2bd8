"""``flockoff report``: a validator's ledger as one HTML file."""

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from flockoff.commands.ledgers import look, require_rules
from flockoff.commands.tables import print_json
from flockoff.competition import load_competition
from flockoff.flags import AsJson, CompetitionFile, DataDir, LastEpochs, file_option
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.openers import ledger_path
from flockoff.report import report_numbers, write_report
from flockoff.report.facts import EPOCHS_SHOWN


def report(
    *,
    data_dir: DataDir,
    out: Annotated[Path, file_option("--out", "-o", help="Where to write the page.")] = Path(
        "flockoff-report.html"
    ),
    epochs: LastEpochs = EPOCHS_SHOWN,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Write one page to look at from a validator's ledger: leaderboard, verdicts, losses, wins, weights …

    \b
    flockoff report
    flockoff report --out /var/www/flockoff.html --epochs 200

    The page needs no network and no server. A validator keeps one up to date with --report DIR, and serves a
    live one on its own machine with --dashboard PORT. --json prints the page's numbers instead of writing it.
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:

        rules = load_competition(competition)
        with look(data_dir) as ledger:
            require_rules(ledger, rules)
        if as_json:
            print_json(report_numbers(ledger_path(data_dir), rules, epochs=epochs))
            return 0
        write_report(ledger_path(data_dir), out, rules, epochs=epochs)
        sys.stdout.write(f"{out.resolve()}\n")
        return 0

    raise typer.Exit(run(program))
