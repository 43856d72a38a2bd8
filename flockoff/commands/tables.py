"""Tables and lines of the commands on a terminal."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from statistics import mean

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flockoff.ledger import Result
from flockoff.text import duration as spelled_out
from flockoff.text import printable, short_names

MISSING = "-"
_BARS = "▁▂▃▄▅▆▇█"
_LINE_CHARACTERS = 500
_REASON_CHARACTERS = 1000  # long enough not to cut off the remedy at the end
_LAST_CHARACTERS = 24  # a last column is never narrower, if it has that much to show


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to ``launch.run``, as everything else that is printed does."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Stdout, or stderr; of unlimited width if not a terminal, so that nothing is cut in a pipe."""
    found = _Console(highlight=False, stderr=stderr)
    return found if found.is_terminal else _Console(highlight=False, stderr=stderr, width=240)


def table(title: str, *, words: tuple[str, ...], numbers: tuple[str, ...], last: str | None = None) -> Table:
    """Columns of words, then of numbers, then one of words that may wrap."""
    made = Table(
        title=escape(title),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title_justify="left",
        title_style="bold",
    )
    for name in words:
        made.add_column(name, no_wrap=True)
    for name in numbers:
        made.add_column(name, no_wrap=True, justify="right")
    if last is not None:
        made.add_column(last, overflow="fold")
    return made


def print_fitting(
    screen: Console,
    title: str,
    rows: Sequence[Sequence[str]],
    *,
    words: Sequence[str],
    numbers: Sequence[str],
    last: str,
    expendable: Sequence[str],
) -> list[str]:
    """Print a table without cutting a cell: on a narrow terminal columns are left out instead.

    Each row has a cell for every column; those of ``last`` may take several lines. ``expendable``: columns in
    the order in which they go. Returns those that went.
    """
    names = [*words, *numbers, last]
    widths = {
        name: max(cell_len(name), *(cell_len(Text.from_markup(row[place]).plain) for row in rows), 0)
        for place, name in enumerate(names)
    }
    widths[last] = min(widths[last], _LAST_CHARACTERS)
    left_out: list[str] = []
    for name in expendable:
        if sum(width + 1 for each, width in widths.items() if each not in left_out) < screen.width:
            break
        left_out.append(name)
    kept = [place for place, name in enumerate(names) if name not in left_out]
    made = table(
        title,
        words=tuple(name for name in words if name not in left_out),
        numbers=tuple(name for name in numbers if name not in left_out),
        last=last,
    )
    for row in rows:
        made.add_row(*(row[place] for place in kept))
    screen.print(made)
    if left_out:
        screen.print(f"The terminal is too narrow for: {', '.join(left_out)}. --json has all.")
    return left_out


def outside(text: str, limit: int = _LINE_CHARACTERS) -> str:
    """Text from outside as a cell: printable, without markup."""
    return escape(printable(text, limit))


def reason(text: str, uids: Mapping[str, int]) -> str:
    """A verdict's full reason as a cell, with its remedy and short names."""
    return outside(short_names(text, uids), _REASON_CHARACTERS)


def dataset(model_id: str | None) -> str:
    """A commitment's repo as a cell."""
    return MISSING if model_id is None else outside(model_id.split(":")[0], 40)


def number(value: float | None, form: str = ".4f") -> str:
    return MISSING if value is None else format(value, form)


def moment(seconds: float | None) -> str:
    """UTC seconds as date and time."""
    return MISSING if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def duration(seconds: float | None) -> str:
    return MISSING if seconds is None else spelled_out(seconds)


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as bars of eighths, the lowest to the highest; of more than ``width``, means of as many."""
    if len(values) > width:
        bounds = [round(place * len(values) / width) for place in range(width + 1)]
        values = [mean(values[first:last]) for first, last in pairwise(bounds)]
    low, high = min(values), max(values)
    span = high - low or 1.0
    # Divided first: the inverse of a span next to nothing would be infinite.
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


RESULT_COLUMNS = (
    "epoch",
    "uid",
    "hotkey",
    "model_id",
    "verdict",
    "detail",
    "loss",
    "win_rate",
    "share",
    "score",
    "weight",
)


def result_cells(result: Result) -> list[object]:
    """One miner in one epoch, under ``RESULT_COLUMNS``."""
    verdict = result.reason or result.standing or "no_turn"
    who = [result.epoch, result.uid, result.hotkey, result.model_id, str(verdict), result.detail]
    return [*who, result.loss, result.win_rate, result.share, result.score, result.weight]


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """RFC 4180, with a line of names. No text in it can become a formula of a spreadsheet."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    sys.stdout.write(written.getvalue())


def _cell(value: object) -> object:
    """Text as it is, printable, with an apostrophe before what a spreadsheet would calculate."""
    if not isinstance(value, str):
        return value
    text = printable(value, _REASON_CHARACTERS)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
