"""The one table that translates the SDK's errors.

The SDK names an error after the chain's own (``SpaceLimitExceeded``) if there is one, and assigns it a code
(``limit_exceeded``). The name decides if listed, then the code; an error with neither comes from the
connection or the node and is transient. Anything else is ChainFatal under its own name, because it would
recur.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from flockoff.chain.wallets import WalletRef
from flockoff.errors import (
    ChainCooldown,
    ChainError,
    ChainFatal,
    ChainPruned,
    ChainTransient,
    NoFunds,
    NotRegistered,
)
from flockoff.surroundings import connecting_to_node, proxy_secrets, steering
from flockoff.text import printable, without

if TYPE_CHECKING:
    from bittensor import ChainError as SdkError

_FATAL, _TRANSIENT, _COOLDOWN = ChainFatal, ChainTransient, ChainCooldown

# Commands can be pasted as they are: they run in the project's environment, against the chain in use.
_REGISTER = "Register the hotkey: uv run btcli subnets register --netuid {netuid} {network} {wallet}"
_FUND = (
    "Send TAO to its coldkey {coldkey}. To see what it has: uv run btcli wallet balance {network} {wallet}"
)
# Unlike a registration's fee, how much to stake is the owner's to decide: no command to paste.
_STAKE = (
    "Add stake to this hotkey on subnet {netuid}, with btcli or in a wallet's app; the permit comes with the "
    "next epoch, to the highest stakes."
)
_SUBNET = "Check --netuid and --subtensor.network. To list subnets: uv run btcli subnets list {network}"
_LANDED = "It may be on chain anyway: read the chain before sending it again."
_ARCHIVE = "Use a node with more history: one that runs with --state-pruning archive, or a larger number."
_NODE = "Check the network and --subtensor.chain_endpoint, or try again later."
_WAIT = "Wait, then try again."
_BUSY = "Wait, or use another node or one of your own: --subtensor.chain_endpoint."

_PAGE = re.compile(r"[\s:]*<(?:!doctype|html|head|body|\?xml)\b.*", re.IGNORECASE | re.DOTALL)
_MOST_SAID = 300  # characters

# By the chain's own name of the error.
BY_NAME: dict[str, tuple[type[ChainError], str]] = {
    # Too soon, although the SDK's code says something else.
    "SpaceLimitExceeded": (_COOLDOWN, "The hotkey's quota of commitments is used up until a later epoch."),
    "TooManyUnrevealedCommits": (_COOLDOWN, "Wait until the weights committed before are revealed."),
    "CommitQueueFull": (_COOLDOWN, "Wait until the weights committed before are revealed."),
    # Not on the subnet.
    "AccountNotAllowedCommit": (NotRegistered, _REGISTER),
    # Neither funds nor the signer are the problem, although the SDK's code says so.
    "StakeAmountTooLow": (_FATAL, _STAKE),
    "NotEnoughStake": (_FATAL, _STAKE),
    "NotEnoughStakeToSetWeights": (_FATAL, _STAKE),
    "NeuronNoValidatorPermit": (_FATAL, _STAKE),
    # Pool or timing problems: may pass when sent again with a fresh nonce and era.
    "PriorityTooLow": (_TRANSIENT, _LANDED),
    "AlreadyImported": (_TRANSIENT, _LANDED),
    "Usurped": (_TRANSIENT, _LANDED),
    "Dropped": (_TRANSIENT, _LANDED),
    "Invalid": (_TRANSIENT, _LANDED),
    "Retracted": (_TRANSIENT, _LANDED),
    "FinalityTimeout": (_TRANSIENT, _LANDED),
    "Future": (_TRANSIENT, _LANDED),
    "Stale": (_TRANSIENT, _LANDED),
    "AncientBirthBlock": (_TRANSIENT, _LANDED),
    "BadProof": (_TRANSIENT, _WAIT),  # e.g. signed across a runtime upgrade
    "ExhaustsResources": (_TRANSIENT, _WAIT),
    "InvalidRevealRound": (_TRANSIENT, _WAIT),
}

# By the SDK's code, for names not listed above and errors without one.
BY_CODE: dict[str, tuple[type[ChainError], str]] = {
    "rate_limited": (_COOLDOWN, _WAIT),
    "too_early": (_COOLDOWN, _WAIT),
    "not_registered": (NotRegistered, _REGISTER),
    "insufficient_balance": (NoFunds, _FUND),
    "subnet_not_exists": (_FATAL, _SUBNET),
}

_BLOCKS_LEFT = re.compile(r"Retry in ~(\d+) blocks")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What messages and remedies refer to: the node, the subnet, and the signer (None: nobody)."""

    endpoint: str
    netuid: int
    wallet: WalletRef | None = None
    coldkey: str = ""

    def fill(self, remedy: str) -> str:
        return remedy.format(
            netuid=self.netuid,
            network=shlex.join(("--network", self.endpoint)),
            wallet=self.wallet.flags if self.wallet else "",
            coldkey=self.coldkey,
        )


