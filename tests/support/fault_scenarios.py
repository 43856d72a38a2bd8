"""What can go wrong around a validator within an epoch, and the outcome that the epoch must have anyway."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flockoff.errors import EvaluationFault
from flockoff.hub import HubClient, Patience
from flockoff.hub.datasets import DatasetCache
from flockoff.validate import Validator, run_epochs
from tests.support.arena import Arena

MINERS = 4
STRANGER = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


@dataclass(frozen=True)
class Stage:
    """A subnet on which one epoch after the other goes wrong. The miners' topics are their names."""

    arena: Arena
    validator: Validator
    noticed: threading.Event = field(default_factory=threading.Event)  # the log says what the scenario says

    @property
    def netuid(self) -> int:
        return self.arena.subnet.netuid

    def repo(self, miner: int) -> str:
        return f"{self.arena.subnet.miners[miner].name}/topic{miner}"

    def submit(self, miner: int) -> None:
        self.arena.submit(miner, f"topic{miner}", loss=1.0 + miner / 10)

    def validator_uid(self) -> int:
        uid = self.validator.chain.uid()
        assert uid is not None
        return uid


@dataclass(frozen=True)
class Scenario:
    """``begin`` starts the fault: "before" the epoch is run, or "during" its first evaluation.

    ``blamed``: the miners whose doing it is. ``spared``: how many cannot be evaluated then.
    ``says``: what the log must hold of it. ``end`` ends the fault as soon as the log does, so that it lasts
    for as long as this machine takes to notice it. ``heal`` undoes what would disturb the next epoch.
    """

    name: str
    begin: Callable[[Stage], object]
    says: str
    when: str = "before"
    blamed: frozenset[int] = frozenset()
    spared: int = 0
    end: Callable[[Stage], object] = lambda stage: None
    heal: Callable[[Stage], object] = lambda stage: None
    once: bool = False  # cannot be undone, so nothing follows on its stage


@dataclass(frozen=True)
class Outcome:
    weights_set: bool
    evaluations_lost: int
    wrongly_blamed: int
    evaluations_repeated: int


def set_stage(arena: Arena) -> Stage:
    """A validator with little patience, and miners who have submitted."""
    hub = HubClient(
        arena.hub.add_user("validator", role="read"),
        arena.hub.endpoint,
        patience=Patience(timeout=0.5, tries=2, backoff=0.05, grace=3.0, max_retry_after=0.2),
    )
    wallet = arena.subnet.validators[0]
    validator = arena.validator(
        chain=arena.chain(wallet, read_seconds=1.5, submit_seconds=8),
        datasets=DatasetCache(hub, arena.directory / "few-datasets", max_bytes=10**9, others=()),
        retry_pauses=(0.4, 0.8, 1.6),
    )
    stage = Stage(arena, validator)
    for miner in range(MINERS):
        stage.submit(miner)
    return stage


def play(stage: Stage, scenario: Scenario) -> Outcome:
    """One epoch in which ``scenario`` happens, to commitments that are no longer waited for."""
    arena, validator = stage.arena, stage.validator
    _forget_datasets(stage)
    if scenario.blamed:  # a commitment is waited for until as many blocks as an epoch has lie behind it
        arena.node.advance(arena.epoch().blocks)
    arena.next_epoch()
    epoch = arena.epoch()
    evaluated = validator.evaluator.evaluated  # type: ignore[attr-defined]
    evaluated.clear()
    if scenario.when == "before":
        scenario.begin(stage)
    else:
        arena.on_evaluation = _once(lambda: scenario.begin(stage), arena)
    with _watched(stage, scenario):
        weights_set = run_epochs(validator, 1)
    arena.hub.switches.heal()
    scenario.heal(stage)
    verdicts = {verdict.hotkey: verdict for verdict in validator.ledger.verdicts(epoch.start_block)}
    innocent = [arena.hotkeys[miner] for miner in range(MINERS) if miner not in scenario.blamed]
    standings = [verdicts[hotkey].standing for hotkey in innocent]
    return Outcome(
        weights_set=weights_set and validator.ledger.weights_of_epoch(epoch.start_block) is not None,
        evaluations_lost=standings.count("not_evaluated") - scenario.spared,
        wrongly_blamed=standings.count("at_fault"),
        evaluations_repeated=len(evaluated) - len(set(evaluated)),
    )


