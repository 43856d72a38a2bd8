"""The SDK's way to a node whose runtime is older than the SDK.

Imported where a connection is opened: the SDK takes a second to import.
"""

from typing import Any

from bittensor import RpcSubstrate

# What SetWeights asks for before it signs, and spec 461 does not have. A runtime without it knows one kind of
# consensus, Yuma, which is also what the SDK takes an empty answer for.
_OF_NEWER_RUNTIMES = frozenset({("SubtensorModule", "SubnetEpochConsensus")})


class Substrate(RpcSubstrate):
    """Reads as empty what only newer runtimes have; the SDK would raise, and never set any weights."""

    async def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        try:
            return await super().query(module, storage_function, params, block_hash)
        except ValueError as error:  # the SDK keeps the class to itself
            lacking = type(error).__name__ == "StorageFunctionNotFound"
            if lacking and (module, storage_function) in _OF_NEWER_RUNTIMES:
                return None
            raise
