"""The SDK's client for nodes whose runtime is older than the SDK.

Imported where a connection is opened: the SDK takes a second to import.
"""

from typing import Any

from bittensor import RpcSubstrate

# SetWeights reads it before signing, and spec 461 lacks it. A runtime without it has only Yuma consensus,
# which is also the SDK's interpretation of an empty answer.
_OF_NEWER_RUNTIMES = frozenset({("SubtensorModule", "SubnetEpochConsensus")})


class Substrate(RpcSubstrate):
    """Reads storage that only newer runtimes have as empty; the SDK would raise, and never set weights."""

    async def query(
        self,
        module: str,
        storage_function: str,
        params: list[Any] | None = None,
        block_hash: str | None = None,
    ) -> Any:
        try:
            return await super().query(module, storage_function, params, block_hash)
        except ValueError as error:  # the class is private to the SDK
            lacking = type(error).__name__ == "StorageFunctionNotFound"
            if lacking and (module, storage_function) in _OF_NEWER_RUNTIMES:
                return None
            raise
