"""Every node failure against every call of the chain adapter."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count

import psutil
import pytest

from flockoff.chain import SubtensorChain, open_chain
from flockoff.errors import (
    ChainCooldown,
    ChainError,
    ChainFatal,
    ChainPruned,
    ChainTransient,
    Interrupted,
    NotRegistered,
)
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet
from flockoff.records import Receipt
from tests.support.local_subnet import local_subnet

LONG_SECONDS = 300.0  # for what comes as soon as this machine gets to it
SHORT_SECONDS = 1.0  # for calls that nothing answers
STRANGER = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"

numbers = count()

CALLS: dict[str, Callable[[SubtensorChain], object]] = {
    "block": lambda chain: chain.block(),
    "block_hash": lambda chain: chain.block_hash(5),
    "epoch_status": lambda chain: chain.epoch_status(),
    "uid": lambda chain: chain.uid(),
    "snapshot": lambda chain: chain.snapshot(),
    "genesis": lambda chain: chain.genesis(),
    "weights_on_chain": lambda chain: chain.weights_on_chain(),
    "commitment": lambda chain: chain.commitment(),
    "commit": lambda chain: chain.commit(f"text {next(numbers)}"),
    "set_weights": lambda chain: chain.set_weights({0: 1.0, 1: float(next(numbers))}),
    "wait_for_block": lambda chain: chain.wait_for_block(10**9, timeout=0.1),
}


@dataclass(frozen=True)
class Bench:
    node: Node
    subnet: PreparedSubnet

    def open(
        self, read_seconds: float = LONG_SECONDS, submit_seconds: float = LONG_SECONDS
    ) -> SubtensorChain:
        return open_chain(
            endpoint=self.node.endpoint,
            netuid=self.subnet.netuid,
            wallet=self.subnet.validators[0],
            read_seconds=read_seconds,
            submit_seconds=submit_seconds,
        )

    @property
    def submissions(self) -> int:
        return self.node.requests["author_submitAndWatchExtrinsic"]


@pytest.fixture(scope="module")
def bench(isolated_home: None, request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.config.getoption("--subtensor"):
        pytest.skip("tests the node double's own switches")
    settings = NodeSettings(block_seconds=0.05)
    with local_subnet(miners=1, tempo=60_000, weights_rate_limit=0, settings=settings) as (node, subnet):
        yield Bench(node, subnet)


@pytest.fixture
def chain(bench: Bench) -> Iterator[SubtensorChain]:
    one = bench.open()
    yield one
    bench.node.faults.heal()
    one.close()


def becomes_true(ask: Callable[[], bool], seconds: float = LONG_SECONDS) -> bool:
    """Whether it does, in time; it is not true while the node is away."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if ask():
                return True
        except ChainTransient:
            pass
        time.sleep(0.05)
    return False


def succeeds(call: Callable[[SubtensorChain], object], chain: SubtensorChain) -> bool:
    call(chain)
    return True


