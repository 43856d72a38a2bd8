import socket
import urllib.request

import pytest

from flockoff import __version__
from flockoff.errors import ChainTransient, SetupError
from flockoff.metrics import Metrics, served
from tests.support.free_port import free_port


def read(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=300) as response:
        return str(response.read().decode())


def test_metrics_are_served_while_the_program_runs_and_not_after() -> None:
    port, metrics = free_port(), Metrics()
    metrics.note(ChainTransient("The node is away."))
    with served(metrics, port):
        text = read(port)
    assert 'flockoff_faults_total{kind="chain_transient"} 1.0' in text
    assert f'version="{__version__}"' in text and "flockoff_build_info{" in text
    for name in (
        "worker_restarts",
        "weights_late",
        "epochs_without_weights",
        "weights_set_timestamp_seconds",
    ):
        assert f"# TYPE flockoff_{name}" in text
    with pytest.raises(OSError):
        read(port)


def test_metrics_port_that_is_taken_is_a_setup_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(SetupError, match=f"127.0.0.1:{port}"), served(Metrics(), port):
            raise AssertionError("it must not be served")


def test_metrics_without_a_port_are_not_served() -> None:
    with served(Metrics(), None):
        pass
