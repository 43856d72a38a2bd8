import subprocess
import sys

import pytest

from flockoff.chain import resolve_endpoint
from flockoff.errors import UsageError


@pytest.mark.parametrize(
    ("network", "chain_endpoint", "expected"),
    [
        ("finney", None, "wss://entrypoint-finney.opentensor.ai:443"),
        ("test", None, "wss://test.finney.opentensor.ai:443"),
        ("archive", None, "wss://archive.chain.opentensor.ai:443"),
        ("local", None, "ws://127.0.0.1:9944"),
        ("ws://10.0.0.1:9945", None, "ws://10.0.0.1:9945"),
        ("finney", "ws://[::1]:9944", "ws://[::1]:9944"),
        ("nonsense", "wss://node.example/path", "wss://node.example/path"),
        ("test", "local", "ws://127.0.0.1:9944"),
        ("local", "", "ws://127.0.0.1:9944"),
    ],
)
def test_resolve_endpoint_name_or_address_gives_address(
    network: str, chain_endpoint: str | None, expected: str
) -> None:
    assert resolve_endpoint(network, chain_endpoint) == expected


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "mainnet",
        "http://127.0.0.1:9944",
        "127.0.0.1:9944",
        "ws://",
        "ws://:9944",
        "ws://host:x",
        "ws://a b",
        "ws://::1:9944",
        "ws://[::1",
    ],
)
def test_resolve_endpoint_nonsense_is_a_usage_error_with_a_remedy(nonsense: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_endpoint(nonsense, None)
    assert repr(nonsense) in caught.value.message
    assert "ws://" in caught.value.remedy


def test_import_chain_leaves_the_sdk_out() -> None:
    program = "import sys, flockoff.chain; sys.exit('bittensor' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=300).returncode == 0