def at_once(check: Callable[[str], None], names: Sequence[str]) -> None:
    """``check`` each name in a thread of its own, so that all wait together."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(check, names))


# --- the node is away ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        pytest.param("refuse", list(CALLS), marks=pytest.mark.slow),
        pytest.param("stall", list(CALLS), marks=pytest.mark.slow),
        ("restart", ["snapshot", "set_weights"]),
    ],
)
def test_call_node_away_is_transient_in_time_and_works_on_the_same_object_afterwards(
    bench: Bench, fault: str, names: list[str]
) -> None:
    chains = {name: bench.open(SHORT_SECONDS, SHORT_SECONDS) for name in names}
    for chain in chains.values():
        assert becomes_true(partial(succeeds, CALLS["block"], chain))

    def fails(name: str) -> None:
        started = time.monotonic()
        with pytest.raises(ChainTransient, match=bench.node.endpoint):
            CALLS[name](chains[name])
        assert time.monotonic() - started < 60

    bench.node.faults.inject(fault, {"seconds": "60"})
    at_once(fails, names)
    bench.node.faults.heal()
    for name, chain in chains.items():
        assert becomes_true(partial(succeeds, CALLS[name], chain)), name
        chain.close()


def test_call_connection_dropped_before_it_works_by_a_new_one(bench: Bench) -> None:
    chains = {name: bench.open() for name in CALLS}
    for chain in chains.values():
        chain.block()
    bench.node.faults.drop()

    for name, chain in chains.items():
        assert becomes_true(partial(succeeds, CALLS[name], chain)), name
        chain.close()


def test_call_stalled_node_at_a_stop_is_interrupted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flockoff.chain.connection.STOP_SECONDS", 0.3)
    stop = threading.Event()
    endpoint, netuid, wallet = bench.node.endpoint, bench.subnet.netuid, bench.subnet.validators[0]
    names = ("snapshot", "set_weights", "wait_for_block")
    chains = {name: open_chain(endpoint=endpoint, netuid=netuid, wallet=wallet, stop=stop) for name in names}
    for chain in chains.values():
        chain.block()

    def is_interrupted(name: str) -> None:
        with pytest.raises(Interrupted):
            CALLS[name](chains[name])
        with pytest.raises(Interrupted):  # nor does what is begun after the stop hang
            CALLS[name](chains[name])

    bench.node.faults.stall(seconds=60)
    threading.Timer(0.2, stop.set).start()
    at_once(is_interrupted, names)
    bench.node.faults.heal()
    for chain in chains.values():
        chain.close()


@pytest.mark.slow
def test_calls_through_many_faults_leave_no_thread_and_no_socket_behind(bench: Bench) -> None:
    def left() -> tuple[int, int]:
        threads = sum(thread.name == "chain" for thread in threading.enumerate())
        port = int(bench.node.endpoint.rpartition(":")[2])
        sockets = psutil.Process().net_connections("tcp")
        return threads, sum(bool(one.raddr) and one.raddr.port == port for one in sockets)

    assert becomes_true(lambda: left() == (0, 0))
    chain = bench.open(read_seconds=0.5)
    for fault in ("refuse", "stall", "restart", "stall", "drop"):
        becomes_true(lambda: succeeds(CALLS["block"], chain))
        bench.node.faults.inject(fault, {} if fault == "drop" else {"seconds": "60"})
        for _ in range(3):
            becomes_true(lambda: succeeds(CALLS["snapshot"], chain), 0.1)
        bench.node.faults.heal()
    assert becomes_true(lambda: succeeds(CALLS["snapshot"], chain))
    assert becomes_true(lambda: left() == (1, 1))
    chain.close()
    assert becomes_true(lambda: left() == (0, 0))


# --- a block that the node no longer has, and errors that pass ----------------------------------------------


def test_snapshot_of_a_pruned_block_says_so_and_the_latest_is_still_there(
    bench: Bench, chain: SubtensorChain
) -> None:
    past = chain.block()
    bench.node.advance(3)
    assert chain.snapshot(past).block == past

    bench.node.faults.prune(blocks=2)

    for _ in range(2):  # whatever the client has cached
        with pytest.raises(ChainPruned, match="no longer has that block's state") as caught:
            chain.snapshot(past)
        assert "--state-pruning" in caught.value.remedy
    assert len(chain.block_hash(past)) == 32
    assert chain.snapshot(chain.block()).neurons
    assert chain.snapshot().neurons


def test_block_that_the_node_never_had_is_pruned_and_one_to_come_is_not(
    bench: Bench, chain: SubtensorChain
) -> None:
    past = chain.block()
    bench.node.advance(3)
    bench.node.faults.prune(headers=True)

    for call in (chain.snapshot, chain.block_hash):
        with pytest.raises(ChainPruned, match=f"does not have block {past}"):
            call(past)
        with pytest.raises(ChainTransient, match="does not exist yet"):
            call(past + 100_000)
    assert chain.genesis()


@pytest.mark.parametrize("error", ["internal", "unknown", "busy"])
def test_snapshot_error_answered_once_is_transient_and_the_next_one_is_the_same_block(
    bench: Bench, chain: SubtensorChain, error: str
) -> None:
    bench.node.advance(2)  # what an earlier test has pruned is not the block's parent then
    past = chain.block()
    expected = chain.snapshot(past)
    bench.node.advance(3)
    bench.node.faults.fail_reads(error=error, times=1)

    with pytest.raises(ChainTransient) as caught:
        chain.snapshot(past)

    assert "on chain" not in caught.value.remedy
    assert chain.snapshot(past) == expected


@pytest.mark.parametrize("error", ["internal", "unknown", "busy"])
def test_snapshot_errors_that_go_on_stay_transient(bench: Bench, chain: SubtensorChain, error: str) -> None:
    bench.node.advance(2)  # what an earlier test has pruned is not the block's parent then
    past = chain.block()
    bench.node.faults.fail_reads(error=error, times=1000)

    for _ in range(3):
        with pytest.raises(ChainTransient):
            chain.snapshot(past)

    bench.node.faults.heal()
    assert chain.snapshot(past).block == past


def test_genesis_tells_chains_apart(bench: Bench, chain: SubtensorChain) -> None:
    first = chain.genesis()
    other = bench.open()

    assert len(first) == 32
    assert other.genesis() == first == chain.block_hash(0)
    other.close()


# --- what was sent ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sending:
    """What is sent and how to see on chain that it landed."""

    send: Callable[[SubtensorChain], Receipt]
    mark: Callable[[SubtensorChain], object]


def last_update(chain: SubtensorChain) -> int:
    uid = chain.require_uid()
    return chain.snapshot().neurons[uid].last_update


SENDINGS = {
    "commit": Sending(lambda chain: chain.commit(f"text {next(numbers)}"), lambda chain: chain.commitment()),
    "set_weights": Sending(lambda chain: chain.set_weights({0: 1.0}), last_update),
}
each_sending = pytest.mark.parametrize("sending", SENDINGS.values(), ids=SENDINGS)


@each_sending
@pytest.mark.parametrize("error", ["invalid", "imported", "priority", "full"])
def test_sending_the_pool_refuses_is_transient_and_not_sent_again_by_itself(
    bench: Bench, chain: SubtensorChain, sending: Sending, error: str
) -> None:
    before, sent = sending.mark(chain), bench.submissions
    bench.node.faults.reject(error=error, times=1)

    with pytest.raises(ChainTransient):
        sending.send(chain)

    assert bench.submissions == sent + 1
    assert sending.mark(chain) == before
    sending.send(chain)
    assert sending.mark(chain) != before


@each_sending
@pytest.mark.parametrize("taken", [True, False], ids=["landed", "not landed"])
def test_sending_connection_lost_is_transient_sent_once_and_the_chain_knows(
    bench: Bench, chain: SubtensorChain, sending: Sending, taken: bool
) -> None:
    before, sent = sending.mark(chain), bench.submissions
    bench.node.faults.lose_answer(taken=taken)

    with pytest.raises(ChainTransient, match="read the chain before sending it again"):
        sending.send(chain)

    bench.node.advance(2)
    assert becomes_true(lambda: (sending.mark(chain) != before) == taken)
    assert bench.submissions == sent + (1 if taken else 0)  # what is lost on the way is not counted


@each_sending
def test_sending_while_the_one_before_waits_in_the_pool_is_refused_unsent(
    bench: Bench, sending: Sending
) -> None:
    chain = bench.open(submit_seconds=SHORT_SECONDS)
    before = sending.mark(chain)
    bench.node.faults.leave_out(blocks=10_000)
    sent = bench.submissions
    while bench.submissions == sent:  # a busy machine may not even get to sending it in so short a time
        with pytest.raises(ChainTransient, match="no answer in time"):
            sending.send(chain)
    sent = bench.submissions

    with pytest.raises(ChainTransient, match="is not in a block yet"):
        sending.send(chain)

    assert bench.submissions == sent
    bench.node.faults.heal()
    assert becomes_true(lambda: sending.mark(chain) != before)
    chain.close()


@each_sending
@pytest.mark.parametrize("keep", [True, False], ids=["in the pool again", "lost"])
def test_sending_in_a_block_that_is_rolled_back_is_transient_and_sent_once(
    bench: Bench, chain: SubtensorChain, sending: Sending, keep: bool
) -> None:
    watcher = bench.open()
    before, sent = sending.mark(watcher), bench.submissions
    bench.node.faults.lag(blocks=10_000)
    bench.node.advance()

    def roll_back() -> None:
        if becomes_true(lambda: sending.mark(watcher) != before):
            bench.node.faults.roll_back(blocks=bench.node.block - target, keep=keep)

    target = bench.node.block
    thread = threading.Thread(target=roll_back)
    thread.start()
    with pytest.raises(ChainTransient, match="read the chain before sending it again"):
        sending.send(chain)
    thread.join()

    bench.node.faults.heal()
    bench.node.advance(2)
    assert becomes_true(lambda: (sending.mark(watcher) != before) == keep)
    assert bench.submissions == sent + 1
    watcher.close()


@each_sending
def test_sending_left_out_of_blocks_is_waited_for(
    bench: Bench, chain: SubtensorChain, sending: Sending
) -> None:
    start = bench.node.block
    bench.node.faults.leave_out(blocks=8)

    landed = sending.send(chain).block

    assert landed is not None
    assert landed > start + 8


def test_commit_of_what_has_landed_unnoticed_sends_nothing(bench: Bench, chain: SubtensorChain) -> None:
    bench.node.faults.lose_answer()
    with pytest.raises(ChainTransient):
        chain.commit("landed unnoticed")
    sent = bench.submissions

    assert becomes_true(lambda: chain.commit("landed unnoticed").block is not None)

    assert bench.submissions == sent


def test_set_weights_of_what_has_landed_unnoticed_sends_nothing(bench: Bench, chain: SubtensorChain) -> None:
    since = chain.block()
    bench.node.advance()
    bench.node.faults.lose_answer()
    with pytest.raises(ChainTransient):
        chain.set_weights({0: 1.0}, since=since)
    assert becomes_true(lambda: last_update(chain) > since)
    sent = bench.submissions

    assert chain.set_weights({0: 1.0}, since=since) == Receipt("", last_update(chain))
    assert bench.submissions == sent

    assert chain.set_weights({0: 1.0}, since=last_update(chain)).extrinsic
    assert bench.submissions == sent + 1


def test_block_hash_is_given_only_once_the_block_is_final(bench: Bench, chain: SubtensorChain) -> None:
    bench.node.faults.lag(blocks=6)
    bench.node.advance(7)
    number = chain.block()

    chain.block_hash(number)

    assert bench.node.block >= number + 6


# --- the subnet changes in mid-epoch ---------------------------------------------------------------------


def test_tempo_changed_shows_in_the_next_epoch_status(bench: Bench, chain: SubtensorChain) -> None:
    before = chain.epoch_status()
    bench.node.faults.tempo(netuid=chain.netuid, blocks=50_000)
    bench.node.advance()

    after = chain.epoch_status()

    assert after.next_start_block - after.start_block == 50_000
    assert after.start_block > before.start_block


def test_weights_rate_limit_raised_is_a_cooldown_with_the_blocks_left(
    bench: Bench, chain: SubtensorChain
) -> None:
    chain.set_weights({0: 1.0})
    bench.node.faults.weights_rate_limit(netuid=chain.netuid, blocks=5_000)
    bench.node.advance()

    with pytest.raises(ChainCooldown) as caught:
        chain.set_weights({0: 1.0})

    assert caught.value.blocks_left is not None
    assert 4_000 < caught.value.blocks_left <= 5_000
    bench.node.faults.weights_rate_limit(netuid=chain.netuid, blocks=0)
    bench.node.advance()
    chain.set_weights({0: 1.0})


def test_permit_lost_is_said_with_what_is_needed_and_its_return_is_enough(
    bench: Bench, chain: SubtensorChain
) -> None:
    uid = chain.require_uid()
    bench.node.faults.permit(netuid=chain.netuid, uid=uid)
    bench.node.advance()

    with pytest.raises(ChainFatal, match="Permit") as caught:
        chain.set_weights({0: 1.0})

    assert "permit" in caught.value.remedy
    bench.node.faults.permit(netuid=chain.netuid, uid=uid, held=True)
    bench.node.advance()
    chain.set_weights({0: 1.0})


def test_uid_given_to_another_in_mid_epoch_leaves_the_hotkey_not_registered(
    bench: Bench, chain: SubtensorChain
) -> None:
    uid = chain.require_uid()
    bench.node.faults.replace(netuid=chain.netuid, uid=uid, hotkey=STRANGER)
    bench.node.advance()

    expected: list[tuple[Callable[[], object], type[ChainError]]] = [
        (lambda: chain.commit("too late"), NotRegistered),
        (lambda: chain.set_weights({0: 1.0}), NotRegistered),
        (chain.require_uid, NotRegistered),
    ]
    for call, kind in expected:
        with pytest.raises(kind, match="egister"):
            call()
    assert chain.uid() is None
    assert chain.snapshot().neurons[uid].hotkey == STRANGER
