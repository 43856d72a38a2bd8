"""One subnet of the chain through one wallet: the Chain of ``flockoff.ports``, on the Bittensor SDK."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flockoff.chain.connection import Access, Connection, Operation, T
from flockoff.chain.translation import (
    Circumstances,
    is_unknown_block,
    no_block,
    no_subnet,
    not_registered,
    translate,
)
from flockoff.chain.wallets import WalletRef, load_wallet
from flockoff.errors import ChainError, ChainTransient, Interrupted, SetupError
from flockoff.logs import TRACE
from flockoff.records import (
    U16_MAX,
    ChainWeights,
    EpochStatus,
    Neuron,
    RawCommitment,
    Receipt,
    SubnetSnapshot,
    SubnetTerms,
    SubnetView,
)
from flockoff.text import without_key

if TYPE_CHECKING:
    from bittensor import ExtrinsicResult, Metagraph, MetagraphNeuron, Wallet

log = logging.getLogger(__name__)

READ_SECONDS = 60.0
SUBMIT_SECONDS = 120.0  # finalization takes under a minute on a healthy chain
SUBSCRIPTION_SECONDS = 30.0
RAO = 10**9  # in one TAO, as in one alpha

_COMMITMENT_OF = ("Commitments", "CommitmentOf")
_STAKE_THRESHOLD = ("SubtensorModule", "StakeThreshold")
_UIDS = ("SubtensorModule", "Uids")
_WEIGHTS = ("SubtensorModule", "Weights")
_SEALED = ("SubtensorModule", "TimelockedWeightCommits")
_VERSION_KEY = ("SubtensorModule", "WeightsVersionKey")
_OWNER_CUT = ("SubtensorModule", "SubnetOwnerCut")
_TRUST = ("SubtensorModule", "ValidatorTrust")


def open_chain(
    *,
    endpoint: str,
    netuid: int,
    wallet: WalletRef | None,
    read_seconds: float = READ_SECONDS,
    submit_seconds: float = SUBMIT_SECONDS,
    stop: threading.Event | None = None,
) -> "SubtensorChain":
    """The subnet ``netuid`` at a node's ``endpoint``; does not connect yet.

    Read-only without a ``wallet``. Once ``stop`` is set, calls end within a few seconds, with Interrupted if
    unfinished. Raises SetupError or UsageError for a wallet that cannot be used (see ``load_wallet``).
    """
    return SubtensorChain(
        endpoint=endpoint,
        netuid=netuid,
        ref=wallet,
        wallet=load_wallet(wallet) if wallet else None,
        read_seconds=read_seconds,
        submit_seconds=submit_seconds,
        stop=stop,
    )


class SubtensorChain:
    """See ``flockoff.ports.Chain`` for the methods' contracts.

    Connects on demand, and again after a fault; submissions wait for finalization. ``hotkey`` is "" without a
    wallet.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        netuid: int,
        ref: WalletRef | None,
        wallet: "Wallet | None",
        read_seconds: float,
        submit_seconds: float,
        stop: threading.Event | None,
    ) -> None:
        self.netuid = netuid
        self.hotkey: str = wallet.hotkey.ss58_address if wallet else ""
        self._coldkey: str = wallet.coldkeypub.ss58_address if wallet else ""
        self._wallet = wallet
        self._where = Circumstances(without_key(endpoint), netuid, ref, self._coldkey)
        self._connection = Connection(endpoint, stop)
        self._read_seconds = read_seconds
        self._submit_seconds = submit_seconds

    # --- reading -------------------------------------------------------------------------------------

    def block(self) -> int:
        return self._read("read the chain's height", lambda node: node.client.block())

    def block_hash(self, block: int) -> bytes:
        """The 32 bytes of a hash, once the block is final: before that it may still be replaced.

        Raises ChainTransient for a future block, ChainPruned for one that the node lacks.
        """

        async def read(node: Access) -> bytes:
            if block > await node.client.finalized_block():
                await self._require_reached(node, block)
                await _until_final(node, block)
            return await self._hash(node, block)

        return self._read(f"read the hash of block {block}", read)

    def genesis(self) -> bytes:
        return self._read("read the chain's first hash", lambda node: self._hash(node, 0))

    async def _hash(self, node: Access, block: int) -> bytes:
        try:
            text = await node.substrate.block_hash(block)
        except Exception as error:
            if not is_unknown_block(error):
                raise
            await self._require_reached(node, block)
            raise no_block(self._where, block) from error
        return bytes.fromhex(text.removeprefix("0x"))

    async def _require_reached(self, node: Access, block: int) -> None:
        if block > await node.client.block():
            raise ChainTransient(f"Block {block} does not exist yet.", remedy="Wait for it.")

    def head_time(self) -> float:
        """When the latest block was made, in UTC seconds, by its author's clock."""

        async def read(node: Access) -> float:
            return (await node.client.timestamp()).timestamp()

        return self._read("read the chain's time", read)

    def epoch_status(self) -> EpochStatus:
        async def read(node: Access) -> EpochStatus:
            status = await node.client.epochs.epoch_status(self.netuid)
            if status["next_epoch_start_block"] is None or not await self._exists(node):
                raise no_subnet(self._where)
            return EpochStatus(
                block=status["block"],
                start_block=status["last_epoch_block"],
                next_start_block=status["next_epoch_start_block"],
                seconds_per_block=await node.client.block_time(),
            )

        return self._read("read where the epoch stands", read)

    def uid(self) -> int | None:
        async def read(node: Access) -> int | None:
            uid = await node.client.neurons.uid(hotkey_ss58=self.hotkey, netuid=self.netuid)
            if uid is None and not await self._exists(node):
                raise no_subnet(self._where)
            return uid

        return self._read("look the hotkey up", read) if self.hotkey else None

    def require_uid(self) -> int:
        """The hotkey's uid. Raises NotRegistered, with the command that registers it."""
        uid = self.uid()
        if uid is None:
            raise not_registered(self._where, self.hotkey)
        return uid

    def snapshot(self, block: int | None = None) -> SubnetSnapshot:
        async def read(node: Access) -> SubnetSnapshot:
            if block is not None:
                await self._hash(node, block)  # the view needs it anyway, and caches it
            view = await node.client.at(block)
            return await self._snapshot(view, await self._metagraph(view))

        return self._read(f"read subnet {self.netuid}", read)

    async def _metagraph(self, view: Any) -> "Metagraph":
        graph: Metagraph | None = await view.subnets.metagraph(self.netuid, commitments=False)
        if graph is None:
            raise no_subnet(self._where)
        return graph

    async def _snapshot(self, view: Any, graph: "Metagraph") -> SubnetSnapshot:
        # One request for all of them. Not the SDK's own commitments: it also decodes revealed timelocked
        # ones, and fails on arbitrary bytes in them.
        records = await view.query_batch(
            _COMMITMENT_OF, [[self.netuid, neuron.hotkey] for neuron in graph.neurons]
        )
        return SubnetSnapshot(
            netuid=self.netuid,
            block=view.block,
            owner_hotkey=graph.owner_hotkey,
            neurons=tuple(_neuron(neuron) for neuron in graph.neurons),
            commitments={
                commitment.hotkey: commitment
                for neuron, record in zip(graph.neurons, records, strict=True)
                if (commitment := _commitment(neuron.hotkey, record))
            },
            owner_coldkey=graph.owner_coldkey,
            min_allowed_weights=int(graph.raw["min_allowed_weights"]),
            stake_threshold=(await view.query(_STAKE_THRESHOLD) or 0) / RAO,
        )

    def view(self) -> SubnetView:
        """Everything the chain says about the subnet now, for people: more than validating needs.

        The price is what the chain's own swap pallet quotes (``SwapRuntimeApi_current_alpha_price``); alpha
        a block, reserves and hyperparameters are the metagraph's (``SubnetInfoRuntimeApi_get_metagraph``).
        """

        async def read(node: Access) -> SubnetView:
            view = await node.client.at(None)
            graph = await self._metagraph(view)
            status = await view.epochs.epoch_status(self.netuid)
            cut = await view.query(_OWNER_CUT, [])
            price = await view.prices.alpha_price(self.netuid)
            rows = await view.query_map(_WEIGHTS, [self.netuid])
            trust = await view.query(_TRUST, [self.netuid]) or []
            return SubnetView(
                snapshot=await self._snapshot(view, graph),
                epoch=EpochStatus(
                    block=status["block"],
                    start_block=status["last_epoch_block"],
                    next_start_block=status["next_epoch_start_block"] or status["block"],
                    seconds_per_block=await node.client.block_time(),
                ),
                terms=_terms(graph, float(price["tao_per_alpha"]), int(cut or 0) / U16_MAX),
                weights={int(uid): row for uid, pairs in rows if (row := _shares(pairs))},
                trust={uid: int(value) / U16_MAX for uid, value in enumerate(trust)},
                emission={neuron.uid: neuron.emission.rao / RAO for neuron in graph.neurons},
                made_at=(await view.timestamp()).timestamp(),
            )

        return self._read(f"read subnet {self.netuid}", read)

    def commitment(self) -> RawCommitment | None:
        return self._read("read the commitment", self._shown) if self.hotkey else None

    async def _shown(self, node: Access) -> RawCommitment | None:
        record = await node.client.query(_COMMITMENT_OF, [self.netuid, self.hotkey])
        return _commitment(self.hotkey, record)

    def weights(self) -> dict[int, dict[int, float]]:
        """All weights on chain, by the validator's and the target's uid, each row summing to 1."""

        async def read(node: Access) -> dict[int, dict[int, float]]:
            return await node.client.weights.weights(self.netuid)

        return self._read("read the weights", read)

    def weights_on_chain(self) -> ChainWeights:
        if not self.hotkey:
            return ChainWeights(self.block(), {})

        async def read(node: Access) -> ChainWeights:
            view = await node.client.at(None)
            uid = await view.query(_UIDS, [self.netuid, self.hotkey])
            row = [] if uid is None else await view.query(_WEIGHTS, [self.netuid, uid]) or []
            queues = await view.query_map(_SEALED, [self.netuid])
            sealed = (block for _, queue in queues for hotkey, block, *_ in queue if hotkey == self.hotkey)
            values = {int(target): int(value) for target, value in row}
            return ChainWeights(view.block, values, tuple(sorted(map(int, sealed))))

        return self._read("read the hotkey's weights", read)

    def balance(self) -> float:
        """The coldkey's free balance, in TAO."""
        coldkey = self._signer().coldkeypub.ss58_address

        async def read(node: Access) -> float:
            return (await node.client.balances.get(coldkey)).rao / RAO

        return self._read("read the balance", read)

    def commitment_fee(self, text: str) -> float:
        """What committing ``text`` costs the wallet's coldkey now, in TAO."""
        wallet = self._signer()

        async def read(node: Access) -> float:
            call = await node.client.compose(_commitment_call(self.netuid, text))  # type: ignore[no-untyped-call]
            return (await node.substrate.estimate_fee(call, wallet.hotkey)).rao / RAO

        return self._read("ask for the fee", read)

    def wait_for_block(self, block: int, *, timeout: float) -> bool:
        deadline = time.monotonic() + timeout

        async def wait(node: Access) -> bool:
            while True:
                # In slices: a subscription may stay silent although the node answers requests, and ending one
                # is a request as well.
                slice_seconds = min(max(0.0, deadline - time.monotonic()), SUBSCRIPTION_SECONDS)
                async with asyncio.timeout(slice_seconds + self._read_seconds):
                    if await node.client.block() >= block:
                        return True
                    if not slice_seconds:
                        return False
                    with suppress(TimeoutError):
                        await node.client.wait_for_block(block, timeout=slice_seconds)

        return self._call(
            f"wait for block {block}", wait, max(0.0, timeout) + self._read_seconds, reading=True
        )

    # --- submitting ----------------------------------------------------------------------------------

    def commit(self, text: str) -> Receipt:
        wallet, call = self._signer(), _commitment_call(self.netuid, text)

        async def submit(node: Access) -> Receipt:
            await _require_nothing_pending(node, self.hotkey)
            # Only now does the chain show everything sent before, perhaps by a process that was killed.
            shown = await self._shown(node)
            if shown is not None and shown.text == text:
                return Receipt("", shown.block)
            return _receipt(await node.client.submit_call(call, wallet, signer="hotkey"))

        return self._call("commit on chain", submit, self._submit_seconds)

    def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
        wallet = self._signer()

        async def submit(node: Access) -> Receipt:
            from bittensor import SetWeights

            await _require_nothing_pending(node, self.hotkey)
            # As in ``commit``: an earlier read would miss what got into a block in between.
            if since is not None and (block := await self._last_update(node)) > since:
                return Receipt("", block)
            key = int(await node.client.query(_VERSION_KEY, [self.netuid]) or 0)
            intent = SetWeights(netuid=self.netuid, weights=dict(weights), version_key=key)
            # No retries: if the pool says that the nonce is taken, these weights may have taken it.
            return _receipt(await node.client.execute(intent, wallet, retries=0))

        return self._call("set weights", submit, self._submit_seconds)

    def close(self) -> None:
        self._connection.close()

    # -------------------------------------------------------------------------------------------------

    async def _last_update(self, node: Access) -> int:
        """The block of the hotkey's last weights; 0 if there are none."""
        uid = await node.client.neurons.uid(hotkey_ss58=self.hotkey, netuid=self.netuid)
        blocks = await node.client.query(("SubtensorModule", "LastUpdate"), [self.netuid])
        return 0 if uid is None or not blocks else int(blocks[uid])

    async def _exists(self, node: Access) -> bool:
        """Whether the subnet exists: the chain answers other queries for any netuid, with defaults."""
        return bool(await node.client.query(("SubtensorModule", "NetworksAdded"), [self.netuid]))

    def _signer(self) -> "Wallet":
        if self._wallet is None:
            raise SetupError("This needs a wallet, and none was given.")
        return self._wallet

    def _read(self, action: str, operation: Operation[T]) -> T:
        return self._call(action, operation, self._read_seconds, reading=True)

    def _call(self, action: str, operation: Operation[T], timeout: float, *, reading: bool = False) -> T:
        log.log(TRACE, "chain: %s", action)
        try:
            return self._connection.run(operation, timeout=timeout)
        except (ChainError, Interrupted):
            raise
        except Exception as error:  # the SDK also leaks its libraries' errors, undocumented
            fault = translate(error, action, self._where, reading=reading)
            if isinstance(fault, ChainTransient):
                self._connection.drop()
            raise fault from error


