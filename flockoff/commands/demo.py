"""``flockoff demo``: the whole competition once, on this machine."""

import tempfile
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flockoff.demo import play_demo
from flockoff.flags import AsJson, CacheDir, folder_option
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr


def demo(
    *,
    cache_dir: CacheDir,
    keep: Annotated[
        Path | None,
        folder_option(
            "--keep",
            help="Keep wallets, logs, ledger and datasets here for inspection.",
        ),
    ] = None,
    sealed: Annotated[
        bool,
        typer.Option(
            "--sealed",
            help="Add a sealed evaluation set, and a fifth miner, who commits the public one reworded. The "
            "search for its text is all but off, so that only the sealed set can find that.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play one whole competition epoch on this machine: four miners, one validator, a local chain and hub.

    \b
    flockoff demo
    flockoff demo --sealed
    flockoff demo --keep demo-files --json
    """
    say_on_stderr()

    def program(stop: threading.Event) -> int:
        require_installed("torch", "transformers", "peft", "trl")

        with nullcontext(keep) if keep else tempfile.TemporaryDirectory(prefix="flockoff-demo-") as directory:
            return play_demo(Path(directory).resolve(), cache_dir, stop, as_json=as_json, sealed=sealed)

    raise typer.Exit(run(program))
