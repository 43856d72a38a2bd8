"""``flockoff watch``: reports events to a miner, once each, on the terminal and by Apprise."""

import hashlib
import json
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flockoff.alerts import Notice, check_alerts, deliver, kind_of, read_memory, write_memory
from flockoff.chain import SubtensorChain, WalletRef, hotkey_address, resolve_endpoint
from flockoff.commands.ledgers import hotkey_among, look_if_of
from flockoff.commands.subnets import reading
from flockoff.competition import Competition, load_competition
from flockoff.errors import ChainTransient, Interrupted, SetupError
from flockoff.files import remedy_for
from flockoff.flags import (
    Alert,
    AsJson,
    CompetitionFile,
    DataDir,
    Endpoint,
    Netuid,
    Network,
    WalletHotkey,
    WalletName,
    WalletPath,
)
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.report.published import PublishedReport, read_report
from flockoff.settings import alert_secrets, read_credentials
from flockoff.standings import standings
from flockoff.text import printable, secrets_in, short_hotkey
from flockoff.watching import LastTurn, News, Seen, as_json, from_json, look, news

log = logging.getLogger(__name__)

_LEDGER = "the ledger here"
_LINE_CHARACTERS = 1000
_PENDING = 100


@dataclass
class _Memory:
    """Each hotkey's last state, and alerts still to send; kept in a file between rounds."""

    path: Path
    seen: dict[str, Seen]
    pending: list[News]

    def save(self) -> None:
        """Raises SetupError if it cannot be written: without it everything would be reported again."""
        content = {
            "seen": {hotkey: as_json(each) for hotkey, each in self.seen.items()},
            "pending": [asdict(each) for each in self.pending[-_PENDING:]],
        }
        try:
            write_memory(self.path, content)
        except OSError as error:
            raise SetupError(
                f"Cannot write {self.path}: {error.strerror}.", remedy=remedy_for(error, self.path)
            ) from error


def watch(
    *,
    netuid: Netuid,
    who: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHO]...", help="Address, its beginning, or uid; default: the wallet's hotkey."
        ),
    ] = None,
    alerts: Alert = None,
    reports: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="URL",
            help="Also read what a validator publishes: its report's page, or flockoff report --json.",
        ),
    ] = None,
    every: Annotated[
        float, typer.Option("--every", metavar="S", min=1, help="Seconds between checks.")
    ] = 600.0,
    once: Annotated[bool, typer.Option("--once", help="Check once and exit, for cron.")] = False,
    data_dir: DataDir,
    wallet_name: WalletName,
    wallet_hotkey: WalletHotkey,
    wallet_path: WalletPath,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    as_lines: AsJson = False,
) -> None:
    """Watch miners and report events: evaluated, beaten, at fault, deregistered, weight gone.

    \b
    flockoff watch --netuid 96 --wallet-name ann --hotkey one --alert discord://ID/TOKEN
    flockoff watch 12 5G4GQ9Pb --netuid 96 --once --json

    Each event is reported once, even across restarts, as a line and to every --alert; failed alerts are
    retried in the next round. The chain suffices; a ledger in --data-dir and published reports add detail.
    Put addresses into FLOCKOFF_ALERTS (environment or .env) to keep them out of the process list. --json
    prints one object a line.
    """
    credentials = read_credentials()
    urls = tuple(alerts or ()) or credentials.alerts
    secrets = secrets_in(network) | secrets_in(endpoint or "") | credentials.secrets | alert_secrets(urls)
    say_on_stderr(secrets)

    def program(stop: threading.Event) -> int:
        check_alerts(urls)
        rules, node = load_competition(competition), resolve_endpoint(network, endpoint)
        wanted = who or [hotkey_address(WalletRef(wallet_name, wallet_hotkey, wallet_path))]
        memory = _load(_memory_path(data_dir, netuid, node))
        with reading(netuid, network, endpoint, stop) as chain:
            while True:
                try:
                    _round(chain, wanted, rules, data_dir, reports or [], memory, as_lines=as_lines)
                    _send(urls, memory)
                except ChainTransient as fault:
                    if once:
                        raise
                    log.warning("%s Looking again in %.0f s.", fault, every)
                if once:
                    return 1 if memory.pending else 0
                if stop.wait(every):
                    raise Interrupted

    raise typer.Exit(run(program))


def _round(
    chain: SubtensorChain,
    wanted: Sequence[str],
    rules: Competition,
    data_dir: Path,
    reports: Sequence[str],
    memory: _Memory,
    *,
    as_lines: bool,
) -> None:
    """Check once; print news, and queue it for sending."""
    view = chain.view()
    found = standings(view, rules.id)
    published = [read_report(source) for source in reports]
    for report in published:
        if report.problem is not None:
            log.warning("No report from %s: %s", report.source, report.problem)
    hotkeys = [hotkey_among(each, view.snapshot.neurons, gone=memory.seen) for each in wanted]
    for hotkey in dict.fromkeys(hotkeys):
        turns = _turns(hotkey, data_dir, view.snapshot.netuid, rules.id, published)
        before, now = memory.seen.get(hotkey), look(hotkey, view.snapshot, found, turns)
        fresh = news(before, now)
        for each in fresh:
            _print(each, as_lines=as_lines)
        memory.pending += fresh
        memory.seen[hotkey] = now
    memory.save()


def _print(each: News, *, as_lines: bool) -> None:
    line = json.dumps(asdict(each)) if as_lines else printable(each.text, _LINE_CHARACTERS)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _send(urls: Sequence[str], memory: _Memory) -> None:
    """Send queued news. What reaches no address waits for the next round."""
    waiting, memory.pending = memory.pending, []
    failed: set[str] = set()
    for each in waiting if urls else ():
        title = f"{each.kind.replace('_', ' ')}: {short_hotkey(each.hotkey)}"
        left = deliver(urls, Notice(title, each.text, each.well))
        failed |= {kind_of(url) for url in left}
        if len(left) == len(urls):
            memory.pending.append(each)
    if failed:
        log.warning("Alerts did not arrive by %s.", ", ".join(sorted(failed)))
    if waiting:
        memory.save()


def _turns(
    hotkey: str, data_dir: Path, netuid: int, competition: str, published: Sequence[PublishedReport]
) -> dict[str, LastTurn]:
    turns = {}
    for report in published:
        miner = report.miners.get(hotkey)
        if miner is not None and miner.epoch is not None:
            turn = LastTurn(miner.epoch, miner.standing, miner.reason, "", miner.loss)
            turns[report.source] = turn
    found = look_if_of(data_dir, netuid, competition)
    if found is not None:
        with found as ledger:
            results = ledger.views.results_of(hotkey, 1)
        for last in results:
            if last.epoch is not None and last.standing is not None:
                detail = printable(last.detail, _LINE_CHARACTERS)
                turns[_LEDGER] = LastTurn(last.epoch, last.standing, last.reason, detail, last.loss)
    return turns


def _memory_path(data_dir: Path, netuid: int, node: str) -> Path:
    chain = hashlib.sha256(node.encode()).hexdigest()[:8]
    return data_dir / f"watch-{netuid}-{chain}.json"


def _load(path: Path) -> _Memory:
    """A file not written by this program counts as missing."""
    content: Mapping[str, Any] = read_memory(path)
    try:
        seen = {hotkey: from_json(each) for hotkey, each in content.get("seen", {}).items()}
        pending = [News(**each) for each in content.get("pending", [])]
    except (AttributeError, KeyError, TypeError, ValueError):
        return _Memory(path, {}, [])
    return _Memory(path, seen, pending)
