"""The node's refusals: from inside a dispatch, and from the transaction pool."""

from flockoff.localnet.node.runtime import Runtime, Value


class DispatchFailed(Exception):
    """A call failed. ``error`` is a ``DispatchError`` variant without arguments, such as ``BadOrigin``."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error

    def encodable(self, runtime: Runtime) -> Value:
        """The value of the runtime's ``DispatchError`` type."""
        return self.error


class ModuleError(DispatchFailed):
    """A pallet's own error, by the name it has in the metadata."""

    def __init__(self, pallet: str, error: str) -> None:
        super().__init__(error)
        self.pallet = pallet

    def encodable(self, runtime: Runtime) -> Value:
        pallet_index, error_index = runtime.errors[self.pallet, self.error]
        return {"Module": {"index": pallet_index, "error": f"0x{error_index:02x}000000"}}


class TokenError(DispatchFailed):
    """A balance is too low for it: ``FundsUnavailable``, ``NotExpendable``, ``BelowMinimum`` and the like."""

    def encodable(self, runtime: Runtime) -> Value:
        return {"Token": self.error}


def subtensor_error(name: str) -> ModuleError:
    """An error of ``SubtensorModule``."""
    return ModuleError("SubtensorModule", name)


class Refused(Exception):
    """A JSON-RPC error: ``code``, ``message`` and ``data`` as a Substrate node words them."""

    def __init__(self, code: int, message: str, data: Value = None) -> None:
        super().__init__(message if data is None else f"{message}: {data}")
        self.code = code
        self.message = message
        self.data = data


def invalid_transaction(why: str) -> Refused:
    """The pool's refusal of a transaction that is currently invalid."""
    return Refused(1010, "Invalid Transaction", why)


BAD_PROOF = "Transaction has a bad signature"
FUTURE = "Transaction will be valid in the future"
STALE = "Transaction is outdated"
PAYMENT = "Inability to pay some fees (e.g. account balance too low)"
ANCIENT = "Transaction has an ancient birth block"

# Subtensor's own reasons, as ``InvalidTransaction::Custom(n)``. The SDK turns them back into names.
CUSTOM_STAKE_TOO_LOW = 1
CUSTOM_RATE_LIMITED = 6
CUSTOM_INVALID_REVEAL_ROUND = 15


def custom_error(number: int) -> Refused:
    """The pool's refusal for one of Subtensor's own reasons."""
    return invalid_transaction(f"Custom error: {number}")
