"""``flockoff leaderboard``: who leads and why the others do not, by the chain or by a validator's ledger."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flockoff.commands.ledgers import look, require_epoch
from flockoff.commands.subnets import read_standings
from flockoff.commands.tables import (
    MISSING,
    RESULT_COLUMNS,
    console,
    dataset,
    number,
    outside,
    print_csv,
    print_fitting,
    print_json,
    reason,
    result_cells,
)
from flockoff.flags import AsCsv, AsJson, CompetitionFile, DataDir, Endpoint, EpochBlock, Network
from flockoff.launch import run
from flockoff.ledger import Result
from flockoff.logs import say_on_stderr
from flockoff.standings import Standing, Standings
from flockoff.text import secrets_in, short_hotkey

_VALIDATORS = 6  # side by side on a terminal
_CHAIN_COLUMNS = (
    "rank",
    "uid",
    "hotkey",
    "commitment",
    "url",
    "block",
    "counts_from",
    "problem",
    "incentive",
    "consensus",
    "alpha_per_day",
    "tao_per_day",
)


def leaderboard(
    *,
    data_dir: DataDir,
    epoch: EpochBlock,
    netuid: Annotated[
        int | None,
        typer.Option(
            "--netuid", min=0, max=2**16 - 1, help="Read the chain instead: what everybody can see."
        ),
    ] = None,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show who leads, by the chain or by a validator's ledger, with the reason for each verdict.

    \b
    flockoff leaderboard --netuid 96
    flockoff leaderboard --netuid 96 --network test --json
    flockoff leaderboard --epoch 7200 --data-dir DIR

    With --netuid it needs neither ledger nor wallet: incentive, what it is worth a day, the dataset, and
    what each validator gives. "burn" is weight on the owner's hotkeys, which the chain does not pay out.
    """
    say_on_stderr(secrets_in(network) | secrets_in(endpoint or ""))
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json exclude one another")
    if netuid is not None and epoch is not None:
        raise typer.BadParameter("--epoch is of a ledger, and --netuid of the chain: give one of them")

    def program(stop: threading.Event) -> int:
        if netuid is None:
            _from_ledger(data_dir, epoch, as_json=as_json, as_csv=as_csv)
            return 0
        found = read_standings(netuid, network, endpoint, competition, stop)
        if as_json:
            print_json(asdict(found))
        elif as_csv:
            print_csv(_CHAIN_COLUMNS, [_chain_cells(each) for each in found.miners])
        else:
            _show_chain(found)
        return 0

    raise typer.Exit(run(program))


def _from_ledger(data_dir: Path, epoch: int | None, *, as_json: bool, as_csv: bool) -> None:
    with look(data_dir) as ledger:
        start_block = require_epoch(ledger, epoch)
        rows, base = ledger.views.leaderboard(start_block), ledger.base_loss()
        before, burn = ledger.views.scores_before(start_block), ledger.views.burned_to(rows)
    base_loss = None if base is None else base.loss
    moves = rank_changes(rows, before)
    if as_json:
        entries = [asdict(row) | {"rank_change": moves.get(row.hotkey)} for row in rows]
        print_json({"epoch": start_block, "base_loss": base_loss, "burn": burn, "rows": entries})
    elif as_csv:
        print_csv(RESULT_COLUMNS, [result_cells(row) for row in rows])
    else:
        _show(start_block, base_loss, rows, moves, burn)


def rank_changes(rows: Sequence[Result], before: Mapping[str, float]) -> dict[str, int]:
    """By hotkey, how many places by score it has risen (positive) or fallen since the scores ``before``.

    Only of who has a score in both; equals share a place.
    """
    now = _places({row.hotkey: row.score for row in rows if row.score})
    then = _places({hotkey: score for hotkey, score in before.items() if score})
    return {hotkey: then[hotkey] - place for hotkey, place in now.items() if hotkey in then}


def _places(scores: Mapping[str, float]) -> dict[str, int]:
    return {hotkey: 1 + sum(other > score for other in scores.values()) for hotkey, score in scores.items()}


