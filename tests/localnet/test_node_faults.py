"""Each fault of the node double, and what the chain adapter makes of it and after it."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from flockoff.chain import SubtensorChain, open_chain
from flockoff.errors import ChainTransient, NotRegistered, UsageError
from flockoff.localnet.node import FAULTS, Node, NodeSettings
from flockoff.localnet.subnet import PreparedSubnet, SubnetPlan, prepare_subnet

BLOCK_SECONDS = 0.1
READ_SECONDS = 1.5


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node(NodeSettings(port=0, block_seconds=BLOCK_SECONDS)) as one:
        yield one


@pytest.fixture(scope="module")
def subnet(node: Node, tmp_path_factory: pytest.TempPathFactory) -> PreparedSubnet:
    plan = SubnetPlan(
        endpoint=node.endpoint,
        wallet_path=tmp_path_factory.mktemp("wallets"),
        miners=3,
        tempo=2000,
        weights_rate_limit=5,
    )
    return prepare_subnet(plan, on_progress=lambda _: None)


@pytest.fixture
def chain(node: Node, subnet: PreparedSubnet) -> Iterator[SubtensorChain]:
    one = open_chain(
        endpoint=node.endpoint,
        netuid=subnet.netuid,
        wallet=subnet.miners[0],
        read_seconds=READ_SECONDS,
        submit_seconds=10,
    )
    yield one
    one.close()


def eventually(ask: Callable[[], object], expected: object) -> None:
    """The chain shows it within a few blocks."""
    for _ in range(50):
        try:
            if ask() == expected:
                return
        except ChainTransient:
            pass
        time.sleep(BLOCK_SECONDS)
    assert ask() == expected


def text(chain: SubtensorChain) -> str | None:
    shown = chain.commitment()
    return shown.text if shown else None


def submissions(node: Node) -> int:
    return node.requests["author_submitAndWatchExtrinsic"]


def test_node_drop_breaks_the_connection_and_the_next_call_has_a_new_one(
    node: Node, chain: SubtensorChain
) -> None:
    chain.block()
    node.faults.drop()
    eventually(lambda: chain.block() > 0, True)


@pytest.mark.parametrize("fault", ["refuse", "restart"])
def test_node_away_is_transient_and_comes_back(node: Node, chain: SubtensorChain, fault: str) -> None:
    before = chain.block()
    node.faults.inject(fault, {"seconds": "0.5"})
    with pytest.raises(ChainTransient, match=node.endpoint):
        chain.block()
    eventually(lambda: chain.block() > before, True)


def test_node_stall_is_noticed_within_the_limit_and_over_when_it_is(
    node: Node, chain: SubtensorChain
) -> None:
    chain.block()
    node.faults.stall(seconds=2.5)
    with pytest.raises(ChainTransient, match="no answer in time"):
        chain.snapshot()
    eventually(lambda: chain.uid() is not None, True)


@pytest.mark.parametrize("error", ["invalid", "imported", "priority", "full"])
def test_node_reject_is_transient_sends_once_and_leaves_the_chain_alone(
    node: Node, chain: SubtensorChain, error: str
) -> None:
    before, sent = text(chain), submissions(node)
    node.faults.reject(error=error)
    with pytest.raises(ChainTransient):
        chain.commit(f"rejected as {error}")
    assert text(chain) == before
    assert submissions(node) == sent + 1


def test_node_lose_answer_the_commitment_lands_all_the_same(node: Node, chain: SubtensorChain) -> None:
    sent = submissions(node)
    node.faults.lose_answer()
    with pytest.raises(ChainTransient, match="read the chain before"):
        chain.commit("answer lost")
    eventually(lambda: text(chain), "answer lost")
    assert submissions(node) == sent + 1


def test_node_leave_out_the_submission_is_waited_for(node: Node, chain: SubtensorChain) -> None:
    start = node.block
    node.faults.leave_out(blocks=8)
    assert (chain.commit("late").block or 0) > start + 8


@pytest.fixture
def lagging(node: Node) -> Iterator[None]:
    node.faults.lag(blocks=6)
    node.advance(6)
    yield
    node.faults.lag(blocks=0)
    node.advance()


def when_in_a_block(
    node: Node, chain: SubtensorChain, wanted: str, act: Callable[[], None]
) -> threading.Thread:
    """Do something as soon as the head shows a commitment that is not final yet."""
    watcher = open_chain(endpoint=node.endpoint, netuid=chain.netuid, wallet=None, read_seconds=READ_SECONDS)

    watcher.snapshot()  # connected before there is anything to see

    def watch() -> None:
        for _ in range(200):
            commitments = watcher.snapshot().commitments
            if chain.hotkey in commitments and commitments[chain.hotkey].text == wanted:
                act()
                break
            time.sleep(0.02)
        watcher.close()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def roll_back(node: Node, keep: bool) -> None:
    node.faults.roll_back(blocks=3, keep=keep)


@pytest.mark.parametrize("keep", [True, False])
def test_node_roll_back_before_finality_is_told_and_nothing_is_sent_twice(
    node: Node, chain: SubtensorChain, lagging: None, keep: bool
) -> None:
    before, wanted, sent = text(chain), f"rolled back, {keep}", submissions(node)
    thread = when_in_a_block(node, chain, wanted, lambda: roll_back(node, keep))
    with pytest.raises(ChainTransient, match="Retracted"):
        chain.commit(wanted)
    thread.join()
    eventually(lambda: text(chain), wanted if keep else before)
    assert submissions(node) == sent + 1


def test_node_roll_back_of_a_final_block_is_refused(node: Node) -> None:
    with pytest.raises(UsageError, match="is final"):
        node.faults.inject("roll-back", {"blocks": "3"})


def test_node_block_hash_is_given_only_once_it_is_final(
    node: Node, chain: SubtensorChain, lagging: None
) -> None:
    number = chain.block()
    chain.block_hash(number)
    assert node.block >= number + 6


def test_node_tempo_starts_another_epoch(node: Node, chain: SubtensorChain) -> None:
    node.faults.tempo(netuid=chain.netuid, blocks=300)
    node.advance()
    status = chain.epoch_status()
    assert status.next_start_block - status.start_block == 300


def test_node_replace_gives_the_uid_to_another(
    node: Node, chain: SubtensorChain, subnet: PreparedSubnet
) -> None:
    gone = open_chain(
        endpoint=node.endpoint, netuid=subnet.netuid, wallet=subnet.miners[2], read_seconds=READ_SECONDS
    )
    uid = gone.uid()
    stranger = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    node.faults.inject("replace", {"netuid": str(subnet.netuid), "uid": str(uid), "hotkey": stranger})
    node.advance()
    assert gone.uid() is None
    assert chain.snapshot().neurons[uid or 0].hotkey == stranger
    with pytest.raises(NotRegistered):
        gone.commit("too late")
    gone.close()


def test_node_permit_and_weights_rate_limit_show_on_chain(
    node: Node, chain: SubtensorChain, subnet: PreparedSubnet
) -> None:
    [validator] = [neuron for neuron in chain.snapshot().neurons if neuron.validator_permit]
    node.faults.permit(netuid=subnet.netuid, uid=validator.uid)
    node.faults.weights_rate_limit(netuid=subnet.netuid, blocks=77)
    node.advance()
    assert not chain.snapshot().neurons[validator.uid].validator_permit


def test_node_faults_of_a_shell_are_named_and_checked(node: Node) -> None:
    for name in FAULTS:
        assert callable(getattr(node.faults, name.replace("-", "_")))
    with pytest.raises(UsageError, match="no fault 'flood'"):
        node.faults.inject("flood", {})
    with pytest.raises(UsageError, match="netuid"):
        node.faults.inject("tempo", {"blocks": "3"})
    with pytest.raises(UsageError, match="there is no minutes"):
        node.faults.inject("stall", {"minutes": "3"})
