"""``flockoff doctor``: checks everything that a machine needs."""

import importlib.util
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flockoff.chain import resolve_endpoint
from flockoff.commands.findings import show_finding
from flockoff.commands.tables import console, print_json
from flockoff.competition import load_competition
from flockoff.doctor import gpu, machine, network
from flockoff.doctor.bundle import bundle, secrets_around
from flockoff.doctor.finding import Finding, examined
from flockoff.flags import (
    PROJECT_ROOT,
    AsJson,
    CacheDir,
    CompetitionFile,
    DataDir,
    Device,
    Endpoint,
    LogDir,
    Network,
    WalletHotkey,
    WalletName,
    WalletPath,
    file_option,
)
from flockoff.launch import run
from flockoff.ledger.filesystem import mounts
from flockoff.logs import say_on_stderr
from flockoff.openers import ledger_path
from flockoff.report.files import write_whole
from flockoff.settings import Credentials, NeuronSettings, read_credentials
from flockoff.text import without_key


class NeuronRole(StrEnum):
    MINER = "miner"
    VALIDATOR = "validator"


@dataclass(frozen=True, slots=True)
class _Patient:
    """The neuron to be: its role, and the settings that it would start with."""

    role: NeuronRole
    neuron: NeuronSettings | None  # without a subnet number: None
    credentials: Credentials
    competition: Path | None
    cache_dir: Path
    data_dir: Path
    device: str | None


def doctor(
    *,
    cache_dir: CacheDir,
    data_dir: DataDir,
    wallet_path: WalletPath,
    role: Annotated[
        NeuronRole | None, typer.Argument(help="Default: validator, or miner if PyTorch is not installed.")
    ] = None,
    netuid: Annotated[
        int | None,
        typer.Option(
            "--netuid",
            min=0,
            envvar="FLOCKOFF_NETUID",
            show_envvar=False,
            help="Without it, chain and wallet are not checked.",
        ),
    ] = None,
    network: Network,
    endpoint: Endpoint,
    wallet_name: WalletName,
    wallet_hotkey: WalletHotkey,
    device: Device,
    competition: CompetitionFile,
    log_dir: LogDir,
    bundle_file: Annotated[
        Path | None,
        file_option(
            "--bundle",
            help="Also write what one attaches to a report of a fault.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Examine this machine: what it has, what it lacks, and the remedy for each.

    \b
    flockoff doctor miner --netuid 96 --wallet-name ann --hotkey one
    flockoff doctor validator --netuid 96 --json
    flockoff doctor validator --netuid 96 --bundle report.txt --logging.logging_dir logs

    Exits with status 1 if something does not work. A bundle is one text to look through and attach: versions,
    these findings, settings, what is in the ledger, the last lines of the log; secrets are left out.
    """
    credentials = read_credentials()
    neuron = None
    if netuid is not None:
        neuron = NeuronSettings(
            wallet_name=wallet_name,
            wallet_hotkey=wallet_hotkey,
            wallet_path=wallet_path,
            network=network,
            chain_endpoint=endpoint,
            netuid=netuid,
            competition=competition,
            credentials=credentials,
        )
    say_on_stderr((neuron or credentials).secrets, level=logging.ERROR)

    def program(_stop: threading.Event) -> int:
        there = importlib.util.find_spec("torch") is not None
        chosen = role or (NeuronRole.VALIDATOR if there else NeuronRole.MINER)
        patient = _Patient(chosen, neuron, credentials, competition, cache_dir, data_dir, device)
        if as_json:
            found = list(_findings(patient))
            print_json({"role": chosen, "findings": [asdict(finding) for finding in found]})
        else:
            found = _shown(chosen, _findings(patient))
        if bundle_file is not None:
            _write_bundle(bundle_file, found, patient, log_dir)
        return 1 if any(finding.state == "bad" for finding in found) else 0

    raise typer.Exit(run(program))


def _findings(patient: _Patient) -> Iterator[Finding]:
    role, cache_dir, data_dir = patient.role, patient.cache_dir, patient.data_dir
    rules = load_competition(patient.competition)
    folders = {"models": cache_dir} | ({"ledger and datasets": data_dir} if role == "validator" else {})
    yield from machine.python()
    yield from machine.packages(role)
    yield from machine.memory(role)
    yield from machine.disk(role, folders)
    if role == "validator":
        yield from machine.ledger_folder(data_dir, mounts())
        yield from examined("device", lambda: gpu.device(rules, cache_dir, patient.device))
    yield from machine.base_model(rules, cache_dir, role)
    yield from network.environment()
    yield from examined("alerts", lambda: network.alerts(patient.credentials))
    yield from examined("hub token", lambda: network.hub(patient.credentials, role))
    settings = patient.neuron
    if settings is None:
        yield Finding("chain and wallet", "unknown", "not checked", "Give --netuid.")
    else:
        yield from examined("chain", lambda: network.chain(settings, role))


def _write_bundle(file: Path, found: list[Finding], patient: _Patient, log_dir: Path | None) -> None:
    neuron, device = patient.neuron, patient.device or "auto"
    settings: dict[str, object] = {
        "cache_dir": patient.cache_dir,
        "data_dir": patient.data_dir,
        "device": device,
    }
    if neuron is not None:
        node = resolve_endpoint(neuron.network, neuron.chain_endpoint)
        settings |= {"node": without_key(node), "netuid": neuron.netuid}
        settings |= {"wallet": f"{neuron.wallet_name}/{neuron.wallet_hotkey} in {neuron.wallet_path}"}
    text = bundle(
        found,
        role=patient.role,
        settings=settings,
        competition=load_competition(patient.competition),
        ledger=ledger_path(patient.data_dir),
        log_dir=log_dir,
        secrets=(neuron or patient.credentials).secrets
        | secrets_around(os.environ, [Path.cwd() / ".env", PROJECT_ROOT / ".env"]),
    )
    write_whole(file, text)
    typer.echo(f"{file.resolve()}: look through it before you attach it to a report.", err=True)


def _shown(role: str, findings: Iterator[Finding]) -> list[Finding]:
    """Print each finding immediately: some take seconds."""
    screen, found = console(), []
    screen.print(f"[bold]This machine as a {role}[/bold]")
    for finding in findings:
        found.append(finding)
        show_finding(screen, finding)
    bad, doubtful = (sum(finding.state == state for finding in found) for state in ("bad", "doubtful"))
    if bad:
        screen.print(f"[red]{bad} of {len(found)} checks failed.[/red]")
    elif doubtful:
        screen.print(f"[yellow]It works; {doubtful} of {len(found)} checks could be better.[/yellow]")
    else:
        screen.print("[green]All is well.[/green]")
    return found
