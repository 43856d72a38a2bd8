"""The calls of the local node: what each checks, changes and reports.

A call of the runtime that the node does not have fails with ``System.CallFiltered``, the error of a call that
a runtime's configuration switches off.
"""

from collections.abc import Mapping

from flockoff.localnet.node.calls import admin, balances, commitments, registration, staking, system, weights
from flockoff.localnet.node.context import Context, Handler
from flockoff.localnet.node.errors import ModuleError
from flockoff.localnet.node.extrinsics import Call

_CALLS: Mapping[tuple[str, str], Handler] = {
    **admin.CALLS,
    **balances.CALLS,
    **commitments.CALLS,
    **registration.CALLS,
    **staking.CALLS,
    **weights.CALLS,
}


def dispatch(context: Context, call: Call) -> None:
    """Run a call.

    Raises:
        DispatchFailed: it failed; the caller must undo what it changed until then.
    """
    wrapper = system.WRAPPERS.get(call.name)
    if wrapper is not None:
        wrapper(context, call.args, dispatch)
        return
    handler = _CALLS.get(call.name)
    if handler is None:
        raise ModuleError("System", "CallFiltered")
    handler(context, call.args)


def check_admission(context: Context, call: Call) -> None:
    """The transaction pool's checks of a signed call before accepting it.

    Raises:
        Refused: with one of Subtensor's custom error numbers.
    """
    if call.name in commitments.CALLS:
        commitments.check_admission(context, call.args)
    elif call.name in weights.CALLS:
        weights.check_admission(context, call)
