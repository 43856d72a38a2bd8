"""An extrinsic's fee, and who pays it.

The formula reproduces a receipt recorded from a spec 461 node (a transfer's 166,247 rao): one rao for each
byte, and the dispatch weight's reference time over 2,000. The local node gives every call the weight of a
transfer.
"""

from flockoff.localnet.node.extrinsics import Call
from flockoff.localnet.node.runtime import Value
from flockoff.localnet.node.state import NULL_ACCOUNT, Reader

REF_TIME = 332_208_000
PROOF_SIZE = 7_791
REF_TIME_PER_RAO = 2_000

_WEIGHT_CALLS = (
    "set_weights",
    "set_mechanism_weights",
    "batch_set_weights",
    "commit_weights",
    "commit_mechanism_weights",
    "batch_commit_weights",
    "commit_crv3_mechanism_weights",
    "commit_timelocked_weights",
    "commit_timelocked_mechanism_weights",
    "reveal_weights",
    "reveal_mechanism_weights",
    "batch_reveal_weights",
    "serve_axon",
    "serve_axon_tls",
    "serve_prometheus",
    "associate_evm_key",
)
COLDKEY_PAYS = {("SubtensorModule", name) for name in _WEIGHT_CALLS} | {("Commitments", "set_commitment")}
"""Calls signed by a hotkey whose fee is taken from the coldkey that owns it."""


def weight_fee() -> int:
    """The dispatch's part of the fee, in rao."""
    return REF_TIME // REF_TIME_PER_RAO


def fee_of(length: int) -> int:
    """The fee, in rao, of an extrinsic of ``length`` bytes."""
    return length + weight_fee()


def payer_of(state: Reader, signer: str, call: Call) -> str:
    """The account that the fee of ``signer``'s call is taken from."""
    if call.name not in COLDKEY_PAYS:
        return signer
    owner: str = state.subtensor("Owner", signer)
    return signer if owner == NULL_ACCOUNT else owner


def dispatch_info(*, mandatory: bool = False) -> dict[str, Value]:
    """The ``DispatchEventInfo`` of success and failure events."""
    return {
        "weight": {"ref_time": REF_TIME, "proof_size": PROOF_SIZE},
        "class": "Mandatory" if mandatory else "Normal",
        "pays_fee": "Yes",
    }
