"""The node as a chain: connecting, blocks, transactions, and what it refuses."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import bittensor
import bittensor_core
import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from flockoff.errors import LocalnetError
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.node.blocks import digest
from flockoff.localnet.node.metadata_patch import compact
from tests.support.local_chain import (
    FAST,
    RAO,
    Bench,
    Subnet,
    block_of,
    calls,
    commitment,
    error_of,
    must,
    rpc,
)

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
BOB = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"


@pytest.fixture
def raw(run_node: Callable[[NodeSettings], Node]) -> Iterator[Connection]:
    """A bare WebSocket to a node that makes blocks on demand."""
    node = run_node(replace(FAST, block_seconds=0))
    with connect(node.endpoint) as socket_:
        yield socket_


def ask(socket_: Connection, method: str, *params: Any) -> Any:
    """Send one request; returns the whole answer."""
    socket_.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    while "id" not in (answer := json.loads(socket_.recv(timeout=300))):
        pass
    return answer


def test_connect_fresh_chain_has_only_the_root_subnet(bench: Bench) -> None:
    assert [subnet.netuid for subnet in bench.client.subnets.all()] == [0]
    assert bench.client.query(bittensor.storage.Sudo.Key, []) == ALICE
    assert bench.client.block_time() == FAST.block_seconds


def test_transfer_success_moves_the_amount_and_charges_the_fee(bench: Bench) -> None:
    before_alice, before_bob = bench.free(ALICE), bench.free(BOB)

    result = must(bench.submit(calls.Balances.transfer_keep_alive(dest=BOB, value=7 * RAO), bench.alice))

    assert bench.free(BOB) == before_bob + 7 * RAO
    assert bench.free(ALICE) == before_alice - 7 * RAO - result.fee.rao
    assert result.fee.rao == pytest.approx(166_250, abs=30)  # a real spec 461 node charged 166,247


def test_transfer_more_than_there_is_fails_in_dispatch_and_still_costs_the_fee(bench: Bench) -> None:
    before = bench.free(ALICE)

    result = bench.submit(calls.Balances.transfer_keep_alive(dest=BOB, value=10**17), bench.alice)

    assert error_of(result) == "FundsUnavailable"
    assert 0 < before - bench.free(ALICE) < 1_000_000


def test_submit_from_an_empty_account_is_refused_for_payment(bench: Bench) -> None:
    nobody = bittensor_core.Keypair.create_from_uri("//Nobody")

    result = bench.submit(calls.Balances.transfer_keep_alive(dest=BOB, value=1), nobody)

    assert error_of(result) == "Payment"


def test_submit_with_a_used_nonce_is_refused_as_stale(bench: Bench) -> None:
    must(bench.submit(calls.System.remark(remark=b"first"), bench.alice))
    unsigned = bench.client.prepare_call(calls.System.remark(remark=b"again"), address=ALICE, nonce=0)

    result = bench.client.submit_signature(unsigned, bench.alice.sign(unsigned.payload))

    assert error_of(result) == "Stale"


def test_submit_signed_by_another_key_is_refused_as_bad_proof(bench: Bench) -> None:
    unsigned = bench.client.prepare_call(calls.System.remark(remark=b"mine"), address=ALICE)
    mallory = bittensor_core.Keypair.create_from_uri("//Mallory")

    result = bench.client.submit_signature(unsigned, mallory.sign(unsigned.payload))

    assert error_of(result) == "BadProof"


def test_submit_born_in_an_unknown_block_is_refused(bench: Bench) -> None:
    """The signature covers the hash of the block it was born in, so another chain's is invalid."""
    unsigned = bench.client.prepare_call(calls.System.remark(remark=b"x"), address=ALICE, period=8)
    bench.node.advance(16)  # two periods later the birth block is another one

    result = bench.client.submit_signature(unsigned, bench.alice.sign(unsigned.payload))

    assert error_of(result) == "BadProof"


