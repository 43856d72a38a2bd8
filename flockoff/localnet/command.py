"""``flockoff localnet`` and ``flockoff localnet fault``."""

import json
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flockoff.errors import UsageError
from flockoff.flags import AsJson, CommandGroup, folder_option
from flockoff.launch import run
from flockoff.localnet.control import CONTROL_PORT, send
from flockoff.localnet.network import LocalnetSettings
from flockoff.localnet.serve import FAULTS, serve_localnet
from flockoff.logs import say_on_stderr

localnet = typer.Typer(
    cls=CommandGroup, invoke_without_command=True, add_completion=False, rich_markup_mode=None
)

_FREE = "0: any free one."

Port = Annotated[int, typer.Option(min=0, max=65535, help=_FREE)]


@localnet.callback()
def serve(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        folder_option(
            "--dir",
            help="Keep wallets, hub repos and datasets here. Default: a temporary folder.",
        ),
    ] = None,
    miners: Annotated[int, typer.Option(min=1, max=200, help="Miners to make wallets and datasets for.")] = 4,
    block_seconds: Annotated[float, typer.Option(min=0.05, help="Seconds between blocks.")] = 1.0,
    tempo: Annotated[int, typer.Option(min=10, max=65535, help="Blocks in an epoch.")] = 360,
    node_port: Port = 9944,
    hub_port: Port = 9945,
    control_port: Annotated[
        int, typer.Option(min=0, max=65535, help=f"Listens for 'localnet fault'. {_FREE}")
    ] = CONTROL_PORT,
    commit_reveal: Annotated[
        bool, typer.Option(help="Commit-reveal weights; revealing them needs the internet.")
    ] = False,
    commitment_cooldown: Annotated[
        int, typer.Option(min=0, help="Blocks between two commitments of a hotkey.")
    ] = 0,
    weights_rate_limit: Annotated[
        int, typer.Option(min=0, help="Blocks between two weight sets of a validator.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Run a local chain and a local hub, and print the commands to try on them. Ends with Ctrl-C.

    \b
    flockoff localnet --tempo 40 --block-seconds 0.5
    flockoff localnet fault node.stall seconds=20
    """
    if context.invoked_subcommand:
        return
    say_on_stderr()

    def program(stop: threading.Event) -> int:
        context = (
            nullcontext(directory) if directory else tempfile.TemporaryDirectory(prefix="flockoff-localnet-")
        )
        with context as folder:
            settings = LocalnetSettings(
                directory=Path(folder).resolve(),
                miners=miners,
                node_port=node_port,
                hub_port=hub_port,
                block_seconds=block_seconds,
                tempo=tempo,
                commit_reveal=commit_reveal,
                commitment_cooldown=commitment_cooldown,
                weights_rate_limit=weights_rate_limit,
            )
            return serve_localnet(settings, control_port, stop, as_json=as_json)

    raise typer.Exit(run(program))


@localnet.command()
def fault(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=lambda: [*FAULTS],
            help="Without it: list all faults.",
            show_default=False,
        ),
    ] = None,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", show_default=False)] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The local network's --control-port.")] = (
        CONTROL_PORT
    ),
    as_json: AsJson = False,
) -> None:
    """Inject a fault into the running local network.

    \b
    flockoff localnet fault
    flockoff localnet fault node.stall seconds=20
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:
        if name is None:
            listed = json.dumps(dict(FAULTS)) if as_json else "\n".join(_listed(FAULTS))
            sys.stdout.write(listed + "\n")
        else:
            said = send(port, name, _parsed(arguments or ()))
            sys.stdout.write((json.dumps({"said": said}) if as_json else said) + "\n")
        return 0

    raise typer.Exit(run(program))


def _listed(faults: Mapping[str, str]) -> list[str]:
    width = max(map(len, faults))
    return [f"{name:{width}}  {does}" for name, does in faults.items()]


def _parsed(arguments: Sequence[str]) -> Mapping[str, str]:
    pairs = [argument.partition("=") for argument in arguments]
    for key, sign, _ in pairs:
        if not sign:
            raise UsageError(f"{key!r} is not KEY=VALUE.", remedy="For example: node.stall seconds=20")
    return {key: value for key, _, value in pairs}
