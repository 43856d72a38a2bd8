"""The demo's steps: network, miners, validator, leaderboard."""

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flockoff import openers
from flockoff.chain import open_chain
from flockoff.competition import load_competition
from flockoff.demo.result import DemoResult, DemoRow, broken_promises
from flockoff.demo.show import show_result
from flockoff.demo.stage import Stage, Step
from flockoff.errors import Interrupted, LocalnetError
from flockoff.ledger import Ledger
from flockoff.localnet.network import (
    LocalMiner,
    Localnet,
    LocalnetSettings,
    local_competition,
    running_localnet,
)
from flockoff.localnet.processes import Program
from flockoff.records import SubnetSnapshot
from flockoff.settings import Credentials
from flockoff.text import short_hotkey

log = logging.getLogger(__name__)

_BLOCK_SECONDS = 0.25
_TEMPO = 3600  # blocks: 15 minutes, enough for slow machines; the validator does not wait for its end
_LAST_LINES = 12  # of a failed program's log
_NEWS = re.compile(r"(base model: eval loss|uid \d+: (?:eval loss|at fault))(.*)")


def play_demo(directory: Path, cache_dir: Path, stop: threading.Event, *, as_json: bool) -> int:
    """Play one epoch and show it; returns the exit status: 0 only if all of the demo's promises hold.

    Everything it creates is in ``directory``, except for the base model in ``cache_dir``. ``as_json``: the
    result goes to stdout as JSON, everything else to stderr.
    """
    console = Console(highlight=False, stderr=as_json)
    stage = Stage(console)
    console.print("[bold]FLock OFF demo[/bold]: one competition epoch with real parts, on this machine only")
    console.print(
        "Nothing is fetched: the base model came with the installation. The first run unpacks it, once, to "
        f"0.5 GB in {escape(str(cache_dir))}.",
        soft_wrap=True,
    )
    competition = load_competition(local_competition())
    with ExitStack() as stack:
        beside = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="base-model"))
        unpacked = beside.submit(
            openers.model_directory, competition, openers.open_hub(Credentials()), cache_dir
        )
        with stage.step("Local chain and hub, wallets, four datasets") as step:
            settings = LocalnetSettings(
                directory=directory, node_port=0, hub_port=0, block_seconds=_BLOCK_SECONDS, tempo=_TEMPO
            )
            localnet = stack.enter_context(running_localnet(settings, step.show))
        with stage.step(f"Base model {competition.base_model.repo}, 135 million weights"):
            unpacked.result()
        *first, copier = localnet.miners
        with stage.step("Three miners upload and commit, at the same time") as step:
            _mine(localnet, first, directory, cache_dir, step, stop)
        with stage.step("The fourth commits a copy of what is there by now") as step:
            _mine(localnet, [copier], directory, cache_dir, step, stop)
        console.print(
            "Now a small adapter is trained on each dataset. Its loss tells how badly the model then "
            f"foresees the answers of {competition.evaluation.rows} conversations that no miner has.",
            style="dim",
            soft_wrap=True,
        )
        with stage.step("Fast-forward to the next epoch"):
            _to_next_epoch(localnet)
        with stage.step("validator1 trains on each dataset and measures it") as step:
            _validate(localnet, directory, cache_dir, step, stop)
        with stage.step("Fast-forward to the epoch's end: Yuma consensus pays"):
            _to_next_epoch(localnet)
        result = _result(localnet, directory, competition.id, stage.seconds())
    show_result(console, result)
    if as_json:
        sys.stdout.write(json.dumps(asdict(result), indent=2) + "\n")
    return 1 if result.failures else 0


def _mine(
    localnet: Localnet,
    miners: Sequence[LocalMiner],
    directory: Path,
    cache_dir: Path,
    step: Step,
    stop: threading.Event,
) -> None:
    """Run the miners at the same time, each to its end."""

    def mine(miner: LocalMiner) -> None:
        arguments = ["neurons/miner.py", *localnet.miner_flags(miner), "--cache_dir", str(cache_dir)]
        log_file = directory / "logs" / f"{miner.wallet.name}.log"
        _run(arguments, log_file, localnet.environment(miner.hub_token), step.show, stop)
        step.tell(f"{miner.repo_id}: {miner.dataset.about}, hotkey {short_hotkey(miner.hotkey)}")

    with ThreadPoolExecutor(len(miners), thread_name_prefix="mine") as pool:
        for done in [pool.submit(mine, miner) for miner in miners]:
            done.result()


