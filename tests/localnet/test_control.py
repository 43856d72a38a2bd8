"""The control port of a running local network."""

import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from flockoff.errors import LocalnetError, UsageError
from flockoff.localnet.control import listening, send
from flockoff.localnet.lock import locked


def inject(name: str, arguments: Mapping[str, str]) -> str:
    if name == "unknown":
        raise UsageError("There is no such fault.", remedy="Choose another.")
    if name == "impossible":
        raise LocalnetError("There is no such repo.")
    return f"{name} {dict(arguments)}"


def test_send_fault_and_arguments_arrive_and_the_answer_comes_back() -> None:
    with listening(0, inject) as port:
        assert send(port, "node.stall", {"seconds": "ü 3"}) == "node.stall {'seconds': 'ü 3'}"


def test_send_errors_come_back_as_what_they_were() -> None:
    with listening(0, inject) as port:
        with pytest.raises(UsageError, match="no such fault") as caught:
            send(port, "unknown", {})
        with pytest.raises(LocalnetError, match="no such repo"):
            send(port, "impossible", {})
    assert caught.value.remedy == "Choose another."


def test_send_nobody_there_is_told_with_the_port() -> None:
    with listening(0, inject) as port:
        pass
    with pytest.raises(LocalnetError, match=f"No local network answers on 127.0.0.1:{port}"):
        send(port, "node.stall", {})


@pytest.mark.parametrize("answer", [b"", b"\n", b"HTTP/1.1 400 Bad Request\r\n", b"[]\n", b'{"a": 1}\n'])
def test_send_another_program_on_the_port_is_no_local_network(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def talk() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(LocalnetError, match="No local network answers"):
            send(other.getsockname()[1], "node.stall", {})
        thread.join()


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"[]\n", b'{"fault": 1, "arguments": 2}\n']
)
def test_listening_what_is_no_request_is_refused_and_the_next_one_served(sent: bytes) -> None:
    with listening(0, inject) as port:
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(sent)
            assert b"Not a request" in stranger.makefile("rb").readline()
        assert send(port, "node.drop", {}) == "node.drop {}"


def test_listening_port_taken_is_told_with_the_flag() -> None:
    with (
        listening(0, inject) as port,
        pytest.raises(LocalnetError, match="--control-port"),
        listening(port, inject),
    ):
        pass


def test_locked_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "folder"
    with (
        locked(directory),
        pytest.raises(LocalnetError, match="Another local network runs in"),
        locked(directory),
    ):
        pass
    with locked(directory):
        pass


def test_locked_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(LocalnetError, match="cannot write"), locked(tmp_path / "file"):
        pass
