"""``flockoff simulate``: simulates many epochs and shows who earns what."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flockoff.competition import load_competition
from flockoff.errors import Interrupted
from flockoff.flags import AsJson, file_option, folder_option
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr
from flockoff.simulate.game import play
from flockoff.simulate.outcome import measure
from flockoff.simulate.scenario import PRESETS, Scenario, load_scenario
from flockoff.simulate.show import show_comparison, show_outcome, show_sweep
from flockoff.simulate.sweep import sweep


def simulate(
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            autocompletion=lambda: [*PRESETS],
            help="A name from the list above, or a game's TOML file.",
        ),
    ] = "mixed",
    competition: Annotated[
        Path | None,
        file_option(
            help="Repeat it under this competition's rules, for comparison.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs to play; a preset has 200.")] = None,
    miners: Annotated[
        int | None, typer.Option(min=1, max=256, help="Miners; a preset has 64. Fewer or more honest ones.")
    ] = None,
    validators: Annotated[
        int | None, typer.Option(min=1, max=64, help="Validators. Fewer or more honest ones.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another game of the same kind.")] = 0,
    as_json: AsJson = False,
    pictures: Annotated[Path | None, folder_option(help="Also write charts as PNG files here.")] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try other values of the scoring constants instead.")
    ] = False,
) -> None:
    """Play the game many epochs ahead: real scoring, queue and consensus, noise in place of training.

    \b
    flockoff simulate --scenario copiers --pictures pictures
    flockoff simulate --scenario twenty-ahead --competition mine.toml
    flockoff simulate --epochs 100 --sweep --json

    \b
    mixed                      every kind of cheat, and validators of every kind
    honest                     honest miners, and a newcomer with the best data
    copiers, undetected        copies that are found, and that are not
    validators                 validators of every kind
    slow                       validators with time for 8.5 of 32 places
    token-sybils               slow, with 200 of the largest datasets
    sleeper                    a leader that swaps to what no worker finishes
    sleeper-slow               the same, before the validators of slow
    one-ahead, four-ahead, twenty-ahead
                               one owner's 1, 4 or 20 datasets ahead of all
    evaluation-trainer, evaluation-trainer-sealed
                               training on the public set; with a sealed one
    launderer                  a victim's rows among others', then a copy
    format-squatter            three rows with the victim's instruction
    public-squatter, public-squatter-listed
                               a public collection taken; listed as public
    update-thief               a copy of what the victim then improves on
    row-copier                 a copy that is disguised row by row
    """
    say_on_stderr()

    def program(stop: threading.Event) -> int:
        if pictures:
            require_installed("matplotlib")

        game = load_scenario(scenario).resized(epochs=epochs, miners=miners, validators=validators)
        games = {"its own rules": game}
        if competition is not None:
            rules = load_competition(competition)
            games[competition.name] = game.by(rules)

        def between_epochs() -> None:
            if stop.is_set():
                raise Interrupted

        if sweep:
            _sweep([*games.values()][-1], seed, as_json, between_epochs)
        else:
            _play(games, seed, as_json, pictures, between_epochs)
        return 0

    raise typer.Exit(run(program))


def _play(
    games: Mapping[str, Scenario],
    seed: int,
    as_json: bool,
    pictures: Path | None,
    between_epochs: Callable[[], None],
) -> None:
    """Play all ``games``, by name; the charts show the last."""
    outcomes = {}
    for name, scenario in games.items():
        history = play(scenario, seed, between_epochs=between_epochs)
        outcomes[name] = measure(scenario, history)
    if pictures:
        from flockoff.simulate.pictures import draw  # matplotlib is optional

        for path in draw(history, pictures):
            typer.echo(f"Wrote {path}", err=True)
    if as_json:
        output = [
            {"seed": seed, "scenario": asdict(games[name]), "outcome": asdict(outcome)}
            for name, outcome in outcomes.items()
        ]
        sys.stdout.write(json.dumps(output if len(output) > 1 else output[0], indent=2) + "\n")
        return
    console = Console()
    if len(outcomes) > 1:
        show_comparison(console, outcomes)
        return
    for outcome in outcomes.values():
        show_outcome(console, outcome)


def _sweep(scenario: Scenario, seed: int, as_json: bool, between_epochs: Callable[[], None]) -> None:

    trials = list(sweep(scenario, seed, between_epochs=between_epochs))
    if as_json:
        output = {"seed": seed, "scenario": asdict(scenario), "trials": [asdict(trial) for trial in trials]}
        sys.stdout.write(json.dumps(output, indent=2) + "\n")
    else:
        show_sweep(Console(), trials)