def test_submit_two_with_one_nonce_refuses_the_second_for_its_priority(
    bench_of: Callable[[NodeSettings], Bench],
) -> None:
    bench = bench_of(replace(FAST, block_seconds=0))
    for remark, error in ((b"one", None), (b"two", "PriorityTooLow")):
        unsigned = bench.client.prepare_call(calls.System.remark(remark=remark), address=ALICE, nonce=0)
        result = bench.client.submit_signature(
            unsigned,
            bench.alice.sign(unsigned.payload),
            wait_for_inclusion=False,
            wait_for_finalization=False,
        )
        assert (None if result.success else error_of(result)) == error


def test_nonce_counts_what_waits_in_the_pool(bench_of: Callable[[NodeSettings], Bench]) -> None:
    bench = bench_of(replace(FAST, block_seconds=0))
    no_wait = {"wait_for_inclusion": False, "wait_for_finalization": False}

    for remark in (b"a", b"b", b"c"):
        must(bench.submit(calls.System.remark(remark=remark), bench.alice, **no_wait))
    bench.node.advance()

    assert bench.client.query(bittensor.storage.System.Account, [ALICE])["nonce"] == 3
    assert bench.node.block == 1


def test_batch_all_one_failing_call_undoes_the_others(bench: Bench) -> None:
    before = bench.free(BOB)
    transfers = [
        bench.client.compose(calls.Balances.transfer_keep_alive(dest=BOB, value=value))
        for value in (RAO, 10**17)
    ]

    result = bench.submit(calls.Utility.batch_all(calls=transfers), bench.alice)

    assert error_of(result) == "FundsUnavailable"
    assert bench.free(BOB) == before


def test_sudo_by_someone_else_is_refused(bench: Bench) -> None:
    bob = bittensor_core.Keypair.create_from_uri("//Bob")
    inner = bench.client.compose(calls.AdminUtils.sudo_set_stake_threshold(min_stake=5))

    assert error_of(bench.submit(calls.Sudo.sudo(call=inner), bob)) == "RequireSudo"


def test_sudo_failing_inner_call_is_reported(bench: Bench) -> None:
    result = bench.sudo(calls.AdminUtils.sudo_set_tempo(netuid=9, tempo=10))

    assert error_of(result) == "SubnetDoesNotExist"


def test_call_the_node_does_not_have_fails_as_filtered(bench: Bench) -> None:
    assert error_of(bench.submit(calls.SubtensorModule.dispute_coldkey_swap(), bench.alice)) == "CallFiltered"


def test_read_at_an_earlier_block_gives_the_state_of_then(bench: Bench) -> None:
    before = bench.client.at(bench.node.block)
    must(bench.submit(calls.Balances.transfer_keep_alive(dest=BOB, value=RAO), bench.alice))
    after = bench.client.at(bench.node.block)

    def free_at(snapshot: Any) -> int:
        return int(snapshot.query(bittensor.storage.System.Account, [BOB])["data"]["free"])

    assert free_at(after) - free_at(before) == RAO


def test_read_beyond_the_history_is_told_that_the_state_is_discarded(
    bench_of: Callable[[NodeSettings], Bench],
) -> None:
    bench = bench_of(replace(FAST, block_seconds=0, history_blocks=10))
    bench.node.advance(3)
    old = bench.client.at(2)
    bench.node.advance(30)

    with pytest.raises(bittensor.ChainError, match="State discarded"):
        old.query(bittensor.storage.System.Account, [BOB])


def test_wait_for_block_follows_new_heads(bench: Bench) -> None:
    target = bench.node.block + 3

    assert bench.client.wait_for_block(target, timeout=300).number >= target


def test_header_hash_is_blake2b_of_its_scale_encoding(raw: Connection) -> None:
    header = ask(raw, "chain_getHeader")["result"]
    fields = [bytes.fromhex(header[name][2:]) for name in ("parentHash", "stateRoot", "extrinsicsRoot")]
    (log,) = (bytes.fromhex(one[2:]) for one in header["digest"]["logs"])
    number = compact(int(header["number"], 16))

    expected = digest(fields[0], number, fields[1], fields[2], compact(1), log)

    assert ask(raw, "chain_getHead")["result"] == "0x" + expected.hex()


def test_request_unknown_method_names_it(raw: Connection) -> None:
    error = ask(raw, "state_makeCoffee")["error"]

    assert (error["code"], error["message"]) == (-32601, "Method not found: state_makeCoffee")


