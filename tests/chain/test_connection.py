"""A node that is away, silent, slow or restarted, on node doubles and bare sockets."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from flockoff.chain import SubtensorChain, open_chain, resolve_endpoint
from flockoff.chain.connection import Access, Connection
from flockoff.errors import ChainCooldown, ChainError, ChainTransient, Interrupted, LocalnetError
from flockoff.localnet.node import Node, NodeSettings
from flockoff.localnet.node.runtime import Runtime
from flockoff.localnet.subnet import SubnetPlan, prepare_subnet
from tests.support.free_port import free_port
from tests.support.local_subnet import UNHURRIED, local_subnet
from tests.support.socks_proxy import socks_proxy
from tests.support.web import web_server

T = TypeVar("T")


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def reader(endpoint: str, read_seconds: float = 5) -> SubtensorChain:
    return open_chain(endpoint=endpoint, netuid=1, wallet=None, read_seconds=read_seconds)


def test_call_port_closed_is_transient_and_names_the_endpoint() -> None:
    endpoint = f"ws://127.0.0.1:{free_port()}"
    chain = reader(endpoint)

    for _ in range(2):
        with pytest.raises(ChainTransient, match=endpoint):
            chain.block()
    chain.close()


def test_call_silent_node_is_transient_within_its_limit(silent_endpoint: str) -> None:
    chain = reader(silent_endpoint, read_seconds=0.2)
    started = time.monotonic()

    with pytest.raises(ChainTransient, match="no answer in time"):
        chain.block()
    chain.close()

    assert time.monotonic() - started < 30


def test_call_under_way_at_a_stop_is_interrupted_long_before_its_limit(
    silent_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.chain.connection.STOP_SECONDS", 0.2)
    stop = threading.Event()
    chain = open_chain(endpoint=silent_endpoint, netuid=1, wallet=None, read_seconds=60, stop=stop)
    threading.Timer(0.1, stop.set).start()
    started = time.monotonic()

    with pytest.raises(Interrupted):
        chain.block()
    chain.close()

    assert time.monotonic() - started < 30


def test_call_after_a_stop_still_answers_where_the_node_does(
    double_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.chain.connection.STOP_SECONDS", 300.0)
    stop = threading.Event()
    stop.set()
    with Node(NodeSettings(port=0, block_seconds=0)) as node:
        chain = open_chain(endpoint=node.endpoint, netuid=1, wallet=None, stop=stop)
        assert chain.block() == 0
        chain.close()


def test_call_through_the_environments_socks_proxy_is_answered(
    double_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Node(NodeSettings(port=0, block_seconds=0)) as node, socks_proxy() as (address, asked):
        monkeypatch.setenv("SOCKS_PROXY", f"socks5h://{address}")
        chain = reader(node.endpoint)
        assert chain.block() == 0
        chain.close()
    assert set(asked) == {urlsplit(node.endpoint).hostname}


NEVER = 300.0  # seconds: what ends only by such a limit has not noticed anything


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flockoff.chain.connection.LOST_LOOKS", 2)


def until_it_answers(call: Callable[[], T]) -> T:
    """What it answers, however many calls it takes a busy machine to do so in time."""
    while True:
        with suppress(ChainTransient):
            return call()


def test_call_after_the_node_came_back_works_again(
    double_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.chain.connection.LOST_LOOKS", 8)
    port = free_port()
    chain = reader(f"ws://127.0.0.1:{port}", read_seconds=NEVER)
    with Node(NodeSettings(port=port, block_seconds=0)):
        assert chain.block() == 0
    with pytest.raises(ChainTransient):
        chain.block()
    with Node(NodeSettings(port=port, block_seconds=0)) as node:
        node.advance(3)
        assert chain.block() == 3
    chain.close()


@contextmanager
def relayed(
    node: Node, end: Callable[[ServerConnection], object], ends_at: Callable[[Any], bool]
) -> Iterator[str]:
    """The endpoint of a proxy before ``node``, which passes on no subscription's updates.

    It ends the connection in place of the answer to a request that ``ends_at`` accepts, and then
    accepts no other.
    """

    def relay(client: ServerConnection) -> None:
        with connect(node.endpoint, max_size=None) as behind:
            for request in client:
                behind.send(request)
                while "id" not in json.loads(answer := behind.recv()):
                    pass
                if ends_at(request):
                    server.socket.close()
                    end(client)
                    return
                client.send(answer)

    with serve(relay, "127.0.0.1", 0, max_size=None) as server:
        port = server.socket.getsockname()[1]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"ws://127.0.0.1:{port}"
        finally:
            server.shutdown()
            serving.join()


WAYS_TO_END: dict[str, Callable[[ServerConnection], object]] = {
    "in good order": lambda client: client.close(1001, "restarting"),
    "by an error": lambda client: client.close(1011),
    "by a cut": lambda client: client.socket.shutdown(socket.SHUT_RDWR),
    "by a reset": lambda client: reset(client.socket),
}


def reset(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.shutdown(socket.SHUT_RD)
    opened.close()


@pytest.mark.parametrize("how", WAYS_TO_END)
@pytest.mark.parametrize("connected_before", [False, True])
def test_call_connection_ended_in_the_middle_of_it_is_transient_long_before_its_limit(
    double_only: None, quick_looks: None, how: str, connected_before: bool
) -> None:
    started = time.monotonic()
    due = threading.Event()  # how many requests connecting takes varies: the SDK remembers answers
    with (
        Node(NodeSettings(port=0, block_seconds=0)) as node,
        relayed(node, WAYS_TO_END[how], lambda _: due.is_set()) as endpoint,
        closing(reader(endpoint, read_seconds=NEVER)) as chain,
    ):
        if connected_before:
            assert chain.block() == 0
        due.set()
        with pytest.raises(ChainTransient, match=endpoint):
            chain.block()
    assert time.monotonic() - started < NEVER / 2


def test_commit_connection_closed_in_place_of_the_answer_is_transient_and_has_landed(
    double_only: None, quick_looks: None
) -> None:
    started = time.monotonic()
    with (
        one_miner() as (node, subnet),
        relayed(node, ServerConnection.close, lambda asked: "submitAndWatch" in asked) as endpoint,
        closing(open_chain(**{**subnet, "endpoint": endpoint}, submit_seconds=NEVER)) as chain,
    ):
        with pytest.raises(ChainTransient) as caught:
            chain.commit("once")
        assert "read the chain before sending it again" in caught.value.remedy
        with closing(open_chain(**subnet)) as direct:
            direct.wait_for_block(node.block + 1, timeout=NEVER)
            shown = direct.commitment()
    assert shown is not None and shown.text == "once"
    assert time.monotonic() - started < NEVER / 2


@contextmanager
def once_subscribed(node: Node, act: Callable[[], object]) -> Iterator[None]:
    """``act``, in another thread, once somebody has subscribed to the node's blocks."""

    def wait_and_act() -> None:
        while not node.requests.get("chain_subscribeNewHeads") and not over.wait(0.02):
            pass
        act()

    over = threading.Event()
    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("fault", ["stop", "refuse", "stall"])
