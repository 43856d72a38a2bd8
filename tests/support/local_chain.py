"""What the node's tests work with: a node and the real SDK connected to it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import bittensor
import bittensor_core
from websockets.sync.client import connect

from flockoff.localnet.node import Node, NodeSettings

RAO = 1_000_000_000
TEMPO = 100
FAST = NodeSettings(port=0, block_seconds=0.05, tempo=TEMPO, weights_rate_limit=0)

calls: Any = bittensor.calls


def must(result: Any) -> Any:
    """The result, which must be a success."""
    assert result.success, result.message
    return result


def error_of(result: Any) -> str:
    """The error's name of a result that must be a failure."""
    assert not result.success
    name: str = result.error.name
    return name


@dataclass(frozen=True)
class Bench:
    """A started node, a client of it, and the development chain's sudo key."""

    node: Node
    client: Any
    alice: Any

    def submit(self, call: Any, by: Any, **options: Any) -> Any:
        """Submit a call signed by a keypair, or by a wallet's coldkey (``signer="hotkey"``: its hotkey)."""
        return self.client.submit_call(call, by, **options)

    def sudo(self, call: Any) -> Any:
        """Submit a call as root."""
        return self.submit(calls.Sudo.sudo(call=self.client.compose(call)), self.alice)

    def batch_as_root(self, several: list[Any]) -> None:
        """Submit calls as root in one extrinsic, all of which have to succeed."""
        composed = [self.client.compose(call) for call in several]
        must(self.sudo(calls.Utility.batch_all(calls=composed)))

    def batch(self, several: list[Any], signer: Any) -> None:
        """Submit calls as one extrinsic, all of which have to succeed."""
        composed = [self.client.compose(call) for call in several]
        must(self.submit(calls.Utility.batch_all(calls=composed), signer))

    def fund(self, *wallets: Any, tao: int = 5000) -> None:
        """Give each wallet's coldkey some TAO."""
        addresses = [wallet.coldkeypub.ss58_address for wallet in wallets]
        transfers = [calls.Balances.transfer_keep_alive(dest=to, value=tao * RAO) for to in addresses]
        self.batch(transfers, self.alice)

    def free(self, address: str) -> int:
        """The free balance, in rao."""
        account = self.client.query(bittensor.storage.System.Account, [address])
        return int(account["data"]["free"])

    def next_epoch(self, *, after: int = 0) -> int:
        """Go to ``after`` blocks into subnet 1's next epoch; returns the epoch's first block."""
        start: int = self.client.epochs.epoch_status(1)["next_epoch_start_block"]
        self.node.advance(max(0, start + after - self.node.block))
        return start


@dataclass(frozen=True)
class Subnet(Bench):
    """Subnet 1 with three uids: 0 the owner's, 1 a staked validator's, 2 a miner's."""

    owner: Any
    validator: Any
    miner: Any


def rpc(node: Node, method: str, *params: object) -> Any:
    with connect(node.endpoint, compression=None) as socket:
        socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        return json.loads(socket.recv())["result"]


def commitment(data: bytes, netuid: int = 1) -> Any:
    """A commitment of one raw field."""
    return calls.Commitments.set_commitment(netuid=netuid, info={"fields": [{f"Raw{len(data)}": data}]})


def register(wallet: Any) -> Any:
    """Register a wallet's hotkey on subnet 1."""
    return calls.SubtensorModule.burned_register(netuid=1, hotkey=wallet.hotkey.ss58_address)


def add_stake(wallet: Any, tao: int) -> Any:
    """Stake on a wallet's hotkey on subnet 1."""
    hotkey = wallet.hotkey.ss58_address
    return calls.SubtensorModule.add_stake(hotkey=hotkey, netuid=1, amount_staked=tao * RAO)


def block_of(result: Any) -> int:
    """The block that a submission went into."""
    return int(result.extrinsic_id.split("-")[0])


def prepare_subnet(bench: Bench, owner: Any, validator: Any, miner: Any) -> Subnet:
    """Create subnet 1 with the calls that create one on a real local Subtensor."""
    bench.fund(owner, validator, miner)
    must(bench.client.execute(bittensor.RegisterSubnet(), owner))
    must(bench.client.execute(bittensor.StartCall(netuid=1), owner))
    bench.batch([register(validator), add_stake(validator, 1000)], validator)
    must(bench.submit(register(miner), miner))
    return Subnet(bench.node, bench.client, bench.alice, owner, validator, miner)


def connected(node: Node) -> Bench:
    client = bittensor.Subtensor(node.endpoint)
    return Bench(node, client, bittensor_core.Keypair.create_from_uri("//Alice"))


def disconnect(bench: Bench) -> None:
    bench.node.stop()  # first, because the SDK's close can hang while answers still arrive
    close_client(bench.client)


def close_client(client: Any) -> None:
    """Close a client, and its event loop, which the SDK only stops, with the tasks it leaves on it."""
    loop = client._loop_thread._loop
    client.close()
    loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
    loop.close()


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
