"""The transaction pool: submitted transactions that are not in a block yet."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.extrinsics import Call, Extrinsic
from flockoff.localnet.node.runtime import Value

Watch = Callable[[Value], None]
"""Told each status of a transaction, as ``author_submitAndWatchExtrinsic`` reports it."""

_CAPACITY = 8192


@dataclass(frozen=True)
class Pending:
    """A transaction in the pool."""

    extrinsic: Extrinsic
    call: Call
    watch: Watch
    born: int  # the block that its era counts from

    def expired(self, block: int) -> bool:
        """Whether the transaction has expired by ``block``."""
        period = self.extrinsic.era.period
        return bool(period) and block >= self.born + period


@dataclass
class Pool:
    """Transactions by signer and nonce, in order of arrival."""

    _pending: dict[tuple[str, int], Pending] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, pending: Pending) -> None:
        """Add a transaction.

        Raises:
            Refused: it is there already (1013), another holds its nonce (1014), or the pool is full (1016).
        """
        key = (pending.extrinsic.signer, pending.extrinsic.nonce)
        held = self._pending.get(key)
        if held is not None and held.extrinsic.hash == pending.extrinsic.hash:
            raise Refused(1013, "Transaction Already Imported", "Transaction is already imported")
        if held is not None:
            tip, held_tip = pending.extrinsic.tip, held.extrinsic.tip
            raise Refused(
                1014, f"Priority is too low: ({tip} vs {held_tip})", "The transaction has too low priority"
            )
        if len(self._pending) >= _CAPACITY:
            raise Refused(
                1016, "Immediately Dropped", "The transaction couldn't enter the pool because of the limit"
            )
        self._pending[key] = pending

    def next_nonce(self, signer: str, nonce: int) -> int:
        """The first nonce of ``signer`` from ``nonce`` on that nothing in the pool holds."""
        while (signer, nonce) in self._pending:
            nonce += 1
        return nonce

    def take(self, nonce_of: Callable[[str], int]) -> Pending | None:
        """Remove the first transaction whose nonce is its signer's next one, or already past."""
        for key, pending in self._pending.items():
            if pending.extrinsic.nonce <= nonce_of(pending.extrinsic.signer):
                return self._pending.pop(key)
        return None

    def clear(self) -> list[Pending]:
        """Remove and return everything."""
        gone = list(self._pending.values())
        self._pending.clear()
        return gone

    def waiting(self) -> list[Extrinsic]:
        """Everything in the pool, in order of arrival."""
        return [pending.extrinsic for pending in self._pending.values()]

    def drop_expired(self, block: int) -> list[Pending]:
        """Remove and return the transactions whose era cannot reach ``block``."""
        expired = [key for key, pending in self._pending.items() if pending.expired(block)]
        return [self._pending.pop(key) for key in expired]
