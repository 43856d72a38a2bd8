"""``flockoff subnet``: validators, queue, what a share is worth, and the next epoch, all from the chain."""

import threading
from dataclasses import asdict

import typer

from flockoff.commands.subnets import read_standings
from flockoff.commands.tables import (
    MISSING,
    console,
    duration,
    number,
    outside,
    print_fitting,
    print_json,
    table,
)
from flockoff.flags import AsJson, CompetitionFile, Endpoint, Netuid, Network
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.standings import Standings, ValidatorStanding, remarks
from flockoff.text import counted, secrets_in, short_hotkey

_QUEUE = 16  # shown on a terminal


def subnet(
    *,
    netuid: Netuid,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    as_json: AsJson = False,
) -> None:
    """Show a subnet at a glance, from the chain: validators, queue, the worth of a share, the next epoch.

    \b
    flockoff subnet --netuid 96
    flockoff subnet --netuid 96 --network test --json

    agreement: a validator's weights compared with the stake-weighted mean of all others', as cosine and as
    overlap; 1 is equal. The chain does not store the version key of anybody's weights, only the one it
    requires.
    """
    say_on_stderr(secrets_in(network) | secrets_in(endpoint or ""))

    def program(stop: threading.Event) -> int:
        found = read_standings(netuid, network, endpoint, competition, stop)
        if as_json:
            queue = [asdict(each) for each in found.queue]
            print_json(asdict(found) | {"queue": queue})
        else:
            _show(found)
        return 0

    raise typer.Exit(run(program))


def _show(found: Standings) -> None:
    screen = console()
    for line in _lines(found):
        screen.print(outside(line, 1000), soft_wrap=True)
    rows = [
        [
            str(each.uid),
            outside(short_hotkey(each.hotkey)),
            f"{each.stake:,.0f}",
            _age(each, found),
            f"{each.trust:.4f}",
            MISSING if each.cosine is None else f"{each.cosine:.3f} {number(each.overlap, '.0%'):>4}",
            str(each.targets),
            f"{each.burned:.0%}" if each.targets else MISSING,
            f"{each.alpha_per_day:,.3f}",
            ", ".join(remarks(each)),
        ]
        for each in found.validators
    ]
    print_fitting(
        screen,
        "Validators",
        rows,
        words=("uid", "hotkey"),
        numbers=("stake", "last weights", "vtrust", "agreement", "targets", "burned", "alpha a day"),
        last="",
        expendable=("alpha a day", "targets", "hotkey", "burned"),
    )
    _show_queue(found)


def _lines(found: Standings) -> list[str]:
    terms, worth = found.terms, found.worth
    left = duration(found.seconds_left)
    closed = "" if terms.registration_open else ", but registration is closed now"
    sealed = ", by commit-reveal" if terms.commit_reveal else ""
    lines = [
        f"Subnet {found.netuid} {terms.name}, block {found.block:,}",
        f"epoch         {found.epoch_start:,} to {found.next_epoch:,}: the next one in "
        f"{counted(found.blocks_left, 'block')}, {left}; tempo {terms.tempo}",
        f"1 % of it     {worth.percent_alpha_per_day:,.3f} alpha a day, {worth.percent_tao_per_day:,.4f} TAO "
        f"of the {worth.miners_alpha_per_day:,.1f} alpha that miners share",
        f"price         {terms.alpha_price:.6f} TAO for one alpha; the pool has {terms.pool_tao:,.0f} TAO "
        f"and {terms.pool_alpha:,.0f} alpha",
        f"to register   {terms.registration_cost:.4f} TAO{closed}; a new hotkey is safe for "
        f"{terms.immunity_blocks:,} blocks",
        f"weights       version key {terms.weights_version_key} or newer, at most every "
        f"{terms.weights_rate_limit} blocks{sealed}",
    ]
    if worth.burned:
        lines.append(f"burn          {worth.burned:.1%} of the incentive: the chain does not pay it out")
    return lines


def _age(each: ValidatorStanding, found: Standings) -> str:
    if each.age_blocks is None:
        return "never"
    seconds = each.age_blocks * 86400 / found.worth.blocks_per_day if found.worth.blocks_per_day else 0.0
    return f"{counted(each.age_blocks, 'block')}, {duration(seconds)}"


def _show_queue(found: Standings) -> None:
    queue = found.queue
    if not queue:
        console().print("Nobody has committed a dataset that counts.")
        return
    made = table(
        "Committed datasets, the first ones first",
        words=("uid", "hotkey", "dataset"),
        numbers=("block",),
        last="counts",
    )
    for each in queue[:_QUEUE]:
        since = each.counts_from or 0
        made.add_row(
            str(each.uid),
            outside(short_hotkey(each.hotkey)),
            outside(each.repo or MISSING, 60),
            f"{each.block:,}",
            "now" if since <= found.block else f"from block {since:,}",
        )
    screen = console()
    screen.print(made)
    if len(queue) > _QUEUE:
        screen.print(f"… and {len(queue) - _QUEUE} more (--json has all).")