def _forget_datasets(stage: Stage) -> None:
    """So that every epoch has to ask the hub."""
    for file in (stage.arena.directory / "few-datasets").glob("*.jsonl"):
        file.unlink()


def _once(act: Callable[[], object], arena: Arena) -> Callable[[], None]:
    def first() -> None:
        arena.on_evaluation = lambda: None
        act()

    return first


@contextmanager
def _watched(stage: Stage, scenario: Scenario) -> Iterator[None]:
    """Within this context, the log is read for what ``scenario`` says, and its fault ends then."""
    stage.noticed.clear()

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if scenario.says in record.getMessage():
                stage.noticed.set()

    def end() -> None:
        """Not by the handler: what ends a fault may wait for a thread that is just logging."""
        stage.noticed.wait()
        scenario.end(stage)

    reader, package, ender = Reader(), logging.getLogger("flockoff"), threading.Thread(target=end)
    package.addHandler(reader)
    ender.start()
    try:
        yield
    finally:
        stage.noticed.set()  # or nobody would wait for it any more
        ender.join()
        package.removeHandler(reader)


def _set_permit(stage: Stage, held: bool) -> None:
    stage.arena.node.faults.permit(netuid=stage.netuid, uid=stage.validator_uid(), held=held)
    stage.arena.node.advance()


def _roll_back_the_weights(stage: Stage) -> None:
    """As soon as they are in a block, that block and those after it are undone."""
    node = stage.arena.node
    node.faults.lag(blocks=_FOREVER)
    watcher = stage.arena.chain(None)
    uid = stage.validator_uid()
    before, start = watcher.snapshot().neurons[uid].last_update, node.block

    def watch() -> None:
        while watcher.snapshot().neurons[uid].last_update == before:
            if stage.noticed.wait(0.02):
                return
        node.faults.roll_back(blocks=node.block - start, keep=False)
        node.faults.lag(blocks=0)

    threading.Thread(target=watch, daemon=True).start()


def _heal_node(stage: Stage) -> None:
    stage.arena.node.faults.heal()


def _heal_hub(stage: Stage) -> None:
    stage.arena.hub.switches.heal()


def _end_lag(stage: Stage) -> None:
    stage.arena.node.faults.lag(blocks=0)
    stage.arena.node.advance()


