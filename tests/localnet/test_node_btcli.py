"""``btcli``, as shipped with the SDK, in its own process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_chain import RAO, Subnet

pytestmark = pytest.mark.slow


def btcli(subnet: Subnet, *arguments: str) -> Any:
    """Run a command against the node; returns its JSON output."""
    program = Path(sys.executable).parent / "btcli"
    command = [str(program), "--network", subnet.node.endpoint, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_btcli_lists_subnets_shows_the_metagraph_and_balances(subnet: Subnet) -> None:
    listed = btcli(subnet, "subnets", "list")
    metagraph = btcli(subnet, "subnets", "metagraph", "1")
    balance = btcli(subnet, "wallet", "balance", subnet.miner.coldkeypub.ss58_address)

    assert "1" in json.dumps(listed)
    assert subnet.validator.hotkey.ss58_address in json.dumps(metagraph)
    assert str(subnet.free(subnet.miner.coldkeypub.ss58_address) // RAO)[:3] in json.dumps(balance)


def test_btcli_registers_a_hotkey(subnet: Subnet, wallet_of: Callable[[str], Any]) -> None:
    newcomer = wallet_of("newcomer")
    subnet.fund(newcomer)
    folder = str(Path(newcomer.path))

    wallet = ("--wallet", "newcomer", "--wallet-hotkey", "hot", "--wallet-path", folder)
    btcli(subnet, "subnets", "register", "--netuid", "1", "--yes", *wallet)

    assert subnet.client.neurons.uid(hotkey_ss58=newcomer.hotkey.ss58_address, netuid=1) == 3
