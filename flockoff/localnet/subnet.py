"""A subnet with wallets and neurons, made by SDK calls alone.

Works on any development chain where //Alice is funded and sudo: the node double of this project or a real
local Subtensor. It refuses every other chain before it changes anything.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flockoff.chain import WalletRef
from flockoff.chain.connection import Access, Connection, Operation, T
from flockoff.chain.translation import Circumstances, translate
from flockoff.errors import ChainFatal, FlockoffError, LocalnetError, SetupError
from flockoff.text import counted

if TYPE_CHECKING:
    from bittensor import Wallet, calls

STEP_SECONDS = 120.0
SETUP_TEMPO = 4  # blocks; permits are given at an epoch's end, so the first one is short
RAO = 10**9
ALLOWANCE = 200 * RAO  # for every coldkey: registration and fees
STAKE = 1000 * RAO  # for every validator
MAX_REGISTRATIONS = 256


@dataclass(frozen=True, slots=True)
class SubnetPlan:
    """What to prepare. Wallets are made under ``wallet_path`` without passwords, or used where they exist."""

    endpoint: str
    wallet_path: Path
    miners: int
    validators: int = 1
    tempo: int = 360  # blocks
    commit_reveal: bool = False
    weights_rate_limit: int = 100  # blocks


@dataclass(frozen=True, slots=True)
class PreparedSubnet:
    """A subnet whose miners are registered and whose validators also hold stake and a permit."""

    netuid: int
    endpoint: str
    wallet_path: Path
    owner: WalletRef
    miners: tuple[WalletRef, ...]
    validators: tuple[WalletRef, ...]


def prepare_subnet(plan: SubnetPlan, *, on_progress: Callable[[str], None]) -> PreparedSubnet:
    """Create a subnet to ``plan``; ``on_progress`` is called with each finished step.

    Raises LocalnetError if the endpoint is not a development chain, SetupError where the wallets cannot be
    written, ChainError's kinds where the chain cannot be reached or refuses.
    """
    steps = _Steps(plan)
    try:
        steps.run("look at the chain", _refuse_other_chains)
        owner, miners, validators = _make_wallets(plan)
        on_progress(f"{counted(1 + len(miners) + len(validators), 'wallet')} in {plan.wallet_path}")
        steps.run("fund the wallets", lambda node: _fund(node, owner, miners, validators))
        netuid = steps.run("create the subnet", lambda node: _create(node, owner))
        steps.run("set the subnet up", lambda node: _configure(node, plan, netuid, owner))
        on_progress(f"subnet {netuid} created, owned by {owner.coldkeypub.ss58_address}")
        steps.run("register the neurons", lambda node: _register(node, netuid, miners, validators))
        on_progress(f"{counted(len(miners), 'miner')} and {counted(len(validators), 'validator')} registered")
        steps.run("wait for the permits", lambda node: _until_permitted(node, netuid, validators))
        steps.run("set the tempo", lambda node: _set_tempo(node, netuid, plan.tempo))
        on_progress(f"validators hold stake and permits; an epoch is {counted(plan.tempo, 'block')}")
    finally:
        steps.close()
    return PreparedSubnet(
        netuid=netuid,
        endpoint=plan.endpoint,
        wallet_path=plan.wallet_path,
        owner=_ref(plan, "owner"),
        miners=tuple(_ref(plan, wallet.name) for wallet in miners),
        validators=tuple(_ref(plan, wallet.name) for wallet in validators),
    )


class _Steps:
    """Runs the steps one after the other on one connection, with the chain adapter's errors."""

    def __init__(self, plan: SubnetPlan) -> None:
        self._connection = Connection(plan.endpoint)
        self._endpoint = plan.endpoint

    def run(self, action: str, operation: Operation[T]) -> T:
        try:
            return self._connection.run(operation, timeout=STEP_SECONDS)
        except FlockoffError:
            raise
        except Exception as error:  # as in the chain adapter: the SDK keeps no list of what it raises
            raise translate(error, action, Circumstances(self._endpoint, netuid=0)) from error

    def close(self) -> None:
        self._connection.close()


# --- wallets ---------------------------------------------------------------------------------------------


def _ref(plan: SubnetPlan, name: str) -> WalletRef:
    return WalletRef(name, "default", plan.wallet_path)


def _make_wallets(plan: SubnetPlan) -> "tuple[Wallet, list[Wallet], list[Wallet]]":
    try:
        owner = _make_wallet(_ref(plan, "owner"))
        miners = [_make_wallet(_ref(plan, f"miner{n}")) for n in range(1, plan.miners + 1)]
        validators = [_make_wallet(_ref(plan, f"validator{n}")) for n in range(1, plan.validators + 1)]
    except OSError as error:
        raise SetupError(
            f"The wallets cannot be written under {plan.wallet_path}: {error}.",
            remedy="Choose a directory that can be written to.",
        ) from error
    return owner, miners, validators


def _make_wallet(ref: WalletRef) -> "Wallet":
    from bittensor import Wallet

    wallet = Wallet(ref.name, ref.hotkey, path=str(ref.path))
    if not wallet.coldkey_file.exists_on_device():
        wallet.create_new_coldkey(use_password=False, suppress=True)
    if not wallet.hotkey_file.exists_on_device():
        wallet.create_new_hotkey(suppress=True)
    return wallet