def test_request_unknown_runtime_api_names_it(raw: Connection) -> None:
    error = ask(raw, "state_call", "CoffeeApi_brew", "0x")["error"]

    assert "CoffeeApi_brew is not found" in error["message"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("state_getStorage", []),
        ("state_getStorage", ["no hex"]),
        ("chain_getBlockHash", ["many"]),
        ("account_nextIndex", ["me"]),
        ("state_call", ["NeuronInfoRuntimeApi_get_neuron", "0x01"]),
        ("author_submitExtrinsic", ["0x1234"]),
        ("author_submitExtrinsic", ["0x"]),
        ("state_getKeysPaged", ["0x", 100_000]),
        ("state_getStorage", ["0x00", "0x" + "11" * 32]),
    ],
)
def test_request_malformed_gets_an_error_and_the_connection_lives(
    raw: Connection, method: str, params: list[Any]
) -> None:
    assert "error" in ask(raw, method, *params)
    assert ask(raw, "system_chain")["result"] == "FLock OFF local network"


def test_requests_batch_and_garbage_are_answered(raw: Connection) -> None:
    raw.send("{")
    assert json.loads(raw.recv(timeout=300))["error"]["code"] == -32700
    raw.send(json.dumps([{"id": 1, "method": "chain_getHead"}, 7]))
    first, second = json.loads(raw.recv(timeout=300))
    assert first["result"].startswith("0x")
    assert second["error"]["code"] == -32600


def test_requests_are_counted_by_method(run_node: Callable[[NodeSettings], Node]) -> None:
    node = run_node(replace(FAST, block_seconds=0))
    with connect(node.endpoint) as socket_:
        for _ in range(3):
            ask(socket_, "chain_getHead")

    assert dict(node.requests) == {"chain_getHead": 3}


def test_start_on_a_taken_port_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = Node(NodeSettings(port=taken.getsockname()[1]))
        with pytest.raises(LocalnetError, match="choose another port"):
            node.start()


def test_stop_leaves_no_thread_and_no_socket_behind() -> None:
    before = set(threading.enumerate())  # other tests' nodes may be running
    node = Node(FAST)
    node.start()
    with connect(node.endpoint):
        port = int(node.endpoint.rsplit(":", 1)[1])
        node.stop()

    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name == "flockoff-node"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=300)
    node.stop()  # harmless


def test_advance_without_a_running_node_says_so() -> None:
    with pytest.raises(LocalnetError, match="Start it first"):
        Node(FAST).advance()


@pytest.mark.slow
def test_node_instant_gives_a_transaction_its_block_at_once_and_its_answer_before(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    subnet = subnet_of(replace(FAST, block_seconds=0, instant=True))
    before = subnet.node.block

    first = must(subnet.submit(commitment(b"one"), subnet.miner, signer="hotkey"))
    second = must(subnet.submit(commitment(b"two"), subnet.miner, signer="hotkey"))

    assert [block_of(first), block_of(second)] == [before + 1, before + 2] == [before + 1, subnet.node.block]


def block_hash(node: Node, number: int) -> Any:
    return rpc(node, "chain_getBlockHash", number)


@pytest.mark.slow
def test_node_forked_goes_on_from_the_same_past_on_its_own(
    subnet_of: Callable[[NodeSettings], Subnet],
) -> None:
    by_hand = replace(FAST, block_seconds=0, instant=True)
    one, other = subnet_of(by_hand), subnet_of(by_hand)
    start = one.node.block
    assert other.node.block == start
    past = [block_hash(one.node, number) for number in range(start + 1)]
    assert past == [block_hash(other.node, number) for number in range(start + 1)]

    must(one.submit(commitment(b"only here"), one.miner, signer="hotkey"))
    other.next_epoch()

    assert one.client.subnets.commitments(1).keys() == {one.miner.hotkey.ss58_address}
    assert other.client.subnets.commitments(1) == {}
    assert one.node.block == start + 1 and other.node.block > start + 1
    assert block_hash(one.node, start + 1) != block_hash(other.node, start + 1)
    # What is remembered of the past is the same on both, and neither's own.
    assert one.client.at(start).subnets.metagraph(1) == other.client.at(start).subnets.metagraph(1)