def test_wait_for_block_node_lost_is_transient_long_before_its_limit(
    double_only: None, quick_looks: None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.chain.subtensor.SUBSCRIPTION_SECONDS", 0.5 if fault == "stall" else NEVER)
    started = time.monotonic()
    # A silent node is noticed by the limit of one read alone.
    read_seconds = 0.5 if fault == "stall" else NEVER
    with (
        Node(NodeSettings(port=0, block_seconds=0)) as node,
        closing(reader(node.endpoint, read_seconds)) as chain,
    ):
        act = node.stop if fault == "stop" else lambda: node.faults.inject(fault, {"seconds": str(NEVER)})
        with once_subscribed(node, act), pytest.raises(ChainTransient):
            chain.wait_for_block(1000, timeout=NEVER)
        if fault != "stop":
            node.faults.heal()
    assert time.monotonic() - started < NEVER / 2


def test_wait_for_block_silent_subscription_is_no_loss_while_the_node_answers(
    double_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flockoff.chain.subtensor.SUBSCRIPTION_SECONDS", 0.1)
    with (
        Node(NodeSettings(port=0, block_seconds=0)) as node,
        relayed(node, ServerConnection.close, lambda _: False) as endpoint,
        closing(reader(endpoint, read_seconds=NEVER)) as chain,
        once_subscribed(node, lambda: node.advance(3)),
    ):
        assert chain.wait_for_block(3, timeout=NEVER)


@contextmanager
def ticking(node: Node) -> Iterator[None]:
    """Blocks every 50 ms until the context ends."""
    done = threading.Event()

    def make_blocks() -> None:
        while not done.wait(0.05):
            node.advance()

    thread = threading.Thread(target=make_blocks)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def one_miner(**settings: Any) -> Iterator[tuple[Node, dict[str, Any]]]:
    """A node with these settings and a subnet with one miner on it; gives also what ``open_chain`` takes."""
    changed = replace(UNHURRIED, **settings)
    with local_subnet(miners=1, settings=changed) as (node, subnet):
        yield node, {"endpoint": node.endpoint, "netuid": subnet.netuid, "wallet": subnet.miners[0]}


@pytest.mark.slow
def test_commit_that_is_not_included_in_time_is_transient_and_may_land_later(
    double_only: None, tmp_path: Path
) -> None:
    with one_miner(block_seconds=0, instant=False) as (node, subnet):
        chain = open_chain(**subnet, submit_seconds=1)

        while not node.requests["author_submitAndWatchExtrinsic"]:  # a busy machine may not get to sending it
            with pytest.raises(ChainTransient, match="no answer in time") as caught:
                chain.commit("slow")
        assert "read the chain before sending it again" in caught.value.remedy
        assert chain.commitment() is None
        node.advance()
        landed = chain.commitment()
        with ticking(node):
            until_it_answers(lambda: chain.commit("next"))
        followed = chain.commitment()
        chain.close()

    assert landed is not None
    assert landed.text == "slow"
    assert followed is not None
    assert followed.text == "next"


def test_commit_within_the_cooldown_of_older_runtimes_is_a_cooldown(
    double_only: None, tmp_path: Path
) -> None:
    with one_miner(commitment_cooldown=100) as (_, subnet):
        chain = open_chain(**subnet)
        chain.commit("once")
        with pytest.raises(ChainCooldown):
            chain.commit("twice")
        chain.close()


def test_commit_beyond_the_quota_is_a_cooldown(double_only: None, tmp_path: Path) -> None:
    import bittensor as bt

    with one_miner() as (node, subnet):
        chain = open_chain(**subnet)
        as_root(node.endpoint, bt.calls.Commitments.set_max_space(150))
        chain.commit("once")
        with pytest.raises(ChainCooldown, match="SpaceLimitExceeded"):
            chain.commit("twice")
        chain.close()


def test_set_weights_on_a_commit_reveal_subnet_are_sealed(double_only: None, tmp_path: Path) -> None:
    with local_subnet(miners=1, commit_reveal=True, weights_rate_limit=0) as (node, subnet):
        chain = open_chain(endpoint=node.endpoint, netuid=subnet.netuid, wallet=subnet.validators[0])

        receipt = chain.set_weights({1: 1.0})

        uid = chain.uid()
        assert uid is not None
        assert chain.snapshot().neurons[uid].last_update == receipt.block
        assert uid not in chain.weights()
        chain.close()


def as_root(endpoint: str, call: Any) -> None:
    import bittensor as bt
    from bittensor.keyfiles import Keypair

    async def submit(node: Access) -> None:
        client: Any = node.client
        sudo = bt.calls.Sudo.sudo(call=await client.compose(call))
        (await client.submit_call(sudo, Keypair.create_from_uri("//Alice"))).raise_for_failure()

    connection = Connection(endpoint)
    connection.run(submit, timeout=300)
    connection.close()


PAGE = b"<!DOCTYPE html>\n<html><head><title>Bad day</title></head><body>" + b"<p>Sorry.</p>" * 99


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A proxy without a node behind it: it answers every request with a web page."""

    def send_page(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "text/html; charset=utf-8")
        request.send_header("Content-Length", str(len(PAGE)))
        request.end_headers()
        request.wfile.write(PAGE)

    with web_server(send_page, protocol="HTTP/1.1") as port:
        yield f"ws://127.0.0.1:{port}"


@pytest.mark.parametrize("status", [200, 301, 403, 404, 429, 500, 502, 503, 504])
def test_web_page_instead_of_a_node_is_transient_and_not_in_the_message(status: int) -> None:
    with answering(status) as endpoint:
        chain = reader(endpoint, read_seconds=300)
        with pytest.raises(ChainTransient) as caught:
            chain.block()
        chain.close()
    said = str(caught.value)
    assert f"HTTP {status}" in said
    assert endpoint in said
    assert "<" not in said and "Sorry" not in said and "\n" not in said
    assert "--subtensor.chain_endpoint" in caught.value.remedy


def test_name_that_nobody_knows_is_transient() -> None:
    chain = reader("ws://no-such-host.invalid:9944", read_seconds=300)
    with pytest.raises(ChainTransient, match="no-such-host"):
        chain.block()
    chain.close()


@pytest.fixture
def ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_node_on_ipv6_is_reached_by_its_address_in_brackets(ipv6: None, double_only: None) -> None:
    with Node(NodeSettings(host="::1", port=0, block_seconds=0.1)) as node:
        assert node.endpoint.startswith("ws://[::1]:")
        assert resolve_endpoint("local", node.endpoint) == node.endpoint
        chain = reader(node.endpoint, read_seconds=300)
        assert len(chain.genesis()) == 32
        chain.close()


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_node_at_localhost_is_reached_where_only_one_of_its_addresses_listens(
    ipv6: None, double_only: None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = socket.getaddrinfo

    def both(name: Any, *args: Any, **options: Any) -> Any:
        """What most machines have in /etc/hosts, which no test may edit."""
        names = ("::1", "127.0.0.1") if name == "localhost" else (name,)
        return [found for each in names for found in ask(each, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with Node(NodeSettings(host=host, port=0, block_seconds=0.1)) as node:
        chain = reader(f"ws://localhost:{node.endpoint.rpartition(':')[2]}", read_seconds=300)
        assert len(chain.genesis()) == 32
        chain.close()


def asked_by(node: Node, action: Callable[[], object]) -> int:
    """How many requests it takes; now and then the SDK also asks for the runtime's version, by the clock."""
    before = sum(node.requests.values())
    action()
    return sum(node.requests.values()) - before


@pytest.mark.slow
def test_snapshot_requests_do_not_grow_with_the_number_of_miners(double_only: None, tmp_path: Path) -> None:
    counts = []
    for miners in (1, 12):
        with local_subnet(miners=miners) as (node, subnet):
            chain = open_chain(endpoint=node.endpoint, netuid=subnet.netuid, wallet=None)
            assert len(chain.snapshot().neurons) == miners + 2
            counts.append(min(asked_by(node, chain.snapshot) for _ in range(3)))
            chain.close()

    assert counts[0] == counts[1] <= 5


def test_snapshot_survives_what_miners_call_themselves(double_only: None, tmp_path: Path) -> None:
    import bittensor as bt

    fields = ("name", "url", "github_repo", "image", "discord", "description", "additional")
    identity = {field: b"\xff\xfe\x00\x1b[2J\xed\xa0\x80" for field in fields}
    with one_miner() as (node, subnet):
        chain = open_chain(**subnet)
        runtime = Runtime(500)
        items = [
            (
                runtime.key("SubtensorModule", "IdentitiesV2", neuron.coldkey),
                runtime.encode_item("SubtensorModule", "IdentitiesV2", identity),
            )
            for neuron in chain.snapshot().neurons
        ]
        as_root(node.endpoint, bt.calls.System.set_storage(items=items))
        assert len(chain.snapshot().neurons) == len(items)
        chain.close()


SUDO_KEY = bytes.fromhex(
    "5c0d1176a568c1f92944340dbfed9e9c530ebca703c85910e7164cb7d1c9e47b"
)  # where it is stored


def test_prepare_subnet_other_chain_is_refused_before_anything_changes(
    double_only: None, tmp_path: Path
) -> None:
    import bittensor as bt
    from bittensor.keyfiles import Keypair

    bob = bytes(Keypair.create_from_uri("//Bob").public_key)
    with Node(NodeSettings(port=0, block_seconds=0.05)) as node:
        as_root(node.endpoint, bt.calls.System.set_storage(items=[(SUDO_KEY, bob)]))
        with pytest.raises(LocalnetError, match="not a development chain"):
            prepare_subnet(SubnetPlan(node.endpoint, tmp_path / "w", miners=1), on_progress=lambda _: None)
    assert not (tmp_path / "w").exists()


def test_prepare_subnet_no_chain_is_a_chain_error(tmp_path: Path) -> None:
    plan = SubnetPlan(f"ws://127.0.0.1:{free_port()}", tmp_path / "w", miners=1)

    with pytest.raises(ChainError):
        prepare_subnet(plan, on_progress=lambda _: None)