def _alice() -> Any:
    from bittensor.keyfiles import Keypair

    return Keypair.create_from_uri("//Alice")


# --- steps -----------------------------------------------------------------------------------------------


async def _refuse_other_chains(node: Access) -> None:
    if await node.client.query(("Sudo", "Key")) != _alice().ss58_address:
        raise LocalnetError(
            "This is not a development chain: //Alice is not its sudo key.",
            remedy="Give the endpoint of a local Subtensor; nothing was changed on this one.",
        )


async def _fund(
    node: Access, owner: "Wallet", miners: "Sequence[Wallet]", validators: "Sequence[Wallet]"
) -> None:
    """All coldkeys from //Alice, and the limits on creating a subnet lifted, in one extrinsic."""
    from bittensor import calls

    cost = (await node.client.subnets.subnet_registration_cost()).rao
    amounts = {
        **{wallet: ALLOWANCE for wallet in miners},
        **{wallet: ALLOWANCE + STAKE for wallet in validators},
        owner: ALLOWANCE + cost,
    }
    lifted = await _as_root(
        node,
        [
            calls.AdminUtils.sudo_set_network_rate_limit(0),
            calls.AdminUtils.sudo_set_start_call_delay(0),
            calls.AdminUtils.sudo_set_admin_freeze_window(0),
            calls.AdminUtils.sudo_set_stake_threshold(0),
        ],
    )
    transfers = [
        calls.Balances.transfer_keep_alive(dest=wallet.coldkeypub.ss58_address, value=amount)
        for wallet, amount in amounts.items()
    ]
    await _submit(node, await _batch(node, [lifted, *transfers]), _alice())


async def _create(node: Access, owner: "Wallet") -> int:
    from bittensor import RegisterSubnet

    result = await node.client.execute(RegisterSubnet(), owner)
    result.raise_for_failure()
    if "netuid" not in result.data:
        raise ChainFatal("The chain did not say which subnet it created.")
    return int(result.data["netuid"])


async def _configure(node: Access, plan: SubnetPlan, netuid: int, owner: "Wallet") -> None:
    from bittensor import calls

    admin = calls.AdminUtils
    settings = await _as_root(
        node,
        [
            admin.sudo_set_tempo(netuid, SETUP_TEMPO),
            admin.sudo_set_commit_reveal_weights_enabled(netuid, plan.commit_reveal),
            admin.sudo_set_weights_set_rate_limit(netuid, plan.weights_rate_limit),
            admin.sudo_set_min_allowed_weights(netuid, 1),
            admin.sudo_set_max_registrations_per_block(netuid, MAX_REGISTRATIONS),
            admin.sudo_set_target_registrations_per_interval(netuid, MAX_REGISTRATIONS),
            admin.sudo_set_network_registration_allowed(netuid, True),
        ],
    )
    await asyncio.gather(
        _submit(node, settings, _alice()),
        _submit(node, calls.SubtensorModule.start_call(netuid), owner),
    )


async def _register(
    node: Access, netuid: int, miners: "Sequence[Wallet]", validators: "Sequence[Wallet]"
) -> None:
    """Each by its own coldkey, concurrently; validators stake in the same extrinsic.

    Not the SDK's BurnedRegister: it insists on an encrypted mempool, which a local chain need not have.
    """
    from bittensor import calls

    pallet = calls.SubtensorModule

    async def register(wallet: "Wallet", *, stake: bool) -> None:
        hotkey = wallet.hotkey.ss58_address
        join = pallet.burned_register(netuid, hotkey)
        call = await _batch(node, [join, pallet.add_stake(hotkey, netuid, STAKE)]) if stake else join
        await _submit(node, call, wallet)

    await asyncio.gather(
        *(register(wallet, stake=False) for wallet in miners),
        *(register(wallet, stake=True) for wallet in validators),
    )


async def _until_permitted(node: Access, netuid: int, validators: "Sequence[Wallet]") -> None:
    wanted = {wallet.hotkey.ss58_address for wallet in validators}

    async def missing() -> bool:
        graph = await node.client.subnets.metagraph(netuid, commitments=False)
        permitted = {neuron.hotkey for neuron in graph.validators} if graph else set()
        return not wanted <= permitted

    while await missing():
        await node.client.wait_for_block()


async def _set_tempo(node: Access, netuid: int, tempo: int) -> None:
    from bittensor import calls

    await _submit(node, await _as_root(node, [calls.AdminUtils.sudo_set_tempo(netuid, tempo)]), _alice())


# --- calls -----------------------------------------------------------------------------------------------


async def _batch(node: Access, parts: "Sequence[calls.Call]") -> "calls.Call":
    """All of ``parts`` or none, in one call."""
    from bittensor import calls

    return calls.Utility.batch_all(calls=[await _composed(node, part) for part in parts])


async def _as_root(node: Access, parts: "Sequence[calls.Call]") -> "calls.Call":
    from bittensor import calls

    return calls.Sudo.sudo(call=await _composed(node, await _batch(node, parts)))


async def _composed(node: Access, call: "calls.Call") -> Any:
    """A call in the form in which another one contains it."""
    client: Any = node.client  # this method of the SDK is untyped
    return await client.compose(call)


async def _submit(node: Access, call: "calls.Call", signer: Any) -> None:
    """Signed by the coldkey of a wallet, or by a key itself."""
    (await node.client.submit_call(call, signer)).raise_for_failure()