def _show_chain(found: Standings) -> None:
    shown = [each for each in found.validators if each.targets][:_VALIDATORS]
    rows = [
        [
            "burn" if each.burn else str(each.rank),
            str(each.uid),
            outside(short_hotkey(each.hotkey)),
            outside(each.repo or each.commitment or ("the owner's" if each.burn else MISSING), 32),
            f"{each.incentive:.4f}",
            f"{each.alpha_per_day:,.3f}",
            f"{each.tao_per_day:,.4f}",
            *(number(each.weights.get(validator.uid)) for validator in shown),
            _counts(each, found),
        ]
        for each in found.miners
    ]
    screen = console()
    if not found.miners:
        screen.print(f"Nobody has committed anything on subnet {found.netuid}, and nobody has weight.")
        return
    views = [f"by {each.uid}" for each in shown]
    left_out = print_fitting(
        screen,
        f"Subnet {found.netuid}, block {found.block:,}",
        rows,
        words=("#", "uid", "hotkey", "dataset"),
        numbers=("incentive", "alpha a day", "TAO a day", *views),
        last="counts",
        expendable=(*reversed(views), "TAO a day", "hotkey", "alpha a day"),
    )
    if not set(views) <= set(left_out):
        more = sum(each.targets > 0 for each in found.validators) - len(shown)
        rest = f" ({more} more: --json has all)" if more > 0 else ""
        screen.print(f"by N: the weight that validator N gives, the most staked first{rest}.")
    if found.worth.burned:
        screen.print(f"{found.worth.burned:.1%} of the incentive is burned: nobody is paid that part.")


def _counts(each: Standing, found: Standings) -> str:
    if each.problem is not None:
        return "no: malformed" if each.repo is None else "no: another competition's"
    if each.counts_from is None:
        return MISSING if each.commitment is None else "no"
    return "now" if each.counts_from <= found.block else f"from block {each.counts_from:,}"


def _chain_cells(each: Standing) -> list[object]:
    return [
        "burn" if each.burn else each.rank,
        each.uid,
        each.hotkey,
        each.commitment,
        each.url,
        each.block,
        each.counts_from,
        each.problem,
        each.incentive,
        each.consensus,
        each.alpha_per_day,
        each.tao_per_day,
    ]


def _show(
    epoch: int, base_loss: float | None, rows: list[Result], moves: Mapping[str, int], burn: str | None
) -> None:
    uids = {row.hotkey: row.uid for row in rows if row.uid is not None}
    cells = []
    for row in rows:
        change = None if row.loss is None or base_loss is None else row.loss / base_loss - 1
        verdict = "no turn" if row.standing is None else str(row.reason or row.standing.replace("_", " "))
        detail = f": {reason(row.detail, uids)}" if row.detail else ""
        if row.hotkey == burn:
            verdict, detail = "burn", ": nobody has a score, so all goes to the subnet's owner and is burned"
        cells.append(
            [
                MISSING if row.uid is None else str(row.uid),
                outside(short_hotkey(row.hotkey)),
                dataset(row.model_id),
                number(row.loss),
                number(change, "+.1%"),
                number(row.win_rate, ".2f"),
                number(row.score),
                _moved(moves.get(row.hotkey)),
                number(row.weight),
                verdict + detail,
            ]
        )
    screen = console()
    print_fitting(
        screen,
        f"Epoch {epoch}",
        cells,
        words=("uid", "hotkey", "dataset"),
        numbers=("loss", "change", "wins", "score", "rank", "weight"),
        last="verdict",
        expendable=("rank", "wins", "change", "hotkey", "dataset", "score"),
    )
    base = "" if base_loss is None else f"; the base model's is {base_loss:.4f}"
    screen.print(
        f"loss: nats per assistant token{base}. wins: win rate. rank: places since the epoch before."
    )


def _moved(places: int | None) -> str:
    return MISSING if places is None else "=" if places == 0 else f"{places:+d}"
