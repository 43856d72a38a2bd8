"""``flockoff demo``: the whole competition once, on this machine."""

import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flockoff.demo import play_demo
from flockoff.flags import CacheDir
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr


def demo(
    *,
    cache_dir: CacheDir,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here as JSON.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Keep wallets, logs, ledger and datasets here for inspection."
        ),
    ] = None,
) -> None:
    """Play one whole competition epoch on this machine: four miners, one validator, a local chain and hub.

    \b
    flockoff demo
    flockoff demo --keep demo-files --json demo.json
    """
    say_on_stderr()

    def program(stop: threading.Event) -> int:
        require_installed("torch", "transformers", "peft", "trl")

        with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="flockoff-demo-") as directory:
            return play_demo(Path(directory).resolve(), cache_dir, json_file, stop)

    raise typer.Exit(run(program))
