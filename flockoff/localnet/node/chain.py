"""The chain: takes transactions, makes blocks, keeps them readable."""

import logging
import time
from collections.abc import Callable

from flockoff.localnet.node import accounts, calls, epoch, fees, genesis, shield, timelock
from flockoff.localnet.node.blocks import NO_PARENT, Block, Header, digest, hexed
from flockoff.localnet.node.calls import registration
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.errors import (
    ANCIENT,
    FUTURE,
    PAYMENT,
    STALE,
    DispatchFailed,
    Refused,
    invalid_transaction,
)
from flockoff.localnet.node.extrinsics import Call, Extrinsic, decode_call, inherent, parse, verify
from flockoff.localnet.node.metadata_patch import compact
from flockoff.localnet.node.pool import Pending, Pool, Watch
from flockoff.localnet.node.runtime import Value, as_bytes, shared_runtime
from flockoff.localnet.node.settings import NodeSettings
from flockoff.localnet.node.state import Reader, State
from flockoff.localnet.node.storage import Storage

_log = logging.getLogger(__name__)

_HASH_BYTES = 32
_BLOCKS_PER_STATE = 4  # how much longer blocks are kept than state
_BLOCK_HASH_COUNT = 2400  # the runtime's System.BlockHashCount
DEFAULT_SLOT_MILLISECONDS = 250  # in the metadata, where only ``advance()`` makes blocks


