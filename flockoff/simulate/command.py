"""``flockoff simulate``: play the game many epochs ahead, and see what it pays for."""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flockoff.errors import Interrupted
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr
from flockoff.simulate.game import play
from flockoff.simulate.outcome import measure
from flockoff.simulate.scenario import PRESETS, Scenario, load_scenario
from flockoff.simulate.show import show_outcome, show_sweep
from flockoff.simulate.sweep import sweep


def simulate(
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            autocompletion=lambda: [*PRESETS],
            help="mixed, honest, copiers, undetected, validators, or a game's TOML file.",
        ),
    ] = "mixed",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs to play; a preset has 200.")] = None,
    miners: Annotated[
        int | None, typer.Option(min=1, max=256, help="Miners; a preset has 64. Fewer or more honest ones.")
    ] = None,
    validators: Annotated[
        int | None, typer.Option(min=1, max=64, help="Validators. Fewer or more honest ones.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another game of the same kind.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
    pictures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also draw the game into PNG files here.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try other values of the scoring constants instead.")
    ] = False,
) -> None:
    """Play the game many epochs ahead: real scoring, queue and consensus, noise in place of training.

    \b
    flockoff simulate --scenario copiers --pictures pictures
    flockoff simulate --epochs 100 --sweep --json
    """
    say_on_stderr()

    def program(stop: threading.Event) -> int:
        if pictures:
            require_installed("matplotlib")

        game = load_scenario(scenario).resized(epochs=epochs, miners=miners, validators=validators)

        def between_epochs() -> None:
            if stop.is_set():
                raise Interrupted

        if sweep:
            _sweep(game, seed, as_json, between_epochs)
        else:
            _play(game, seed, as_json, pictures, between_epochs)
        return 0

    raise typer.Exit(run(program))


def _play(
    scenario: Scenario, seed: int, as_json: bool, pictures: Path | None, between_epochs: Callable[[], None]
) -> None:

    history = play(scenario, seed, between_epochs=between_epochs)
    outcome = measure(scenario, history)
    if pictures:
        from flockoff.simulate.pictures import draw  # matplotlib, which not every installation has

        draw(history, pictures)
    if as_json:
        told = {"seed": seed, "scenario": asdict(scenario), "outcome": asdict(outcome)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        show_outcome(Console(), outcome)


def _sweep(scenario: Scenario, seed: int, as_json: bool, between_epochs: Callable[[], None]) -> None:

    trials = list(sweep(scenario, seed, between_epochs=between_epochs))
    if as_json:
        told = {"seed": seed, "scenario": asdict(scenario), "trials": [asdict(trial) for trial in trials]}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        show_sweep(Console(), trials)
