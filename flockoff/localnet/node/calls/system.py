"""Calls that contain calls (sudo, batches, the shield), and the few of ``System``."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from flockoff.localnet.node import shield
from flockoff.localnet.node.blocks import digest
from flockoff.localnet.node.context import Context
from flockoff.localnet.node.errors import DispatchFailed, ModuleError
from flockoff.localnet.node.extrinsics import Call, decoded_call
from flockoff.localnet.node.runtime import Value, as_bytes

Dispatch = Callable[[Context, Call], None]
Wrapper = Callable[[Context, dict[str, Value], Dispatch], None]

_BATCH_LIMIT = 10_922  # the runtime's Utility.batched_calls_limit


def _sudo(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    if context.signer != context.state.read("Sudo", "Key"):
        raise ModuleError("Sudo", "RequireSudo")
    try:
        with context.state.storage.transaction():
            dispatch(replace(context, origin=None), decoded_call(args["call"]))
    except DispatchFailed as failure:
        result = {"Err": failure.encodable(context.state.runtime)}
    else:
        result = {"Ok": ()}
    context.emit("Sudo", "Sudid", {"sudo_result": result})


def _calls(args: dict[str, Value]) -> list[Call]:
    if len(args["calls"]) > _BATCH_LIMIT:
        raise ModuleError("Utility", "TooManyCalls")
    return [decoded_call(call) for call in args["calls"]]


def _batch_all(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    for call in _calls(args):
        dispatch(context, call)
        context.emit("Utility", "ItemCompleted", None)
    context.emit("Utility", "BatchCompleted", None)


def _batch(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    for index, call in enumerate(_calls(args)):
        try:
            with context.state.storage.transaction():
                dispatch(context, call)
        except DispatchFailed as failure:
            error = failure.encodable(context.state.runtime)
            context.emit("Utility", "BatchInterrupted", {"index": index, "error": error})
            return
        context.emit("Utility", "ItemCompleted", None)
    context.emit("Utility", "BatchCompleted", None)


def _remark(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    """A remark changes nothing."""


def _set_storage(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    context.ensure_root()
    for key, value in args["items"]:
        context.state.storage.set(as_bytes(key), as_bytes(value))


def _submit_encrypted(context: Context, args: dict[str, Value], dispatch: Dispatch) -> None:
    """The carrier itself only reports: what it carries, the chain puts into the block behind it."""
    sent = {"id": digest(as_bytes(args["ciphertext"])), "who": context.signer}
    context.emit("MevShield", "EncryptedSubmitted", sent)


WRAPPERS: Mapping[tuple[str, str], Wrapper] = {
    ("Sudo", "sudo"): _sudo,
    ("Sudo", "sudo_unchecked_weight"): _sudo,
    ("Utility", "batch"): _batch,
    ("Utility", "batch_all"): _batch_all,
    shield.CALL: _submit_encrypted,
    ("System", "remark"): _remark,
    ("System", "set_storage"): _set_storage,
}
