"""``flockoff localnet``: the local network for a person, with the commands to paste."""

import json
import shlex
import sys
import threading
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from flockoff.errors import UsageError
from flockoff.localnet import hub, node
from flockoff.localnet.control import CONTROL_PORT, listening
from flockoff.localnet.network import Localnet, LocalnetSettings, running_localnet
from flockoff.text import counted

FAULTS: Mapping[str, str] = {
    **{f"node.{name}": does for name, does in node.FAULTS.items()},
    **{f"hub.{name}": does for name, does in hub.FAULTS.items()},
}


def serve_localnet(
    settings: LocalnetSettings, control_port: int, stop: threading.Event, *, as_json: bool = False
) -> int:
    """Run the network, and inject faults on request, until ``stop`` is set; returns the exit status.

    ``as_json``: once it runs, one JSON object says where everything is, in place of the words for people.
    Raises what ``running_localnet`` does, and LocalnetError where ``control_port`` is taken.
    """
    console = Console(highlight=False, stderr=as_json)
    with console.status("Starting…") as status, running_localnet(settings, status.update) as localnet:

        def inject(name: str, arguments: Mapping[str, str]) -> str:
            said = _inject(localnet, name, arguments)
            console.print(said, markup=False)
            return said

        with listening(control_port, inject) as port:
            status.stop()
            if as_json:
                sys.stdout.write(json.dumps(_as_json(localnet, settings, port)) + "\n")
                sys.stdout.flush()
            else:
                _introduce(console, localnet, settings, port)
            stop.wait()
        console.print("Stopping.")
    return 0


def _inject(localnet: Localnet, name: str, arguments: Mapping[str, str]) -> str:
    side, _, fault = name.partition(".")
    if side == "node":
        return localnet.node.faults.inject(fault, arguments)
    if side == "hub":
        return localnet.hub.switches.inject(fault, arguments)
    raise UsageError(f"There is no fault {name!r}.", remedy="To see them all: uv run flockoff localnet fault")


def _as_json(localnet: Localnet, settings: LocalnetSettings, control_port: int) -> dict[str, object]:
    """Where everything is, with the neurons' flags and the hub tokens of this machine's own hub."""
    return {
        "node": localnet.node.endpoint,
        "hub": localnet.hub.endpoint,
        "control_port": control_port,
        "netuid": localnet.netuid,
        "wallets": str(settings.directory / "wallets"),
        "miners": [
            {
                "wallet": miner.wallet.name,
                "repo": miner.repo_id,
                "hub_token": miner.hub_token,
                "flags": localnet.miner_flags(miner),
            }
            for miner in localnet.miners
        ],
        "validator": {
            "wallet": localnet.validator.name,
            "hub_token": localnet.validator_hub_token,
            "flags": localnet.neuron_flags(localnet.validator),
        },
    }


def _introduce(console: Console, localnet: Localnet, settings: LocalnetSettings, control_port: int) -> None:
    console.print("[bold]FLock OFF local network[/bold], for development and tests, on this machine only")
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("node", localnet.node.endpoint)
    table.add_row("hub", localnet.hub.endpoint)
    table.add_row("netuid", str(localnet.netuid))
    table.add_row("epoch", f"{counted(settings.tempo, 'block')} of {settings.block_seconds:g} s")
    table.add_row("wallets", str(settings.directory / "wallets"))
    for miner in localnet.miners:
        table.add_row(miner.wallet.name, f"{miner.dataset.about}, to be uploaded to {miner.repo_id}")
    table.add_row(localnet.validator.name, "with stake and a validator permit")
    console.print(table)
    for miner in localnet.miners:
        flags = localnet.miner_flags(miner)
        _command(console, f"Mine as {miner.wallet.name}", localnet, miner.hub_token, "miner.py", flags)
    flags = [*localnet.neuron_flags(localnet.validator), "--data_dir", str(settings.directory / "validator")]
    flags += ["--block_threshold", str(max(1, min(50, settings.tempo // 4)))]
    _command(
        console, "Validate, after the miners", localnet, localnet.validator_hub_token, "validator.py", flags
    )
    console.print("\n[bold]Look at the chain[/bold]")
    _print_command(
        console, f"uv run btcli --network {localnet.node.endpoint} subnets metagraph {localnet.netuid}"
    )
    console.print("\n[bold]Make it misbehave[/bold], as the list says")
    port = "" if control_port == CONTROL_PORT else f"--port {control_port} "
    _print_command(console, "uv run flockoff localnet fault")
    _print_command(console, f"uv run flockoff localnet fault {port}node.stall seconds=20")
    console.print("\nCtrl-C ends the network.")


def _command(
    console: Console, title: str, localnet: Localnet, hub_token: str, script: str, flags: list[str]
) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    environment = f"HF_ENDPOINT={localnet.hub.endpoint} HF_TOKEN={hub_token}"
    _print_command(console, f"{environment} uv run python3 neurons/{script} {shlex.join(flags)}")


def _print_command(console: Console, command: str) -> None:
    """On one unbroken line, so that it can be copied as a whole."""
    console.print(command, soft_wrap=True, markup=False, style="cyan")