class LocalChain:
    """One node's chain. Everything is called on one thread; no method waits for anything.

    Finality is instant, the head is always final, unless ``finality_lag`` blocks are set to come after it.
    ``refusals``, ``read_errors`` and ``blocks_to_leave_empty`` are the bad days of the pool, the database and
    the author.
    """

    def __init__(self, settings: NodeSettings) -> None:
        slot = round(settings.block_seconds * 1000) or DEFAULT_SLOT_MILLISECONDS
        self.settings = settings
        self.runtime = shared_runtime(slot, epoch_consensus=settings.epoch_consensus)
        self.storage = Storage(settings.history_blocks)
        self.state = State(self.runtime, self.storage)
        self.pool = Pool()
        self.on_submission: list[Callable[[], None]] = []
        self.on_block: list[Callable[[Block], None]] = []
        self.on_final: list[Callable[[Block], None]] = []
        self.finality_lag = 0
        self.refusals: list[Refused] = []  # for the next submissions, whatever they are
        self.read_errors: list[Refused] = []  # for the next reads of the state, whatever they are
        self.blocks_to_leave_empty = 0
        self.kept_from = 0  # the first block whose state was not pruned
        self._hashes_from = 0  # the first block known at all, apart from genesis
        self._landed: list[tuple[Block, list[Pending]]] = []  # not final yet, oldest first
        self._hashes = bytearray()  # 32 bytes for every block so far, by number
        self._recent: dict[str, Block] = {}  # by hash, oldest first
        self._events: list[bytes] = []
        self._extrinsic_index: int | None = None
        self._shield_key = shield.local_key()
        genesis.write(self.state, self._shield_key.public)
        root = digest(self.storage.seal(0), self.runtime.metadata)
        self.head = self._append(Block(Header(0, NO_PARENT, root, digest(), 0), ()))
        self.final = self.head
        self.genesis_hash = self.head.header.hash

    def fork(self, settings: NodeSettings) -> "LocalChain":
        """A fork: a chain with this one's past, independent from here on; it does not get the pool."""
        other = LocalChain(settings)
        other.storage.continue_from(self.storage)
        other.kept_from, other._hashes_from = self.kept_from, self._hashes_from
        other._hashes, other._recent = bytearray(self._hashes), dict(self._recent)
        other.head = other.final = self.head
        other.genesis_hash = self.genesis_hash
        return other

    # -- reading ----------------------------------------------------------------------------------

    def block_hash(self, number: int) -> bytes | None:
        """The hash of the block at a height; None above the head and for what was pruned."""
        if 0 < number < self._hashes_from:
            return None
        found = bytes(self._hashes[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]) if number >= 0 else b""
        return found or None

    def block(self, block_hash: str | None) -> Block | None:
        """A block by its hash; the head for None; None for a hash that is not of the chain's history."""
        return self.head if block_hash is None else self._recent.get(block_hash)

    def readable(self, block_hash: str | None) -> Block:
        """The block, provided that its state is still kept.

        Raises:
            Refused: the hash is unknown, or the state at it is discarded.
        """
        if self.read_errors:
            raise self.read_errors.pop(0)
        block = self.block(block_hash)
        if block is None:
            raise Refused(
                4003, f"Client error: UnknownBlock: Header was not found in the database: {block_hash}"
            )
        if block.number < max(self.head.number - self.settings.history_blocks, self.kept_from):
            raise Refused(4003, f"Client error: UnknownBlock: State already discarded for {block_hash}")
        return block

    def prune(self, blocks: int, *, headers: bool) -> None:
        """Forget the state of all but the last ``blocks`` blocks; with ``headers`` their headers as well."""
        self.kept_from = max(self.kept_from, self.head.number - blocks + 1)
        if headers:
            self._hashes_from = self.kept_from

    def at(self, block_hash: str | None) -> Reader:
        """The state at a block. Raises what ``readable`` raises."""
        return Reader(self.runtime, self.storage.at(self.readable(block_hash).number))

    def next_nonce(self, who: str) -> int:
        """The next nonce of an account, counting transactions in the pool."""
        return self.pool.next_nonce(who, accounts.account(self.state, who)["nonce"])

    # -- the pool ---------------------------------------------------------------------------------

    def submit(self, data: bytes, watch: Watch) -> str:
        """Check a signed extrinsic and add it to the pool; returns its hash.

        Raises:
            Refused: as a node's pool would.
        """
        extrinsic = parse(data)
        call = decode_call(self.runtime, extrinsic.call)
        if self.refusals:
            raise self.refusals.pop(0)
        self._validate(extrinsic, call)
        self.pool.add(Pending(extrinsic, call, watch, extrinsic.era.birth(self.head.number)))
        for listener in list(self.on_submission):
            listener()
        return extrinsic.hash

    def _validate(self, extrinsic: Extrinsic, call: Call) -> None:
        birth_hash = self.block_hash(extrinsic.era.birth(self.head.number))
        if birth_hash is None:
            raise invalid_transaction(ANCIENT)
        verify(self.runtime, extrinsic, genesis_hash=self.genesis_hash, birth_hash=birth_hash)
        if extrinsic.nonce < accounts.account(self.state, extrinsic.signer)["nonce"]:
            raise invalid_transaction(STALE)
        self._check_payment(extrinsic, call)
        calls.check_admission(self._context(extrinsic.signer), call)

    def _check_payment(self, extrinsic: Extrinsic, call: Call) -> None:
        payer = fees.payer_of(self.state, extrinsic.signer, call)
        fee = fees.fee_of(len(extrinsic.data)) + extrinsic.tip
        affordable = accounts.free(self.state, payer) - fee >= accounts.EXISTENTIAL_DEPOSIT
        if not affordable or not accounts.can_sign(self.state, extrinsic.signer):
            raise invalid_transaction(PAYMENT)

    # -- making blocks ------------------------------------------------------------------------------

    def produce(self) -> Block:
        """Make the next block from what is in the pool."""
        parent = self.head
        number = parent.number + 1
        slot_milliseconds = self.runtime.slot_milliseconds
        earliest = self.state.read("Timestamp", "Now") + slot_milliseconds // 2
        now = max(time.time_ns() // 1_000_000, earliest)
        self._events, self._extrinsic_index = [], None
        self.state.write("System", "Number", number)
        self.state.write("System", "ParentHash", parent.header.hash)
        self.state.write("System", "BlockHash", parent.number, parent.header.hash)
        if parent.number >= _BLOCK_HASH_COUNT:
            self.state.remove("System", "BlockHash", parent.number - _BLOCK_HASH_COUNT)
        self._on_initialize()
        included = [self._apply_timestamp(now)]
        landed = [] if self.blocks_to_leave_empty else self._apply_pool(included)
        self.blocks_to_leave_empty = max(0, self.blocks_to_leave_empty - 1)
        self._write_events()
        root = digest(parent.header.state_root, self.storage.seal(number))
        content = digest(*(digest(extrinsic) for extrinsic in included))
        header = Header(number, parent.header.hash, root, content, now // slot_milliseconds)
        self.head = self._append(Block(header, tuple(included)))
        self._tell(self.head, landed)
        return self.head

    def roll_back(self, blocks: int, *, keep: bool) -> None:
        """Make another branch the best one, without the last ``blocks`` blocks.

        What they held goes back into the pool, or with ``keep`` False is lost.

        Raises:
            ValueError: one of those blocks is final.
        """
        target = self.head.number - blocks
        if target < self.final.number:
            raise ValueError(f"block {self.final.number} is final")
        retracted = [item for item in self._landed if item[0].number > target]
        self._landed = [item for item in self._landed if item[0].number <= target]
        for number in range(target + 1, self.head.number + 1):
            block_hash = self.block_hash(number)
            assert block_hash is not None
            del self._recent[hexed(block_hash)]
        del self._hashes[(target + 1) * _HASH_BYTES :]
        self.storage.rewind(target)
        parent = self.block_hash(target)
        assert parent is not None
        self.head = self._recent[hexed(parent)]
        for block, landed in retracted:
            for pending in landed:
                pending.watch({"retracted": block.hash})
                if keep:
                    self.pool.add(pending)

    def _on_initialize(self) -> None:
        context = self._context(None)
        registration.decay_prices(context)
        fired = epoch.due(context)
        timelock.reveal(context, fired)
        epoch.step(context, fired)

    def _apply_timestamp(self, now: int) -> bytes:
        self._extrinsic_index = 0
        self.state.write("Timestamp", "Now", now)
        self._emit("System", "ExtrinsicSuccess", {"dispatch_info": fees.dispatch_info(mandatory=True)})
        return inherent(bytes(self.runtime.core.compose_call("Timestamp", "set", {"now": now})))

    def _apply_pool(self, included: list[bytes]) -> list[Pending]:
        for expired in self.pool.drop_expired(self.head.number + 1):
            expired.watch("invalid")
        landed = []
        while (pending := self.pool.take(lambda who: accounts.account(self.state, who)["nonce"])) is not None:
            try:
                self._validate(pending.extrinsic, pending.call)
            except Refused as refused:
                _log.debug("transaction became invalid: %s", refused)
                pending.watch("invalid")
                continue
            self._include(pending.extrinsic, pending.call, included)
            landed.append(pending)
            if pending.call.name == shield.CALL:
                self._include_shielded(as_bytes(pending.call.args["ciphertext"]), included)
        return landed

    def _include(self, extrinsic: Extrinsic, call: Call, included: list[bytes]) -> None:
        self._extrinsic_index = len(included)
        self._apply(extrinsic, call)
        included.append(extrinsic.data)

    def _include_shielded(self, envelope: bytes, included: list[bytes]) -> None:
        """Decrypt a carried extrinsic, and include it as if it had been submitted in the clear."""
        try:
            extrinsic = parse(shield.open_envelope(self._shield_key, envelope))
            call = decode_call(self.runtime, extrinsic.call)
            self._validate(extrinsic, call)
            if extrinsic.nonce > accounts.account(self.state, extrinsic.signer)["nonce"]:
                raise invalid_transaction(FUTURE)
        except (ValueError, Refused) as error:
            _log.warning("a shielded extrinsic is void: %s", error)
        else:
            self._include(extrinsic, call, included)

    def _apply(self, extrinsic: Extrinsic, call: Call) -> None:
        payer = fees.payer_of(self.state, extrinsic.signer, call)
        fee = fees.fee_of(len(extrinsic.data)) + extrinsic.tip
        accounts.advance_nonce(self.state, extrinsic.signer)
        accounts.debit(self.state, payer, fee, self._emit)
        self._emit("Balances", "Withdraw", {"who": payer, "amount": fee})
        before = len(self._events)
        failure: DispatchFailed | None = None
        try:
            with self.storage.transaction():
                calls.dispatch(self._context(extrinsic.signer), call)
        except DispatchFailed as error:
            del self._events[before:]
            failure = error
        paid = {"who": payer, "actual_fee": fee, "tip": extrinsic.tip}
        self._emit("TransactionPayment", "TransactionFeePaid", paid)
        if failure is None:
            self._emit("System", "ExtrinsicSuccess", {"dispatch_info": fees.dispatch_info()})
        else:
            why = failure.encodable(self.runtime)
            attributes = {"dispatch_error": why, "dispatch_info": fees.dispatch_info()}
            self._emit("System", "ExtrinsicFailed", attributes)

    def _context(self, origin: str | None) -> Context:
        return Context(self.state, self.settings, self.head.number + 1, origin, self._emit)

    def _emit(self, pallet: str, name: str, attributes: Value) -> None:
        index = self._extrinsic_index
        record: Value = {
            "phase": "Initialization" if index is None else {"ApplyExtrinsic": index},
            "event": {pallet: {name: attributes}},
            "topics": [],
        }
        self._events.append(self.runtime.encode(self.runtime.event_record_type, record))

    def _write_events(self) -> None:
        events = compact(len(self._events)) + b"".join(self._events)
        self.storage.set(self.runtime.key("System", "Events"), events)
        self.state.write("System", "EventCount", len(self._events))

    def _append(self, block: Block) -> Block:
        self._hashes += block.header.hash
        self._recent[block.hash] = block
        while len(self._recent) > self.settings.history_blocks * _BLOCKS_PER_STATE + 1:
            del self._recent[next(iter(self._recent))]
        return block

    def _tell(self, block: Block, landed: list[Pending]) -> None:
        for pending in landed:
            pending.watch({"inBlock": block.hash})
        self._landed.append((block, landed))
        while self._landed and self._landed[0][0].number <= block.number - self.finality_lag:
            self._finalize(*self._landed.pop(0))
        for listener in list(self.on_block):
            listener(block)

    def _finalize(self, block: Block, landed: list[Pending]) -> None:
        self.final = block
        for pending in landed:
            pending.watch({"finalized": block.hash})
        for listener in list(self.on_final):
            listener(block)