async def _require_nothing_pending(node: Access, hotkey: str) -> None:
    """Raise ChainTransient while an extrinsic of ``hotkey`` is pending in the node's pool.

    It may be the very one about to be sent, after a kill or a lost connection. The pool's count is read
    first, so that what gets into a block in between counts as done.
    """
    nonces = node.substrate.raw
    nonces.clear_nonce_cache_for_account(hotkey)  # else the SDK counts locally, without asking the node
    following = await node.substrate.account_next_index(hotkey)
    nonces.clear_nonce_cache_for_account(hotkey)  # else the submission would use the next one
    account = await node.client.query(("System", "Account"), [hotkey])
    if following > account["nonce"]:
        raise ChainTransient(
            "An earlier submission of this hotkey is not in a block yet.",
            remedy="Wait for the next block, then read the chain before sending anything.",
        )


async def _until_final(node: Access, block: int) -> None:
    async for header in node.client.blocks(finalized=True):
        if header.number >= block:
            return
    raise ChainTransient(f"The node stopped reporting before block {block} was final.", remedy="Try again.")


def _neuron(neuron: "MetagraphNeuron") -> Neuron:
    return Neuron(
        uid=neuron.uid,
        hotkey=neuron.hotkey,
        coldkey=neuron.coldkey,
        stake=neuron.total_stake.rao / RAO,  # TAO and alpha, combined by the chain
        validator_permit=neuron.validator_permit,
        last_update=neuron.last_update,
        consensus=neuron.consensus,
        incentive=neuron.incentive,
        dividends=neuron.dividends,
    )


