"""``flockoff localnet``: the local network for a person, with the commands to paste."""

import shlex
import threading

from rich.console import Console
from rich.table import Table

from flockoff.localnet.network import Localnet, LocalnetSettings, running_localnet


def serve_localnet(settings: LocalnetSettings, stop: threading.Event) -> int:
    """Run the network until ``stop`` is set; returns the exit status."""
    console = Console(highlight=False)
    with console.status("Starting…") as status, running_localnet(settings, status.update) as localnet:
        status.stop()
        _introduce(console, localnet, settings)
        stop.wait()
        console.print("Stopping.")
    return 0


def _introduce(console: Console, localnet: Localnet, settings: LocalnetSettings) -> None:
    console.print("[bold]FLock OFF local network[/bold], for development and tests, on this machine only")
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("node", localnet.node.endpoint)
    table.add_row("hub", localnet.hub.endpoint)
    table.add_row("netuid", str(localnet.netuid))
    table.add_row("epoch", f"{settings.tempo} blocks of {settings.block_seconds:g} s")
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
    console.print("\nCtrl-C ends the network.")


def _command(
    console: Console, title: str, localnet: Localnet, hub_token: str, script: str, flags: list[str]
) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    environment = f"HF_ENDPOINT={localnet.hub.endpoint} HF_TOKEN={hub_token}"
    _print_command(console, f"{environment} uv run python3 neurons/{script} {shlex.join(flags)}")


def _print_command(console: Console, command: str) -> None:
    """In one unbroken line, so that it can be copied whole."""
    console.print(command, soft_wrap=True, markup=False, style="cyan")
