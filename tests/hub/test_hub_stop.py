"""Asked to stop, the hub client ends within a moment and leaves nothing behind."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flockoff.errors import Interrupted
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer
from tests.support.hub_operations import OPERATIONS, Ground
from tests.support.hub_users import Owner

LIMIT = 45.0  # seconds in which everything must have ended, however busy the machine; by itself nothing would
SECONDS = 60.0


def assert_interrupted(
    client_of: Callable[[threading.Event], HubClient],
    work: Callable[[HubClient], object],
    *,
    under_way: Callable[[], bool] = lambda: True,
) -> None:
    """Stop ``work`` a moment after it is ``under_way``: it must end within LIMIT."""
    stop = threading.Event()
    stopped_at: list[float] = []

    def stop_soon() -> None:
        while not under_way():
            time.sleep(0.01)
        time.sleep(0.05)
        stopped_at.append(time.monotonic())
        stop.set()

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    with pytest.raises(Interrupted):
        work(client_of(stop))
    stopper.join()
    assert time.monotonic() - stopped_at[0] < LIMIT


def assert_no_connecting_threads() -> None:
    ends = time.monotonic() + 300
    while any(thread.name == "hub-connect" for thread in threading.enumerate()):
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("fault", ["silence", "drip"])
def test_stop_ends_every_request(hub: HubServer, ground: Ground, name: str, fault: str) -> None:
    hub.switches.inject(fault, {"seconds": str(SECONDS), "times": "inf"})
    before = len(hub.requests)
    assert_interrupted(
        lambda stop: HubClient(ground.owner.token, hub.endpoint, stop=stop),
        lambda client: OPERATIONS[name](client, ground),
        under_way=lambda: len(hub.requests) > before,
    )
    hub.switches.heal()
    OPERATIONS[name](ground.owner.client, ground)


@pytest.mark.parametrize("name", OPERATIONS)
def test_stop_set_before_asks_nothing(hub: HubServer, ground: Ground, name: str) -> None:
    stop = threading.Event()
    stop.set()
    before = hub.requests
    with pytest.raises(Interrupted):
        OPERATIONS[name](HubClient(ground.owner.token, hub.endpoint, stop=stop), ground)
    assert hub.requests == before


def test_stop_ends_the_wait_that_the_hub_asks_for(hub: HubServer, alice: Owner) -> None:
    hub.switches.rate_limit(seconds=50)
    assert_interrupted(
        lambda stop: HubClient(alice.token, hub.endpoint, stop=stop), lambda client: client.account()
    )


def test_stop_ends_an_upload_that_the_hub_does_not_read(hub: HubServer, alice: Owner, tmp_path: Path) -> None:
    alice.upload(b"x", "other.txt")
    big = tmp_path / "big.jsonl"
    big.write_bytes(bytes(24_000_000))
    hub.switches.silence(seconds=SECONDS, path="/commit/")
    assert_interrupted(
        lambda stop: HubClient(alice.token, hub.endpoint, stop=stop),
        lambda client: client.upload(alice.repo, big),
        under_way=lambda: hub.requests[-1][1].endswith("/commit/main"),
    )


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A listener that never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_stop_ends_waiting_for_a_mute_server(mute: socket.socket, scheme: str) -> None:
    endpoint = f"{scheme}://127.0.0.1:{mute.getsockname()[1]}"
    assert_interrupted(lambda stop: HubClient("hf_x", endpoint, stop=stop), lambda client: client.account())
    mute.close()  # what a handshake still waits for
    assert_no_connecting_threads()


def test_stop_ends_connecting_to_a_server_that_takes_no_more(mute: socket.socket) -> None:
    waiting = [socket.socket() for _ in range(8)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(mute.getsockname())
    endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
    assert_interrupted(lambda stop: HubClient("hf_x", endpoint, stop=stop), lambda client: client.account())
    mute.close()
    for one in waiting:
        one.close()
    assert_no_connecting_threads()
