"""An evaluation's progress, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars_of
from rich.console import Console

from flockoff.commands.tables import sparkline
from flockoff.records import Progress


@contextmanager
def progress_line(screen: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of ``what`` that are done, of how many."""
    columns = (
        bars_of.TextColumn("{task.description}"),
        bars_of.BarColumn(bar_width=24),
        bars_of.MofNCompleteColumn(),
    )
    with bars_of.Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


@contextmanager
def progress_bar(screen: Console, what: str) -> Iterator[Callable[[Progress], None]]:
    """A progress bar, with a sparkline of the training loss."""
    columns = (
        bars_of.TextColumn("{task.description}"),
        bars_of.BarColumn(bar_width=24),
        bars_of.MofNCompleteColumn(),
        bars_of.TimeRemainingColumn(),
        bars_of.TextColumn("{task.fields[curve]}"),
    )
    losses: list[float] = []
    with bars_of.Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bars:
        bar = bars.add_task(what, total=None, curve="")

        def on_progress(progress: Progress) -> None:
            if progress.loss is not None:
                losses.append(progress.loss)
            curve = f"{sparkline(losses, 32)} {losses[-1]:.4f}" if losses else ""
            bars.update(
                bar,
                description=f"{what}: {progress.phase}",
                completed=progress.done,
                total=progress.total,
                curve=curve,
            )

        yield on_progress
