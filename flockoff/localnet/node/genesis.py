"""Block 0: a development chain's funded keys, //Alice as sudo, the root subnet, and no other subnet."""

import bittensor_core

from flockoff.localnet.node.accounts import NEW_LOGIC_FLAG
from flockoff.localnet.node.state import State

RAO = 1_000_000_000
"""Rao in a TAO."""

DEV_KEYS = ("Alice", "Bob", "Charlie", "Dave", "Eve", "Ferdie")
DEV_BALANCE = 1_000_000 * RAO
ROOT_NETUID = 0
ROOT_MAX_UIDS = 64
ROOT_TEMPO = 100


def write(state: State, shield_key: bytes) -> None:
    """Write the genesis state. ``shield_key``: the public key that shielded extrinsics are encrypted to."""
    for name in DEV_KEYS:
        address = bittensor_core.Keypair.create_from_uri(f"//{name}").ss58_address
        if name == "Alice":
            state.write("Sudo", "Key", address)
        data = {"free": DEV_BALANCE, "reserved": 0, "frozen": 0, "flags": NEW_LOGIC_FLAG}
        record = {"nonce": 0, "consumers": 0, "providers": 1, "sufficients": 0, "data": data}
        state.write("System", "Account", address, record)
    issuance = DEV_BALANCE * len(DEV_KEYS)
    state.write("Balances", "TotalIssuance", issuance)
    state.put("TotalIssuance", issuance)
    state.write("System", "Number", 0)
    state.write("Timestamp", "Now", 0)
    state.write("MevShield", "CurrentKey", shield_key)
    state.write("MevShield", "NextKey", shield_key)
    _write_root(state)


def _write_root(state: State) -> None:
    state.put("NetworksAdded", ROOT_NETUID, True)
    state.put("Tempo", ROOT_NETUID, ROOT_TEMPO)
    state.put("SubnetworkN", ROOT_NETUID, 0)
    state.put("MaxAllowedUids", ROOT_NETUID, ROOT_MAX_UIDS)
    state.put("TokenSymbol", ROOT_NETUID, "\N{GREEK CAPITAL LETTER TAU}".encode())
    state.put("SubtokenEnabled", ROOT_NETUID, True)
    state.put("TotalNetworks", 1)
