"""Balances: the ``System.Account`` record and what changes it.

Amounts are rao (1e-9 TAO). Emits the Balances events of Substrate's fungible traits.
"""

from collections.abc import Callable

from flockoff.localnet.node.errors import TokenError
from flockoff.localnet.node.runtime import Value
from flockoff.localnet.node.state import Reader, State

Emit = Callable[[str, str, Value], None]
"""Deposit an event: pallet, name, attributes."""

EXISTENTIAL_DEPOSIT = 500
NEW_LOGIC_FLAG = 1 << 127  # every account made by a recent runtime carries it


def account(state: Reader, who: str) -> dict[str, Value]:
    """The account record; zeros for one that does not exist."""
    record: dict[str, Value] = state.read("System", "Account", who)
    return record


def free(state: Reader, who: str) -> int:
    """The free balance."""
    return int(account(state, who)["data"]["free"])


def can_sign(state: Reader, who: str) -> bool:
    """Whether anything (a balance, a registration) keeps the account alive; others may not send anything."""
    record = account(state, who)
    return bool(record["providers"] or record["sufficients"])


def add_provider(state: State, who: str) -> None:
    """Keep an account alive that needs no balance of its own, such as a registered hotkey."""
    record = account(state, who)
    record["providers"] += 1
    state.write("System", "Account", who, record)


def advance_nonce(state: State, who: str) -> None:
    """Advance the nonce by one."""
    record = account(state, who)
    record["nonce"] += 1
    state.write("System", "Account", who, record)


def credit(state: State, who: str, amount: int, emit: Emit) -> None:
    """Add ``amount`` to the free balance, creating the account if necessary.

    Raises:
        TokenError: the account would be left below the existential deposit.
    """
    record = account(state, who)
    was_empty = record["data"]["free"] == 0
    record["data"]["free"] += amount
    if record["data"]["free"] < EXISTENTIAL_DEPOSIT:
        raise TokenError("BelowMinimum")
    if was_empty:
        record["data"]["flags"] = NEW_LOGIC_FLAG
        record["providers"] += 1
        emit("System", "NewAccount", {"account": who})
        emit("Balances", "Endowed", {"account": who, "free_balance": record["data"]["free"]})
    state.write("System", "Account", who, record)


def debit(state: State, who: str, amount: int, emit: Emit, *, keep_alive: bool = True) -> None:
    """Take ``amount`` from the free balance.

    Raises:
        TokenError: the balance is lower, or ``keep_alive`` and less than the existential deposit is left.
    """
    record = account(state, who)
    left = record["data"]["free"] - amount
    if left < 0:
        raise TokenError("FundsUnavailable")
    if left < EXISTENTIAL_DEPOSIT:
        if keep_alive:
            raise TokenError("NotExpendable")
        left = 0  # the remainder is dust
        record["providers"] = max(0, record["providers"] - 1)
    record["data"]["free"] = left
    state.write("System", "Account", who, record)
    if left == 0 and record["providers"] == 0:
        emit("System", "KilledAccount", {"account": who})


def transfer(state: State, source: str, to: str, amount: int, emit: Emit, *, keep_alive: bool) -> None:
    """Move ``amount`` between free balances. Raises what ``debit`` and ``credit`` raise."""
    debit(state, source, amount, emit, keep_alive=keep_alive)
    credit(state, to, amount, emit)
    emit("Balances", "Transfer", {"from": source, "to": to, "amount": amount})
