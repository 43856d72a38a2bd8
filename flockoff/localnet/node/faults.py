"""The node's faults by name, for tests and for ``flockoff localnet fault node.NAME key=value ...``."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from flockoff.localnet.injection import inject
from flockoff.localnet.node import calls, subnets
from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.extrinsics import Call
from flockoff.localnet.node.server import RpcServer

# What each fault does and its arguments.
FAULTS: Mapping[str, str] = {
    "drop": "break every connection",
    "refuse": "break every connection and refuse new ones for a while [seconds=30]",
    "stall": "accept connections and requests, but answer none for a while [seconds=30]",
    "restart": "break every connection, forget the pool, and be away for a while [seconds=1]",
    "reject": "refuse submissions at the pool [error=invalid|imported|priority|full] [times=1]",
    "leave-out": "make blocks without any of the pool's transactions [blocks=10]",
    "lose-answer": "break the connection of a submission, in the pool or not [times=1] [taken=yes]",
    "fail-reads": "answer reads of the state with an error [error=internal|unknown|busy] [times=1]",
    "prune": "forget the state of all blocks but the last, or even that they were [blocks=1] [headers=no]",
    "lag": "let blocks become final only some blocks later [blocks=3]",
    "roll-back": "undo the last blocks, which are not final; needs a lag [blocks=1] [keep=yes]",
    "tempo": "change a subnet's tempo: netuid= blocks=",
    "epoch": "have a subnet's next epoch begin early, in the next block: netuid=",
    "weights-rate-limit": "change a subnet's limit between two weight settings: netuid= blocks=",
    "permit": "take or give a neuron's validator permit, until the next epoch: netuid= uid= [held=no]",
    "replace": "give a uid to another hotkey: netuid= uid= hotkey=",
    "heal": "end all faults, a lag too; what happened to blocks, their state and subnets stays",
}

_POOL_ERRORS: Mapping[str, tuple[int, str, str]] = {
    "invalid": (1010, "Invalid Transaction", "Transaction is outdated"),
    "imported": (1013, "Transaction Already Imported", "Transaction is already imported"),
    "priority": (1014, "Priority is too low: (0 vs 0)", "The transaction has too low priority"),
    "full": (1016, "Immediately Dropped", "The transaction couldn't enter the pool because of the limit"),
}

_READ_ERRORS: Mapping[str, tuple[int, str, Any]] = {
    "internal": (-32603, "Internal error", "the database is busy"),
    # A node's answer for a block that it has yet to import, although another node has it.
    "unknown": (4003, "Client error: UnknownBlock: Header was not found in the database", None),
    "busy": (-32005, "rate limit exceeded", {"policy": "rate-limit", "retry_after": "1"}),
}

Run = Callable[[Callable[[], Awaitable[None]]], None]
Begin = Callable[[Coroutine[None, None, None]], None]


class NodeFaults:
    """Each method starts one fault and returns a line that describes it. Thread-safe."""

    def __init__(self, chain: LocalChain, server: RpcServer, run: Run, begin: Begin) -> None:
        """``run`` runs something on the node's thread and waits; ``begin`` starts something long there."""
        self._chain = chain
        self._server = server
        self._run = run
        self._begin = begin

    def inject(self, name: str, arguments: Mapping[str, str]) -> str:
        """Start the fault ``name`` of FAULTS, from words. Raises UsageError."""
        return inject("node", FAULTS, self, name, arguments)

    # --- the connection ----------------------------------------------------------------------------------

    def drop(self) -> str:
        self._do(self._server.drop)
        return "node: every connection was broken"

    def refuse(self, *, seconds: float = 30) -> str:
        self._do(lambda: self._begin(self._server.refuse(seconds)))
        return f"node: refuses connections for {seconds:g} s"

    def stall(self, *, seconds: float = 30) -> str:
        self._do(lambda: self._begin(self._server.stall(seconds)))
        return f"node: answers nothing for {seconds:g} s"

    def restart(self, *, seconds: float = 1) -> str:
        def act() -> None:
            self._chain.pool.clear()
            self._begin(self._server.refuse(seconds))

        self._do(act)
        return f"node: restarts, and is away for {seconds:g} s"

    def lose_answer(self, *, times: int = 1, taken: bool = True) -> str:
        self._do(lambda: self._server.lose_submissions(times, taken=taken))
        when = "once" if taken else "before"
        return f"node: breaks the connection of the next {times} submissions {when} it has taken them"

    def fail_reads(self, *, error: str = "internal", times: int = 1) -> str:
        if error not in _READ_ERRORS:
            raise ValueError(f"error is one of {', '.join(_READ_ERRORS)}, not {error!r}")
        errors = [Refused(*_READ_ERRORS[error])] * times
        self._do(lambda: self._chain.read_errors.extend(errors))
        return f"node: answers the next {times} reads of the state with an error ({error})"

    # --- the pool and the blocks ---------------------------------------------------------------------------

    def reject(self, *, error: str = "invalid", times: int = 1) -> str:
        if error not in _POOL_ERRORS:
            raise ValueError(f"error is one of {', '.join(_POOL_ERRORS)}, not {error!r}")
        refusals = [Refused(*_POOL_ERRORS[error])] * times
        self._do(lambda: self._chain.refusals.extend(refusals))
        return f"node: refuses the next {times} submissions ({error})"

    def leave_out(self, *, blocks: int = 10) -> str:
        def act() -> None:
            self._chain.blocks_to_leave_empty = blocks

        self._do(act)
        return f"node: the next {blocks} blocks hold no transactions"

    def prune(self, *, blocks: int = 1, headers: bool = False) -> str:
        self._do(lambda: self._chain.prune(blocks, headers=headers))
        what = "blocks" if headers else "state"
        return f"node: has no {what} before block {self._chain.kept_from}"

    def lag(self, *, blocks: int = 3) -> str:
        def act() -> None:
            self._chain.finality_lag = blocks

        self._do(act)
        return f"node: blocks become final {blocks} blocks later"

    def roll_back(self, *, blocks: int = 1, keep: bool = True) -> str:
        self._do(lambda: self._chain.roll_back(blocks, keep=keep))
        return f"node: the last {blocks} blocks are undone, now at block {self._chain.head.number}"

    # --- the subnet ----------------------------------------------------------------------------------------

    def tempo(self, *, netuid: int, blocks: int) -> str:
        self._as_root("sudo_set_tempo", {"netuid": netuid, "tempo": blocks})
        return f"node: tempo of subnet {netuid} is {blocks}"

    def epoch(self, *, netuid: int) -> str:
        def act() -> None:
            self._chain.state.put("PendingEpochAt", netuid, self._chain.head.number + 1)

        self._do(act)
        return f"node: the next epoch of subnet {netuid} begins in the next block"

    def weights_rate_limit(self, *, netuid: int, blocks: int) -> str:
        arguments = {"netuid": netuid, "weights_set_rate_limit": blocks}
        self._as_root("sudo_set_weights_set_rate_limit", arguments)
        return f"node: weights of subnet {netuid} may be set every {blocks} blocks"

    def permit(self, *, netuid: int, uid: int, held: bool = False) -> str:
        self._require_uid(netuid, uid)
        self._do(lambda: subnets.set_element(self._chain.state, "ValidatorPermit", netuid, uid, held))
        return f"node: uid {uid} of subnet {netuid} has {'a' if held else 'no'} validator permit"

    def replace(self, *, netuid: int, uid: int, hotkey: str) -> str:
        self._require_uid(netuid, uid)
        self._do(lambda: subnets.replace(self._root(), netuid, uid, hotkey))
        return f"node: uid {uid} of subnet {netuid} belongs to {hotkey}"

    def heal(self) -> str:
        def act() -> None:
            self._server.heal()
            self._chain.refusals.clear()
            self._chain.read_errors.clear()
            self._chain.blocks_to_leave_empty = self._chain.finality_lag = 0

        self._do(act)
        return "node: no faults"

    def _require_uid(self, netuid: int, uid: int) -> None:
        if not 0 <= uid < subnets.size(self._chain.state, netuid):
            raise ValueError(f"subnet {netuid} has no uid {uid}")

    def _as_root(self, name: str, arguments: dict[str, Any]) -> None:
        self._do(lambda: calls.dispatch(self._root(), Call("AdminUtils", name, arguments)))

    def _root(self) -> Context:
        """Outside of a block there are no events to deposit."""
        number = self._chain.head.number + 1
        return Context(self._chain.state, self._chain.settings, number, None, lambda *event: None)

    def _do(self, act: Callable[[], object]) -> None:
        async def perform() -> None:
            act()

        self._run(perform)