def _validate(
    localnet: Localnet, directory: Path, cache_dir: Path, step: Step, stop: threading.Event
) -> None:
    arguments = [
        "neurons/validator.py",
        *localnet.neuron_flags(localnet.validator),
        *("--epochs", "1", "--data_dir", str(directory / "validator"), "--cache_dir", str(cache_dir)),
        "--logging.trace",
    ]
    log_file = directory / "logs" / "validator1.log"

    def on_line(line: str) -> None:
        step.show(line)
        if news := _NEWS.search(line):
            step.tell(news[0])

    _run(arguments, log_file, localnet.environment(localnet.validator_hub_token), on_line, stop)


def _run(
    arguments: list[str],
    log_file: Path,
    environment: dict[str, str],
    on_line: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Run one of the neurons to its end. Raises LocalnetError with the end of its log if it failed."""
    if stop.is_set():
        raise Interrupted
    with Program(arguments, log_file, environment) as program:
        status = program.follow(on_line, stop)
        if status != 0:
            for line in program.last_lines(_LAST_LINES):
                log.error("%s: %s", arguments[0], line)
            raise LocalnetError(
                f"{arguments[0]} ended with exit status {status}.", remedy="Its last lines are above."
            )


def _rank(row: DemoRow) -> tuple[float, bool, float]:
    return -row.weight, row.standing != "eligible", row.loss or 0.0


def _to_next_epoch(localnet: Localnet) -> None:
    with closing(open_chain(endpoint=localnet.node.endpoint, netuid=localnet.netuid, wallet=None)) as chain:
        localnet.node.advance(chain.epoch_status().blocks_left + 1)


def _result(localnet: Localnet, directory: Path, competition_id: str, seconds: float) -> DemoResult:
    with closing(open_chain(endpoint=localnet.node.endpoint, netuid=localnet.netuid, wallet=None)) as chain:
        snapshot = chain.snapshot()
        weights = chain.weights()
    ledger_path = openers.ledger_path(directory / "validator")
    with Ledger.open(
        ledger_path, netuid=localnet.netuid, competition=competition_id, read_only=True
    ) as ledger:
        base = ledger.base_loss()
        weights_set = ledger.last_weights()
        if base is None or weights_set is None:
            raise LocalnetError("The validator's ledger holds no base loss or no weights.")
        epoch = ledger.epoch(weights_set.epoch)
        rows = _rows(localnet, snapshot, weights, ledger, weights_set.epoch)
    return DemoResult(
        rows=rows,
        base_loss=base.loss,
        epoch=weights_set.epoch,
        seed=epoch.seed if epoch else 0,
        weights_block=weights_set.block,
        seconds=seconds,
        failures=tuple(broken_promises(rows, base.loss)),
    )


def _rows(
    localnet: Localnet,
    snapshot: SubnetSnapshot,
    weights: dict[int, dict[int, float]],
    ledger: Ledger,
    epoch: int,
) -> tuple[DemoRow, ...]:
    neurons = {neuron.hotkey: neuron for neuron in snapshot.neurons}
    given = weights.get(neurons[localnet.validator_hotkey].uid, {})
    remembered = {row.hotkey: row for row in ledger.views.leaderboard(epoch)}
    rows = []
    for miner in localnet.miners:
        neuron, row = neurons[miner.hotkey], remembered[miner.hotkey]
        rows.append(
            DemoRow(
                uid=neuron.uid,
                hotkey=miner.hotkey,
                miner=miner.wallet.name,
                dataset=miner.dataset.name,
                repo_id=miner.repo_id,
                loss=row.loss,
                win_rate=row.win_rate,
                weight=given.get(neuron.uid, 0.0),
                incentive=neuron.incentive,
                standing=row.standing,
                reason=row.reason,
                detail=row.detail,
                copied=row.copied,
            )
        )
    return tuple(sorted(rows, key=_rank))
