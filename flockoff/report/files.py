"""The report as a file: written once, or kept up to date beside a validator."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flockoff.competition import Competition
from flockoff.errors import FlockoffError, SetupError
from flockoff.files import remedy_for
from flockoff.ledger import Ledger
from flockoff.report.data import page_data
from flockoff.report.facts import EPOCHS_SHOWN, read_facts
from flockoff.report.news import settled_version
from flockoff.report.page import render_page

log = logging.getLogger(__name__)

FILE_NAME = "index.html"
_LOOK_SECONDS = 5.0
_FIRST_LOOKS_SECONDS = 0.5  # until there is a page


def write_report(
    ledger_path: Path, out: Path, rules: Competition, *, epochs: int = EPOCHS_SHOWN, now: float | None = None
) -> None:
    """Write the page of the ledger at ``ledger_path`` to ``out``, atomically.

    ``now``: UTC seconds; None: the clock's. Raises LedgerError, and SetupError if it cannot be written.
    """
    with Ledger.look(ledger_path) as ledger:
        facts = read_facts(ledger, rules, time.time() if now is None else now, epochs)
    write_whole(out, render_page(facts))


def write_whole(out: Path, text: str) -> None:
    """Write ``text`` to ``out`` under another name first, so that nobody ever reads a part of it.

    Raises SetupError where it cannot be written.
    """
    new = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(out)
    except OSError as error:
        with suppress(OSError):  # it, or its folder, may not exist
            new.unlink()
        raise SetupError(f"Cannot write {out}: {error.strerror}.", remedy=remedy_for(error, out)) from error


def report_numbers(ledger_path: Path, rules: Competition, *, epochs: int = EPOCHS_SHOWN) -> dict[str, Any]:
    """The page's content as JSON data. Raises LedgerError."""
    with Ledger.look(ledger_path) as ledger:
        return page_data(read_facts(ledger, rules, time.time(), epochs))


@contextmanager
def kept_fresh(ledger_path: Path, folder: Path | None, rules: Competition) -> Iterator[None]:
    """Keep ``index.html`` in ``folder`` up to date while this lasts; None: do not.

    Uses its own thread and connection; its errors are only logged.
    """
    if folder is None:
        yield
        return
    stop = threading.Event()
    out = folder / FILE_NAME
    thread = threading.Thread(
        target=_keep, args=(ledger_path, lambda: write_report(ledger_path, out, rules), stop), name="report"
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep(ledger_path: Path, write: Callable[[], None], stop: threading.Event) -> None:
    """Write whenever an epoch begins, closes or gets its weights, and once more at the end.

    A fault is logged if two looks in a row meet it, or the last one: a ledger that is just being created has
    one that passes.
    """
    written: str | None = None
    met = reported = ""
    while True:
        last = stop.wait(_LOOK_SECONDS if written else _FIRST_LOOKS_SECONDS)
        try:
            if ledger_path.exists():
                version = settled_version(ledger_path)
                if version != written:
                    write()
                    written, reported = version, ""
            met = ""
        except FlockoffError as error:
            before, met = met, str(error)
            if met != reported and (met == before or last):
                log.warning("The report is not up to date: %s", error)
                reported = met
        if last:
            return
