"""``flockoff status``: where a miner stands, by the chain and by a validator's ledger where there is one."""

import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from flockoff.chain import WalletRef, hotkey_address
from flockoff.commands.ledgers import hotkey_among, is_address, look_if_of
from flockoff.commands.subnets import reading
from flockoff.commands.tables import console, outside, print_json
from flockoff.competition import Competition, load_competition
from flockoff.epoch.entries import Entries, enter
from flockoff.epoch.memory import Memory
from flockoff.epoch.queue import epochs_to_wait
from flockoff.flags import (
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
from flockoff.ledger import Ledger, Result
from flockoff.logs import say_on_stderr
from flockoff.records import Epoch, EpochStatus, ModelId, SubnetSnapshot
from flockoff.text import counted, secrets_in, short_names


@dataclass(frozen=True, slots=True)
class ChainStanding:
    """What the chain says of a hotkey. Of a hotkey that is not registered only ``hotkey`` is known."""

    hotkey: str
    uid: int | None = None
    commitment: str | None = None  # as it is on chain; may be malformed
    problem: str | None = None  # what is wrong with the commitment
    block: int | None = None  # of the commitment's last update
    counts_from: int | None = None  # first block of the first epoch in which it counts
    incentive: float | None = None
    consensus: float | None = None
    rivals: int = 0  # hotkeys with a commitment for this competition, this one included


@dataclass(frozen=True, slots=True)
class LedgerStanding:
    """What one validator's ledger says of a hotkey."""

    score: float
    last_evaluated: int | None  # start block of the epoch
    place_now: int | None  # in the running epoch, counted from 1, while it has no verdict there
    epochs_to_wait: int | None  # until it has a place, at the latest; 1 is the next epoch
    last: Result | None


def status(
    *,
    data_dir: DataDir,
    wallet_path: WalletPath,
    netuid: Netuid,
    who: Annotated[
        str | None,
        typer.Argument(
            metavar="HOTKEY", help="Address, its beginning, or uid; without it, the wallet's hotkey."
        ),
    ] = None,
    hotkey: WalletHotkey,
    wallet_name: WalletName,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Show where a miner stands: commitment, place in the queue, last verdict, score, weight, incentive.

    \b
    flockoff status --netuid 96 -w ann -H one
    flockoff status --netuid 96 12
    flockoff status --netuid 96 5G4GQ9Pb --json

    Of a wallet's hotkey, or of anybody's. A ledger is read where --data-dir has one.
    """
    say_on_stderr(secrets_in(network) | secrets_in(endpoint or ""))

    def program(stop: threading.Event) -> int:
        rules = load_competition(competition)
        meant = who or hotkey
        if not who and not is_address(hotkey):
            meant = hotkey_address(WalletRef(wallet_name, hotkey, wallet_path))
        with reading(netuid, network, endpoint, stop) as chain:
            epoch, snapshot = chain.epoch_status(), chain.snapshot()
        address = hotkey_among(meant, snapshot.neurons)
        on_chain = standing_on_chain(address, snapshot, epoch, rules)
        in_ledger = _standing_in_ledger(address, data_dir, netuid, snapshot, epoch, rules)
        if as_json:
            ledger = asdict(in_ledger) if in_ledger else None
            print_json(
                {"netuid": netuid, "block": snapshot.block, "chain": asdict(on_chain), "ledger": ledger}
            )
        else:
            _show(netuid, on_chain, in_ledger, epoch, rules)
        return 0 if on_chain.uid is not None else 1

    raise typer.Exit(run(program))


def standing_on_chain(
    hotkey: str, snapshot: SubnetSnapshot, epoch: EpochStatus, rules: Competition
) -> ChainStanding:
    """What the snapshot says of ``hotkey``; ``epoch`` is the one under way."""
    neuron = snapshot.neuron(hotkey)
    if neuron is None:
        return ChainStanding(hotkey)
    entries = _next_entries(snapshot, epoch, Memory(), rules)
    raw = snapshot.commitments.get(hotkey)
    counts = any(commitment.hotkey == hotkey for commitment in entries.counting)
    problem = next((verdict.detail for verdict in entries.verdicts if verdict.hotkey == hotkey), None)
    counts_from = None
    if raw is not None and counts:
        counts_from = epoch.start_block if raw.block < epoch.start_block else epoch.next_start_block
    elif raw is not None and problem is None:
        problem = f"It is for competition {ModelId.parse(raw.text).competition_id}, not {rules.id}."
    return ChainStanding(
        hotkey=hotkey,
        uid=neuron.uid,
        commitment=raw.text if raw else None,
        problem=problem,
        block=raw.block if raw else None,
        counts_from=counts_from,
        incentive=neuron.incentive,
        consensus=neuron.consensus,
        rivals=len(entries.counting),
    )


def _next_entries(
    snapshot: SubnetSnapshot, epoch: EpochStatus, memory: Memory, rules: Competition
) -> Entries:
    """Which of today's commitments count once the next epoch begins."""
    start = epoch.next_start_block
    return enter(snapshot, Epoch(start, start + 1, seed=0), memory, rules.id)


def _standing_in_ledger(
    hotkey: str,
    data_dir: Path,
    netuid: int,
    snapshot: SubnetSnapshot,
    epoch: EpochStatus,
    rules: Competition,
) -> LedgerStanding | None:
    found = look_if_of(data_dir, netuid, rules.id)
    if found is None:
        return None
    with found as ledger:
        memory = ledger.memory(snapshot=snapshot)
        entries = _next_entries(snapshot, epoch, memory, rules)
        waits = epochs_to_wait({each.hotkey: each.block for each in entries.counting}, memory, rules.queue)
        results = ledger.views.results_of(hotkey, 1)
        return LedgerStanding(
            score=memory.scores.get(hotkey, 0.0),
            last_evaluated=memory.last_evaluated.get(hotkey),
            place_now=_place_now(ledger, hotkey, epoch.block),
            epochs_to_wait=waits.get(hotkey),
            last=results[0] if results else None,
        )


def _place_now(ledger: Ledger, hotkey: str, block: int) -> int | None:
    """In the epoch that is under way at ``block``: a ledger whose validator has stopped may know none."""
    for epoch in ledger.views.epochs(1):
        if epoch.closed_at is not None or not epoch.start_block <= block < epoch.end_block:
            return None
        judged = {verdict.hotkey for verdict in ledger.verdicts(epoch.start_block)}
        for place, commitment in enumerate(ledger.epoch_plan(epoch.start_block) or [], start=1):
            if commitment.hotkey == hotkey and hotkey not in judged:
                return place
    return None


def _show(
    netuid: int,
    on_chain: ChainStanding,
    in_ledger: LedgerStanding | None,
    epoch: EpochStatus,
    rules: Competition,
) -> None:

    screen = console()
    screen.print(f"[bold]{outside(on_chain.hotkey)} on subnet {netuid}[/bold], block {epoch.block:,}")
    for line in _chain_lines(on_chain, epoch, rules):
        screen.print(outside(line, 1000))
    if in_ledger is None:
        screen.print("There is no validator's ledger of this competition in --data-dir to say more.")
        return
    for line in _ledger_lines(in_ledger):
        screen.print(outside(line, 1000))


def _chain_lines(on_chain: ChainStanding, epoch: EpochStatus, rules: Competition) -> list[str]:
    if on_chain.uid is None:
        return ["not registered: it cannot commit and earns nothing until btcli has registered it"]
    lines = [f"registration  uid {on_chain.uid}"]
    if on_chain.commitment is None:
        return [*lines, "commitment    none: submit a dataset with flockoff submit"]
    lines.append(f"commitment    {on_chain.commitment} since block {on_chain.block:,}")
    if on_chain.problem is not None:
        return [*lines, f"              it does not count: {on_chain.problem}"]
    if on_chain.counts_from == epoch.next_start_block:
        lines.append(
            f"              counts from block {on_chain.counts_from:,}, "
            f"in {counted(epoch.blocks_left, 'block')}"
        )
    most = -(-on_chain.rivals // rules.queue.waiting)
    lines.append(
        f"queue         one of {counted(on_chain.rivals, 'miner')}: evaluated within "
        f"{counted(most, 'epoch')} at the latest"
    )
    lines.append(f"incentive     {on_chain.incentive:.4f}, consensus weight {on_chain.consensus:.4f}")
    return lines


def _ledger_lines(standing: LedgerStanding) -> list[str]:
    evaluated = "never" if standing.last_evaluated is None else f"in epoch {standing.last_evaluated}"
    lines = [f"evaluated     {evaluated} by the validator whose ledger this is"]
    if standing.place_now is not None:
        lines.append(f"now           has place {standing.place_now} of the running epoch, and no verdict yet")
    elif standing.epochs_to_wait is not None:
        soon = (
            "in the next epoch"
            if standing.epochs_to_wait == 1
            else f"within {standing.epochs_to_wait} epochs"
        )
        lines.append(f"next          {soon}")
    lines.append(f"score         {standing.score:.4f}")
    if (last := standing.last) is not None:
        verdict = last.reason or (last.standing or "").replace("_", " ")
        loss = "" if last.loss is None else f", loss {last.loss:.4f}"
        weight = "" if last.weight is None else f", weight {last.weight:.4f}"
        lines.append(
            f"last verdict  {verdict}{loss}{weight}"
            + (f": {short_names(last.detail)}" if last.detail else "")
        )
    return lines
