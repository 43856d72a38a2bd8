"""Prints findings on a terminal."""

from rich.console import Console

from flockoff.commands.tables import outside
from flockoff.doctor.finding import Finding

_SIGNS = {
    "good": "[green]✓[/green]",
    "doubtful": "[yellow]![/yellow]",
    "bad": "[red]✗[/red]",
    "unknown": "-",
}


def show_finding(screen: Console, finding: Finding) -> None:
    screen.print(f"{_SIGNS[finding.state]} {finding.subject}: {outside(finding.found)}", soft_wrap=True)
    if finding.remedy:
        screen.print(f"    {outside(finding.remedy)}", soft_wrap=True)
