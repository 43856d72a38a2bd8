"""The demo's progress display: one line per finished step, and the current activity below."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from flockoff.text import printable

_SHOWN_CHARACTERS = 100


class Stage:
    """Progress on a terminal; elsewhere only the lines of finished steps."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._now = now
        self.started = now()

    @contextmanager
    def step(self, title: str) -> Iterator["Step"]:
        """A step in progress; it ends with a tick and its duration, or with a cross if it raises."""
        begun = self._now()
        step = Step(title)
        with self.console.status(title) as status:
            step.on_change = lambda: status.update(Text.assemble(title, " ", (step.detail, "dim")))
            step.on_news = lambda line: self.console.print(Text(f"  {line}", "dim"), soft_wrap=True)
            try:
                yield step
            except BaseException:
                self.console.print(f"[red]✗[/red] {title}")
                raise
        self.console.print(f"[green]✓[/green] {title} [dim]{self._now() - begun:.0f} s[/dim]")

    def seconds(self) -> float:
        """Since the demo's start."""
        return self._now() - self.started


class Step:
    """A step's current activity (``show``), and what is worth a line of its own (``tell``)."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.on_change: Callable[[], None] = lambda: None
        self.on_news: Callable[[str], None] = lambda _: None

    def tell(self, text: str) -> None:
        """Leave a line of its own, also where there is no terminal."""
        self.on_news(printable(text, _SHOWN_CHARACTERS))

    def show(self, text: str) -> None:
        self.detail = printable(text, _SHOWN_CHARACTERS)
        self.on_change()
