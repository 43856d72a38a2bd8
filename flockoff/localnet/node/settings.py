"""A local node's settings."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Where the node listens, how fast it makes blocks, and what a new subnet starts with.

    Attributes:
        host: address to listen on; loopback by default.
        port: TCP port; 0 takes any free one.
        block_seconds: time between blocks. 0: only ``Node.advance()`` makes blocks.
        instant: whether a transaction gets a block of its own at once, in addition to the blocks that come
            with time: as on a development node with instant sealing.
        tempo: blocks in an epoch of a new subnet.
        commit_reveal: whether a new subnet wants weights sealed (see ``timelock.py``).
        weights_rate_limit: blocks a validator of a new subnet waits between two weight settings.
        commitment_cooldown: blocks between two commitments of a hotkey, the rule of older runtimes;
            0 leaves only spec 461's quota of bytes per epoch.
        epoch_consensus: whether the runtime has the storage item ``SubtensorModule.SubnetEpochConsensus``,
            which the SDK asks for before it sets weights, and spec 461 does not have yet.
        history_blocks: for how many blocks back state can be read; older state is "already discarded", as on
            any node that is no archive. Blocks themselves are kept four times as long, their hashes for ever.
    """

    host: str = "127.0.0.1"
    port: int = 9944
    block_seconds: float = 0.25
    instant: bool = False
    tempo: int = 360
    commit_reveal: bool = False
    weights_rate_limit: int = 100
    commitment_cooldown: int = 0
    epoch_consensus: bool = True
    history_blocks: int = 2400
