"""The outcome on a terminal."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from flockoff.simulate.game import ValidatorRole
from flockoff.simulate.outcome import Outcome
from flockoff.simulate.sweep import Trial
from flockoff.text import counted

MISSING = "-"


def show_outcome(console: Console, outcome: Outcome) -> None:
    console.print(_shares(outcome))
    console.print(_validators(outcome))
    console.print(f"Kendall's tau of quality and incentive, honest miners: {_number(outcome.tau)}")
    if outcome.newcomer_share is not None:
        epochs = outcome.newcomer_epochs
        console.print(
            f"The newcomer ends with {outcome.newcomer_share:.1%} of the incentive"
            + (f", and had half of that after {counted(epochs, 'epoch')}." if epochs else ".")
        )
    for promise, holds in outcome.promises.items():
        if holds is not None:
            sign = "[green]✓[/green]" if holds else "[red]✗ not true:[/red]"
            console.print(f"{sign} {promise}")


def show_comparison(console: Console, outcomes: Mapping[str, Outcome]) -> None:
    """The same game under several rules, side by side."""
    table = _table("Share of the incentive", "strategy", *outcomes)
    strategies = dict.fromkeys(strategy for outcome in outcomes.values() for strategy in outcome.shares)
    for strategy in strategies:
        table.add_row(strategy, *(f"{each.shares.get(strategy, 0.0):.2%}" for each in outcomes.values()))
    if any(each.burned for each in outcomes.values()):
        table.add_row("burned", *(f"{each.burned:.2%}" for each in outcomes.values()))
    console.print(table)
    table = _table("What the rules keep", "measure", *outcomes)
    table.add_row(
        "Kendall's tau of quality and incentive", *(_number(each.tau) for each in outcomes.values())
    )
    shares = [each.newcomer_share for each in outcomes.values()]
    if any(share is not None for share in shares):
        epochs = [str(each.newcomer_epochs or MISSING) for each in outcomes.values()]
        table.add_row("newcomer's final share", *(MISSING if s is None else f"{s:.1%}" for s in shares))
        table.add_row("epochs to half of that", *epochs)
    trust = [
        min((each.trust for each in outcome.validators if each.role is ValidatorRole.HONEST), default=None)
        for outcome in outcomes.values()
    ]
    table.add_row("vtrust of the worst honest validator", *map(_number, trust))
    console.print(table)


def show_sweep(console: Console, trials: Iterable[Trial]) -> None:
    table = _table("Sweep, * is the competition's own value", "constant", "value", "cheats", "tau")
    for name in ("newcomer", "epochs", "vtrust", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in trials:
        table.add_row(
            trial.constant,
            f"{trial.value:g}{'*' if trial.default else ''}",
            f"{trial.cheats:.2%}",
            _number(trial.tau),
            MISSING if trial.newcomer_share is None else f"{trial.newcomer_share:.1%}",
            MISSING if trial.newcomer_epochs is None else f"{trial.newcomer_epochs:.1f}",
            f"{trial.trust:.3f}",
            f"{trial.kept:.0%}",
        )
    console.print(table)


def _shares(outcome: Outcome) -> Table:
    table = _table("Incentive by strategy", "strategy", "hotkeys", "all", "each")
    for strategy, share in outcome.shares.items():
        count = outcome.hotkeys[strategy]
        table.add_row(strategy, str(count), f"{share:.2%}", f"{share / count:.3%}")
    if outcome.burned:
        table.add_row("burned", MISSING, f"{outcome.burned:.2%}", MISSING)
    return table


def _validators(outcome: Outcome) -> Table:
    table = _table("Validators", "role", "vtrust", "5th percentile", "dividends")
    for validator in outcome.validators:
        table.add_row(
            validator.role,
            f"{validator.trust:.3f}",
            f"{validator.low_trust:.3f}",
            f"{validator.dividends:.1%}",
        )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        title_justify="left",
        title_style="bold",
    )
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"
