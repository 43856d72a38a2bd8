"""``Balances``: transfers."""

from collections.abc import Mapping

from flockoff.localnet.node import accounts
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.runtime import Value


def _transfer_keep_alive(context: Context, args: dict[str, Value]) -> None:
    _transfer(context, context.signer, args["dest"], args["value"], keep_alive=True)


def _transfer_allow_death(context: Context, args: dict[str, Value]) -> None:
    _transfer(context, context.signer, args["dest"], args["value"], keep_alive=False)


def _transfer_all(context: Context, args: dict[str, Value]) -> None:
    kept = accounts.EXISTENTIAL_DEPOSIT if args["keep_alive"] else 0
    amount = max(0, accounts.free(context.state, context.signer) - kept)
    _transfer(context, context.signer, args["dest"], amount, keep_alive=bool(args["keep_alive"]))


def _force_transfer(context: Context, args: dict[str, Value]) -> None:
    context.ensure_root()
    _transfer(context, args["source"], args["dest"], args["value"], keep_alive=False)


def _force_set_balance(context: Context, args: dict[str, Value]) -> None:
    context.ensure_root()
    who, new_free = args["who"], args["new_free"]
    held = accounts.free(context.state, who)
    if new_free > held:
        accounts.credit(context.state, who, new_free - held, context.emit)
    else:
        accounts.debit(context.state, who, held - new_free, context.emit, keep_alive=False)
    context.emit("Balances", "BalanceSet", {"who": who, "free": new_free})


def _transfer(context: Context, source: str, to: str, amount: int, *, keep_alive: bool) -> None:
    accounts.transfer(context.state, source, to, amount, context.emit, keep_alive=keep_alive)


CALLS: Mapping[tuple[str, str], Handler] = {
    ("Balances", "transfer_keep_alive"): _transfer_keep_alive,
    ("Balances", "transfer_allow_death"): _transfer_allow_death,
    ("Balances", "transfer_all"): _transfer_all,
    ("Balances", "force_transfer"): _force_transfer,
    ("Balances", "force_set_balance"): _force_set_balance,
}
