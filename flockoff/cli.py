"""The ``flockoff`` command. A command imports what it needs when it runs, so that ``--help`` is instant."""

import json
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flockoff.commands.doctor import doctor
from flockoff.commands.explain import explain
from flockoff.commands.history import history
from flockoff.commands.leaderboard import leaderboard
from flockoff.commands.plan import plan
from flockoff.commands.score import score
from flockoff.commands.status import status
from flockoff.launch import require_installed, run
from flockoff.localnet.command import localnet
from flockoff.logs import set_up_logging
from flockoff.settings import default_cache_dir, read_credentials
from flockoff.simulate.command import simulate
from flockoff.text import printable

if TYPE_CHECKING:
    from flockoff.errors import MinerFault
    from flockoff.records import DatasetReport

app = typer.Typer(
    name="flockoff",
    help="FLock OFF: a Bittensor subnet that rewards the datasets which make a language model better.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options
)

_LINE_CHARACTERS = 2000

CompetitionFile = Annotated[
    Path | None,
    typer.Option("--competition", metavar="FILE", help="TOML file with other rules than FLock OFF's own."),
]
CacheDir = Annotated[
    Path,
    typer.Option(
        "--cache-dir", metavar="DIR", default_factory=default_cache_dir, help="Base models and tokenizers."
    ),
]


app.command()(doctor)
app.command()(score)
app.command()(status)
app.command()(leaderboard)
app.command()(history)
app.command()(explain)
app.command()(simulate)
app.command()(plan)
app.add_typer(localnet, name="localnet")


def main() -> None:
    app()


@app.command()
def demo(
    cache_dir: CacheDir,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here, for machines.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Leave wallets, logs, ledger and datasets here to look at."
        ),
    ] = None,
) -> None:
    """Play one whole competition epoch on this machine: four miners, one validator, a local chain and hub."""
    set_up_logging(logging.WARNING, None, "demo")

    def program(stop: threading.Event) -> int:
        require_installed("torch", "starlette", "websockets", "dulwich")
        from flockoff.demo import play_demo

        with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="flockoff-demo-") as directory:
            return play_demo(Path(directory).resolve(), cache_dir, json_file, stop)

    raise typer.Exit(run(program))


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(metavar="FILE", help="The dataset, a JSONL file.")],
    cache_dir: CacheDir,
    competition: CompetitionFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a dataset as a validator will: format, limits, contamination; with line numbers and reasons."""
    from flockoff import assemble
    from flockoff.competition import load_competition
    from flockoff.dataset import file_size, judge_dataset

    credentials = read_credentials()
    set_up_logging(logging.INFO, None, "check", credentials.secrets)

    def program(_stop: threading.Event) -> int:
        file_size(dataset)  # a wrong path is said before anything is fetched
        rules = load_competition(competition)
        hub = assemble.open_hub(credentials)
        encoder = assemble.open_encoder(rules, hub, cache_dir)
        answers = assemble.answers_here(rules, hub, encoder)
        judgement = judge_dataset(dataset, rules.limits, rules.contamination, encoder, answers)
        report, fault = judgement.report, judgement.fault
        valid = fault is None
        if as_json:
            contamination = str(fault) if fault and report.valid else None
            told = {"valid": valid, "contamination": contamination, **asdict(report)}
            sys.stdout.write(json.dumps(told, indent=2) + "\n")
        else:
            lines = _told(dataset, report, fault)
            sys.stdout.writelines(f"{printable(line, _LINE_CHARACTERS)}\n" for line in lines)
        return 0 if valid else 1

    raise typer.Exit(run(program))


def _told(dataset: Path, report: "DatasetReport", fault: "MinerFault | None") -> Iterator[str]:
    for problem in report.problems:
        place = f"line {problem.line}" if problem.line else "file"
        yield f"{place}: {problem.reason}: {problem.detail}"
    if report.problem_count > len(report.problems):
        yield f"… and {report.problem_count - len(report.problems)} more"
    if not report.valid:
        yield f"{dataset} is not valid. Every line must be one whole JSON object; the README has the format."
    elif fault is not None:
        yield str(fault)
    else:
        yield (
            f"{dataset} is valid: {report.rows} rows, {report.tokens} tokens, "
            f"{report.assistant_tokens} of them the assistant's, {report.cut_rows} rows cut at the context."
        )