def _terms(graph: "Metagraph", alpha_price: float, owner_cut: float) -> SubnetTerms:
    raw = graph.raw
    return SubnetTerms(
        name=str(graph.name or ""),
        alpha_price=alpha_price,
        alpha_per_block=raw["alpha_out_emission"] / RAO,
        owner_cut=owner_cut,
        pool_tao=raw["tao_in"] / RAO,
        pool_alpha=raw["alpha_in"] / RAO,
        registration_cost=raw["burn"] / RAO,
        registration_open=bool(raw["registration_allowed"]),
        immunity_blocks=int(raw["immunity_period"]),
        max_uids=int(raw["max_uids"]),
        max_validators=int(raw["max_validators"]),
        tempo=int(raw["tempo"]),
        weights_rate_limit=int(raw["weights_rate_limit"]),
        weights_version_key=int(raw["weights_version"]),
        activity_cutoff=int(raw["activity_cutoff"]),
        commit_reveal=bool(raw["commit_reveal_weights_enabled"]),
    )


def _shares(pairs: Any) -> dict[int, float]:
    """A row of the chain's weights, summing to 1; empty where all of them are 0."""
    total = sum(int(value) for _, value in pairs)
    return {int(uid): int(value) / total for uid, value in pairs if total and value}


def _commitment_call(netuid: int, text: str) -> Any:
    from bittensor import calls

    payload = text.encode()
    return calls.Commitments.set_commitment(netuid=netuid, info={"fields": [{f"Raw{len(payload)}": payload}]})


def _commitment(hotkey: str, record: Any) -> RawCommitment | None:
    """The plain text of a ``CommitmentOf`` record; None if missing or not UTF-8.

    Anybody on the subnet can write such records: reading must not fail, whatever the fields.
    """
    if not record:
        return None
    payload = b"".join(
        bytes.fromhex(value.removeprefix("0x"))
        for field in record["info"]["fields"]
        if isinstance(field, dict)
        for variant, value in field.items()
        if variant.startswith("Raw") and isinstance(value, str)  # Raw0 is an empty list
    )
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return RawCommitment(hotkey, text, int(record["block"])) if text else None


def _receipt(result: "ExtrinsicResult") -> Receipt:
    result.raise_for_failure()
    identifier = result.extrinsic_id or ""
    return Receipt(identifier, int(identifier.split("-")[0]) if identifier else None)
