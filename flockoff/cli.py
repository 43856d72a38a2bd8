"""The ``flockoff`` command. A subcommand's module is imported when it is used."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flockoff.flags import CONTEXT, Version, command_of
from flockoff.launch import errors_as_json, lenient_output, output_may_fail, tell_error

_UsageError: Any = typer.BadParameter.__mro__[1]  # Typer does not export it under its own name


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command defined in ``module`` under its own name. ``summary`` is also its help's first line."""

    name: str
    module: str
    summary: str


COMMANDS: dict[str, tuple[CommandEntry, ...]] = {
    "To begin": (
        CommandEntry(
            "demo",
            "flockoff.commands.demo",
            "Play one whole competition epoch on this machine: four miners, one validator, a local chain and "
            "hub.",
        ),
        CommandEntry(
            "doctor",
            "flockoff.commands.doctor",
            "Examine this machine: what it has, what it lacks, and the remedy for each.",
        ),
    ),
    "Mining": (
        CommandEntry(
            "init",
            "flockoff.commands.init",
            "Store wallet, network, subnet, repo and Hugging Face token in .env, for all other commands.",
        ),
        CommandEntry(
            "convert",
            "flockoff.commands.convert",
            "Convert OpenAI messages, ShareGPT, Alpaca or question-answer pairs to the competition's format.",
        ),
        CommandEntry(
            "check",
            "flockoff.commands.check",
            "Check a dataset as a validator will: format, limits, contamination; with line numbers and "
            "reasons.",
        ),
        CommandEntry(
            "score",
            "flockoff.commands.score",
            "Train on a dataset and measure the loss it leaves: a validator's number, to the last bit.",
        ),
        CommandEntry(
            "submit",
            "flockoff.commands.submit",
            "Submit a dataset: check everything, upload it, commit it on chain, and say what comes next.",
        ),
        CommandEntry(
            "status",
            "flockoff.commands.status",
            "Show where a miner stands: commitment, place in the queue, last verdict, score, weight, "
            "incentive.",
        ),
    ),
    "Validating": (
        CommandEntry(
            "plan",
            "flockoff.commands.plan",
            "Estimate how many datasets a GPU evaluates in an epoch.",
        ),
        CommandEntry(
            "history",
            "flockoff.commands.history",
            "Show the last epochs in a validator's ledger, or how one miner fared in them.",
        ),
        CommandEntry(
            "explain",
            "flockoff.commands.explain",
            "Explain a weight: loss, wins, win rate, share, score, blend, from a validator's ledger.",
        ),
        CommandEntry(
            "report",
            "flockoff.commands.report",
            "Write one page to look at from a validator's ledger: leaderboard, verdicts, losses, wins, "
            "weights …",
        ),
        CommandEntry(
            "replay",
            "flockoff.commands.replay",
            "Train a stored evaluation again from its provenance: is the number in the ledger the right one?",
        ),
    ),
    "Watching a subnet": (
        CommandEntry(
            "leaderboard",
            "flockoff.commands.leaderboard",
            "Show who leads, by the chain or by a validator's ledger, with the reason for each verdict.",
        ),
        CommandEntry(
            "subnet",
            "flockoff.commands.subnet",
            "Show a subnet at a glance, from the chain: validators, queue, the worth of a share, the next "
            "epoch.",
        ),
        CommandEntry(
            "watch",
            "flockoff.commands.watch",
            "Watch miners and report events: evaluated, beaten, at fault, deregistered, weight gone.",
        ),
        CommandEntry(
            "site",
            "flockoff.commands.site",
            "Write a subnet's leaderboard from the chain as one static page, to host and to refresh by cron.",
        ),
    ),
    "Owning and developing": (
        CommandEntry(
            "competition",
            "flockoff.commands.competition",
            "Show a competition's rules and hash; seal an evaluation set, publish and verify a retired one.",
        ),
        CommandEntry(
            "simulate",
            "flockoff.simulate.command",
            "Play the game many epochs ahead: real scoring, queue and consensus, noise in place of training.",
        ),
        CommandEntry(
            "localnet",
            "flockoff.localnet.command",
            "Run a local chain and a local hub, and print the commands to try on them. Ends with Ctrl-C.",
        ),
    ),
}


class Deferred(TyperCommand):
    """Stands in for a command until it is invoked, or its help or completion is needed."""

    def __init__(self, entry: CommandEntry) -> None:
        super().__init__(entry.name, short_help=entry.summary, rich_markup_mode=None)
        self._entry = entry

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself. Exits, with the remedy, if a minimal installation lacks it."""
        try:
            found = getattr(import_module(self._entry.module), self._entry.name)
        except ModuleNotFoundError as missing:
            package = (missing.name or "").partition(".")[0]
            if package in ("", "flockoff"):
                raise
            lacks, remedy = f"This needs {package}, which is not installed.", "Run: uv sync"
            typer.echo(f"{lacks} {remedy}", err=True)
            tell_error(lacks, remedy)
            raise typer.Exit(1) from missing
        if not isinstance(found, typer.Typer):
            found = command_of(found)
        command = typer.main.get_command(found)
        assert isinstance(command, TyperCommand | TyperGroup)
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    """All of ``COMMANDS``; its help lists them under their headings, untruncated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for entries in COMMANDS.values():
            for entry in entries:
                self.add_command(Deferred(entry), entry.name)

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        with errors_as_json("--json" in (sys.argv[1:] if args is None else args)):
            return super().main(args, *more, **extra)

    def invoke(self, ctx: Any) -> Any:
        """A command line that is wrong is an error like any other for who reads JSON."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else "flockoff"
            tell_error(error.format_message(), f"See: {where} --help")
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, entries in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])


app = typer.Typer(
    cls=_Commands,
    name="flockoff",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables truncate option names
    context_settings=CONTEXT,
)


@app.callback()
def flockoff(
    version: Version = False,
) -> None:
    """FLock OFF: a Bittensor subnet that rewards the datasets which make a language model better."""


def main() -> None:
    lenient_output()
    if "_FLOCKOFF_COMPLETE" in os.environ:
        # Typer would fold descriptions at 80 columns, and shells take each line for a candidate.
        os.environ["COLUMNS"] = "1000"
    with output_may_fail():
        app()
