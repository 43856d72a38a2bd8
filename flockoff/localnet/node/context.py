"""A call's dispatch context."""

from collections.abc import Callable
from dataclasses import dataclass

from flockoff.localnet.node.accounts import Emit
from flockoff.localnet.node.errors import DispatchFailed
from flockoff.localnet.node.runtime import Value
from flockoff.localnet.node.settings import NodeSettings
from flockoff.localnet.node.state import State


@dataclass(frozen=True)
class Context:
    """The state, the block being made, and the call's authority.

    ``origin`` is the signer's address, or None for root: what ``Sudo.sudo`` and the block itself have.
    """

    state: State
    settings: NodeSettings
    block: int
    origin: str | None
    emit: Emit

    @property
    def signer(self) -> str:
        """The account that signed.

        Raises:
            DispatchFailed: the origin is root.
        """
        if self.origin is None:
            raise DispatchFailed("BadOrigin")
        return self.origin

    def ensure_root(self) -> None:
        """Raises ``DispatchFailed`` unless the origin is root."""
        if self.origin is not None:
            raise DispatchFailed("BadOrigin")

    def event(self, name: str, attributes: Value) -> None:
        """Deposit an event of ``SubtensorModule``."""
        self.emit("SubtensorModule", name, attributes)


Handler = Callable[[Context, dict[str, Value]], None]
"""One call: checks, changes state, emits; raises ``DispatchFailed``."""
