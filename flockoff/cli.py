"""The ``flockoff`` command. A command imports what it needs when it runs, so that ``--help`` is instant."""

import typer

from flockoff.commands.check import check
from flockoff.commands.demo import demo
from flockoff.commands.doctor import doctor
from flockoff.commands.explain import explain
from flockoff.commands.history import history
from flockoff.commands.leaderboard import leaderboard
from flockoff.commands.plan import plan
from flockoff.commands.replay import replay
from flockoff.commands.report import report
from flockoff.commands.score import score
from flockoff.commands.status import status
from flockoff.localnet.command import localnet
from flockoff.simulate.command import simulate

app = typer.Typer(
    name="flockoff",
    help="FLock OFF: a Bittensor subnet that rewards the datasets which make a language model better.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options
)

app.command()(check)
app.command()(score)
app.command()(status)
app.command()(leaderboard)
app.command()(history)
app.command()(explain)
app.command()(report)
app.command()(replay)
app.command()(doctor)
app.command()(plan)
app.command()(demo)
app.add_typer(localnet, name="localnet")
app.command()(simulate)


def main() -> None:
    app()
