"""The JSON-RPC methods of the node."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from itertools import count
from typing import Any

import bittensor_core

from flockoff.localnet.node import runtime_apis
from flockoff.localnet.node.blocks import Block, hexed, unhexed
from flockoff.localnet.node.chain import LocalChain
from flockoff.localnet.node.errors import Refused
from flockoff.localnet.node.runtime import SPEC_NAME, SS58_FORMAT

Notify = Callable[[str, str, Any], None]
"""Send a subscription's update: the method of the notification, the subscription's id, the result."""

_MAX_KEYS = 1000  # Substrate's limit of one page
_TOKEN = {"ss58Format": SS58_FORMAT, "tokenDecimals": 9, "tokenSymbol": "TAO"}


class RpcSession:
    """One connection's methods. Its subscriptions end with it."""

    def __init__(self, chain: LocalChain, notify: Notify) -> None:
        self._chain = chain
        self._notify = notify
        self._ids = count(1)
        self._heads: dict[str, str] = {}  # subscription id -> notification's method
        self._final_heads: set[str] = set()  # subscription ids
        self._silent: set[str] = set()  # transactions that nobody subscribes to any more
        self._after: list[Callable[[], None]] = []
        self._methods: dict[str, Callable[..., Any]] = {
            "author_submitExtrinsic": self._submit,
            "author_submitAndWatchExtrinsic": self._submit_and_watch,
            "author_unwatchExtrinsic": self._unwatch,
            "author_pendingExtrinsics": self._pending_extrinsics,
            "account_nextIndex": self._next_index,
            "system_accountNextIndex": self._next_index,
            "chain_getHead": self._head_hash,
            "chain_getFinalizedHead": self._final_hash,
            "chain_getFinalisedHead": self._final_hash,
            "chain_getBlockHash": self._block_hash,
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
            "chain_subscribeNewHeads": partial(self._subscribe_heads, "chain_newHead"),
            "chain_subscribeNewHead": partial(self._subscribe_heads, "chain_newHead"),
            "chain_subscribeAllHeads": partial(self._subscribe_heads, "chain_allHead"),
            "chain_subscribeFinalizedHeads": self._subscribe_final_heads,
            "chain_unsubscribeNewHeads": self._unsubscribe,
            "chain_unsubscribeNewHead": self._unsubscribe,
            "chain_unsubscribeAllHeads": self._unsubscribe,
            "chain_unsubscribeFinalizedHeads": self._unsubscribe,
            "payment_queryInfo": self._query_info,
            "rpc_methods": self._list_methods,
            "state_call": self._call,
            "state_getKeysPaged": self._keys_paged,
            "state_getMetadata": self._metadata,
            "state_getRuntimeVersion": self._runtime_version,
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_queryStorageAt": self._query_storage,
            "state_subscribeRuntimeVersion": self._subscribe_runtime_version,
            "state_unsubscribeRuntimeVersion": self._unsubscribe,
            "system_chain": lambda: "FLock OFF local network",
            "system_chainType": lambda: "Local",
            "system_health": lambda: {"peers": 0, "isSyncing": False, "shouldHavePeers": False},
            "system_name": lambda: SPEC_NAME,
            "system_properties": lambda: _TOKEN,
            "system_version": lambda: f"local-{chain.runtime.version['specVersion']}",
        }
        chain.on_block.append(self._tell_head)
        chain.on_final.append(self._tell_final_head)

    def close(self) -> None:
        """End all subscriptions."""
        self._chain.on_block.remove(self._tell_head)
        self._chain.on_final.remove(self._tell_final_head)
        self._final_heads.clear()
        self._heads.clear()
        self._silent.add("")

    def call(self, method: str, params: list[Any]) -> Any:
        """Run a method.

        Raises:
            Refused: unknown method, wrong params, or what the method itself refuses.
        """
        handler = self._methods.get(method)
        if handler is None:
            raise Refused(-32601, f"Method not found: {method}")
        try:
            signature(handler).bind(*params)
        except TypeError as error:
            raise Refused(-32602, "Invalid params", f"{method}: {error}") from error
        return handler(*params)

    def after_reply(self) -> None:
        """Send what must follow the last call's reply: a subscription's first update."""
        due, self._after = self._after, []
        for send in due:
            send()

    # -- author, account --------------------------------------------------------------------------

    def _submit(self, extrinsic: str) -> str:
        return self._chain.submit(unhexed(extrinsic), lambda status: None)

    def _submit_and_watch(self, extrinsic: str) -> str:
        subscription = self._new_id()

        def watch(status: Any) -> None:
            if subscription not in self._silent and "" not in self._silent:
                self._notify("author_extrinsicUpdate", subscription, status)

        self._chain.submit(unhexed(extrinsic), watch)
        self._after.append(lambda: watch("ready"))
        return subscription

    def _unwatch(self, subscription: str) -> bool:
        self._silent.add(subscription)
        return True

    def _pending_extrinsics(self) -> list[str]:
        return [hexed(extrinsic.data) for extrinsic in self._chain.pool.waiting()]

    def _next_index(self, who: str) -> int:
        try:
            bittensor_core.decode_ss58(who)
        except ValueError as error:
            raise Refused(-32602, "Invalid params", f"{who!r} is no account: {error}") from error
        return self._chain.next_nonce(who)

    # -- chain ------------------------------------------------------------------------------------

    def _head_hash(self) -> str:
        return self._chain.head.hash

    def _final_hash(self) -> str:
        return self._chain.final.hash

    def _block_hash(self, number: int | str | list[int] | None = None) -> Any:
        if isinstance(number, list):
            return [self._block_hash(one) for one in number]
        if number is None:
            return self._chain.head.hash
        try:
            height = int(number, 16) if isinstance(number, str) else int(number)
        except (TypeError, ValueError) as error:
            raise Refused(-32602, "Invalid params", f"no block number: {number!r}") from error
        known = self._chain.block_hash(height)
        return None if known is None else hexed(known)

    def _header(self, block_hash: str | None = None) -> Any:
        block = self._chain.block(block_hash)
        return block.header.as_json() if block else None

    def _block(self, block_hash: str | None = None) -> Any:
        block = self._chain.block(block_hash)
        return block.as_json() if block else None

    def _subscribe_heads(self, notification: str) -> str:
        subscription = self._new_id()
        self._heads[subscription] = notification
        head = self._chain.head.header.as_json()
        self._after.append(lambda: self._notify(notification, subscription, head))
        return subscription

    def _subscribe_final_heads(self) -> str:
        subscription = self._new_id()
        self._final_heads.add(subscription)
        head = self._chain.final.header.as_json()
        self._after.append(lambda: self._notify("chain_finalizedHead", subscription, head))
        return subscription

    def _tell_final_head(self, block: Block) -> None:
        for subscription in self._final_heads:
            self._notify("chain_finalizedHead", subscription, block.header.as_json())

    def _tell_head(self, block: Block) -> None:
        for subscription, notification in self._heads.items():
            self._notify(notification, subscription, block.header.as_json())

    def _unsubscribe(self, subscription: str) -> bool:
        known = subscription in self._heads or subscription in self._final_heads
        self._heads.pop(subscription, None)
        self._final_heads.discard(subscription)
        return known

    # -- state ------------------------------------------------------------------------------------

    def _call(self, name: str, data: str, block_hash: str | None = None) -> str:
        return hexed(runtime_apis.call(self._chain.at(block_hash), name, unhexed(data)))

    def _query_info(self, extrinsic: str, block_hash: str | None = None) -> Any:
        data = unhexed(extrinsic)
        name = "TransactionPaymentApi_query_info"
        state = self._chain.at(block_hash)
        answer = runtime_apis.call(state, name, data + len(data).to_bytes(4, "little"))
        info = state.runtime.decode(state.runtime.apis[name][1], answer)
        return {"weight": info["weight"], "class": "normal", "partialFee": str(info["partial_fee"])}

    def _storage(self, key: str, block_hash: str | None = None) -> str | None:
        view = self._chain.storage.at(self._chain.readable(block_hash).number)
        value = view.get(unhexed(key))
        return None if value is None else hexed(value)

    def _query_storage(self, keys: list[str], block_hash: str | None = None) -> Any:
        block = self._chain.readable(block_hash)
        view = self._chain.storage.at(block.number)
        values = ((key, view.get(unhexed(key))) for key in keys)
        changes = [[key, None if value is None else hexed(value)] for key, value in values]
        return [{"block": block.hash, "changes": changes}]

    def _keys_paged(
        self, prefix: str, page: int, start: str | None = None, block_hash: str | None = None
    ) -> list[str]:
        if page > _MAX_KEYS:
            raise Refused(4002, f"count exceeds maximum value. value: {page}, max: {_MAX_KEYS}")
        view = self._chain.storage.at(self._chain.readable(block_hash).number)
        keys = view.keys_paged(unhexed(prefix or ""), after=unhexed(start or ""), count=page)
        return [hexed(key) for key in keys]

    def _metadata(self, block_hash: str | None = None) -> str:
        self._chain.readable(block_hash)
        return hexed(self._chain.runtime.metadata)

    def _runtime_version(self, block_hash: str | None = None) -> Any:
        self._chain.readable(block_hash)
        return self._chain.runtime.version

    def _subscribe_runtime_version(self) -> str:
        subscription = self._new_id()
        version = self._chain.runtime.version
        self._after.append(lambda: self._notify("state_runtimeVersion", subscription, version))
        return subscription

    # -- rpc --------------------------------------------------------------------------------------

    def _list_methods(self) -> Any:
        return {"methods": sorted(self._methods)}

    def _new_id(self) -> str:
        return f"{id(self):x}-{next(self._ids)}"