def _lock_the_ledger(stage: Stage) -> None:
    """Another program, a database browser, holds it for longer than SQLite waits."""
    other = sqlite3.connect(stage.arena.directory / "ledger.sqlite", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    def leave() -> None:
        stage.noticed.wait()
        other.rollback()
        other.close()

    threading.Thread(target=leave, daemon=True).start()


def _fail_the_worker(stage: Stage) -> None:
    raise EvaluationFault("3 workers failed on it (died, died, died).")


def _replace_a_miner(stage: Stage) -> None:
    uid = stage.arena.uid(MINERS - 1)
    stage.arena.node.faults.replace(netuid=stage.netuid, uid=uid, hotkey=STRANGER)
    stage.arena.node.advance()


def _hub(name: str, **arguments: object) -> Callable[[Stage], object]:
    words = {key: str(value) for key, value in arguments.items()}
    return lambda stage: stage.arena.hub.switches.inject(name, words)


def _node(name: str, **arguments: object) -> Callable[[Stage], object]:
    words = {key: str(value) for key, value in arguments.items()}
    return lambda stage: stage.arena.node.faults.inject(name, words)


_DOWNLOADS = "/resolve/"
_AGAIN = "again in"
_WEIGHTS = "WEIGHTS NOT SET"
_FOREVER = 10_000  # seconds or blocks: what lasts until somebody ends it

SCENARIOS = (
    Scenario("hub: 429 with Retry-After", _hub("rate-limit", seconds=1, times=4, path=_DOWNLOADS), _AGAIN),
    Scenario("hub: 500 for six calls", _hub("error", times=6), _AGAIN),
    Scenario("hub: slow drip", _hub("drip", piece=20, seconds=0.05, times=4, path=_DOWNLOADS), ""),
    Scenario("hub: drip too slow", _hub("drip", piece=1, seconds=0.2, times=2, path=_DOWNLOADS), _AGAIN),
    Scenario("hub: body cut off", _hub("cut", after=40, times=5, path=_DOWNLOADS), _AGAIN),
    Scenario("hub: content is not what its hash says", _hub("corrupt", times=5), _AGAIN),
    Scenario("hub: silence", _hub("silence", seconds=_FOREVER, times=4), _AGAIN),
    Scenario("hub: refuses connections", _hub("refuse", seconds=_FOREVER), _AGAIN, end=_heal_hub),
    Scenario("hub: redirects to another host", _hub("redirect", to="http://localhost:9", times=3), _AGAIN),
    Scenario("hub: redirects in a circle", _hub("redirect", times=40), _AGAIN),
    Scenario(
        "hub: repo deleted between commit and download",
        lambda stage: stage.arena.hub.switches.delete_repo(repo=stage.repo(3)),
        "at fault (repo_missing)",
        blamed=frozenset({3}),
        heal=lambda stage: stage.submit(3),
    ),
    Scenario(
        "hub: repo made private between commit and download",
        lambda stage: stage.arena.hub.switches.make_private(repo=stage.repo(3)),
        "at fault (repo_missing)",
        blamed=frozenset({3}),
        heal=lambda stage: stage.submit(3),
    ),
    Scenario(
        "hub: branch moved by force",
        lambda stage: stage.arena.hub.switches.move_branch(repo=stage.repo(2)),
        "",
    ),
    Scenario("chain: connections dropped", _node("drop"), "", when="during"),
    *(
        Scenario(f"chain: {what}", _node(name, seconds=_FOREVER), _AGAIN, when="during", end=_heal_node)
        for what, name in (
            ("refuses connections", "refuse"),
            ("stalls", "stall"),
            ("node restarts", "restart"),
        )
    ),
    *(
        Scenario(
            f"chain: pool refuses the weights ({error})", _node("reject", error=error, times=2), _WEIGHTS
        )
        for error in ("invalid", "imported", "priority", "full")
    ),
    Scenario("chain: weights left out of blocks", _node("leave-out", blocks=30), "", when="during"),
    Scenario("chain: connection lost after the weights were sent", _node("lose-answer"), _WEIGHTS),
    Scenario(
        "chain: weights in a block that is rolled back", _roll_back_the_weights, _WEIGHTS, heal=_end_lag
    ),
    Scenario("chain: blocks final only later", _node("lag", blocks=10), "", heal=_end_lag),
    Scenario(
        "chain: weights rate limit raised",
        lambda stage: stage.arena.node.faults.weights_rate_limit(
            netuid=stage.netuid, blocks=stage.arena.epoch().blocks - 1900
        ),
        "",
        when="during",
        heal=lambda stage: stage.arena.node.faults.weights_rate_limit(netuid=stage.netuid, blocks=5),
    ),
    Scenario(
        "chain: validator permit lost for a while",
        lambda stage: _set_permit(stage, held=False),
        _WEIGHTS,
        end=lambda stage: _set_permit(stage, held=True),
    ),
    Scenario(
        "chain: tempo changed in mid-epoch",
        lambda stage: stage.arena.node.faults.tempo(netuid=stage.netuid, blocks=1900),
        "",
        when="during",
    ),
    Scenario("worker: fails on one dataset", _fail_the_worker, "not evaluated", "during", spared=1),
    Scenario(
        "disk: ledger locked by another program", _lock_the_ledger, "waiting to be stored", when="during"
    ),
    Scenario(
        "chain: miner deregistered, its uid given to another in mid-epoch",
        _replace_a_miner,
        "",
        when="during",
        once=True,
    ),
)