def translate(error: Exception, action: str, where: Circumstances, *, reading: bool = False) -> ChainError:
    """The ChainError for an SDK error. ``action`` completes "cannot …".

    ``reading`` needs neither rights nor funds, so a refusal is transient, unless the state was pruned.
    """
    fault = _translate(error, action, where)
    if not reading or isinstance(fault, ChainPruned):
        return fault
    return ChainTransient(fault.message, remedy=_NODE if fault.remedy == _LANDED else fault.remedy)


def _translate(error: Exception, action: str, where: Circumstances) -> ChainError:
    import bittensor as bt

    if any(type(cause).__name__ == "StateDiscardedError" for cause in _causes(error)):
        return ChainPruned(
            f"Cannot {action}: the node at {where.endpoint} no longer has that block's state.",
            remedy=_ARCHIVE,
        )
    if isinstance(error, TimeoutError):
        return ChainTransient(
            f"Cannot {action}: no answer in time from the node at {where.endpoint}.", remedy=_LANDED
        )
    if isinstance(error, ConnectionResetError):
        return ChainTransient(
            f"Cannot {action}: the connection to the node at {where.endpoint} was lost.", remedy=_LANDED
        )
    if isinstance(error, bt.RpcPolicyError) and error.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return ChainTransient(
            f"Cannot {action}: the node at {where.endpoint} is asked too often (HTTP 429).", remedy=_BUSY
        )
    if isinstance(error, (bt.RpcConnectionError, OSError)):
        return ChainTransient(
            f"Cannot {action}: no connection to the node at {where.endpoint} ({_said(error)}).",
            remedy=_unreachable(where),
        )
    if isinstance(error, bt.ChainError):
        return _from_chain(error, action, where)
    return ChainFatal(
        f"Cannot {action}: {type(error).__name__}: {_said(error)}.",
        remedy=f"bittensor and the node at {where.endpoint} may be of incompatible versions: update both.",
    )


def _said(error: Exception) -> str:
    """What an error says, in one line and without the web page that a proxy may have answered with."""
    return printable(without(_PAGE.sub("", str(error)), proxy_secrets()), _MOST_SAID)


def _unreachable(where: Circumstances) -> str:
    """The remedy, with the environment's proxies: the SDK connects through them without saying so."""
    names = connecting_to_node(tls=where.endpoint.startswith("wss:"))
    if names:
        return f"{_NODE} Also check {', '.join(names)}, set in the environment."
    if any(name.upper() == "ALL_PROXY" for name in steering()):
        return f"{_NODE} The SDK ignores ALL_PROXY: to reach the node through a proxy, set SOCKS_PROXY too."
    return _NODE


def no_subnet(where: Circumstances) -> ChainFatal:
    """There is no such subnet (the SDK returns None instead of raising)."""
    return ChainFatal(f"There is no subnet {where.netuid} at {where.endpoint}.", remedy=where.fill(_SUBNET))


def is_unknown_block(error: Exception) -> bool:
    """Whether the node said that it knows no block of that number."""
    return any(type(cause).__name__ == "BlockNotFound" for cause in _causes(error))


def no_block(where: Circumstances, block: int) -> ChainPruned:
    """The node is past the block but does not have it."""
    return ChainPruned(f"The node at {where.endpoint} does not have block {block}.", remedy=_ARCHIVE)


def not_registered(where: Circumstances, hotkey: str) -> NotRegistered:
    """The hotkey has no uid on the subnet (the SDK returns None instead of raising)."""
    message = f"Hotkey {hotkey} is not registered on subnet {where.netuid}."
    return NotRegistered(message, remedy=where.fill(_REGISTER))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, whose classes are private to the SDK."""
    while error is not None:
        yield error
        error = error.__cause__


def _from_chain(error: "SdkError", action: str, where: Circumstances) -> ChainError:
    name, code = error.name, error.code.value
    kind, remedy = BY_NAME.get(name or "") or BY_CODE.get(code) or (None, "")
    said = f"{name}: {error.message}" if name and name not in error.message else error.message
    message = f"Cannot {action}: {said.rstrip('.')}."
    if kind is None and name is None and code == "unknown":
        return ChainTransient(f"{message[:-1]} (node {where.endpoint}).", remedy=_LANDED)
    if kind is None:
        advice = error.remediation
        return ChainFatal(message, remedy=f"{advice[:1].upper()}{advice[1:]}.")
    if kind is ChainCooldown:
        left = _BLOCKS_LEFT.search(error.message)
        return ChainCooldown(message, blocks_left=int(left[1]) if left else None, remedy=remedy)
    return kind(message, remedy=where.fill(remedy))
