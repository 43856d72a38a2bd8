"""The one tree of errors, divided by whose fault it is.

    FlockoffError                 message (what happened) and remedy (what to do now)
    ├── MinerFault                the miner's fault: recorded with its Reason, counts as evaluated
    └── Fault                     anything else: never a score, never costs a miner anything
        ├── UsageError            a flag, a setting or a competition file is wrong (exit status 2)
        ├── SetupError            something on this machine is missing or misconfigured
        ├── ChainError
        │   ├── ChainCooldown     too soon; ``blocks_left`` if the chain says
        │   ├── NotRegistered     the hotkey has no uid on the subnet (any more)
        │   ├── NoFunds           the coldkey cannot pay the fee
        │   ├── ChainTransient    connection, pool, timeout: may pass; the call may have landed
        │   ├── ChainPruned       the node no longer has that block's state: retrying is no use
        │   └── ChainFatal        the chain refused for a permanent reason
        ├── HubError
        │   ├── HubUnauthorized   token missing, wrong, or without the right it needs
        │   ├── HubTransient      429, 5xx, timeout, cut connection; ``retry_after`` seconds if given
        │   └── HubFatal          the hub refused for a permanent reason
        ├── EvaluationFault       the worker died, hung, ran out of memory, or met a device error
        │   ├── EvaluationTooSlow it made progress, but exceeded the time limit for one dataset
        │   └── EvaluationStopped the caller asked it to stop (epoch's end, SIGTERM)
        ├── LedgerError           the ledger is damaged, foreign, of a newer version, or another's
        │   └── LedgerUnavailable its disk is full, read-only or failing, or it is locked: can be fixed
        └── LocalnetError         the local network could not start or continue

Adapters translate their library's errors into these; nothing above an adapter names a library's own.
``Interrupted`` is separate: nothing is wrong, the program was asked to stop.
"""

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why a miner is at fault. The value is stable: it is stored in ledgers and shown to miners."""

    COMMITMENT_MISSING = "commitment_missing"
    COMMITMENT_MALFORMED = "commitment_malformed"
    REPO_MISSING = "repo_missing"
    COMMIT_MISSING = "commit_missing"
    FILE_MISSING = "file_missing"
    TOO_LARGE = "too_large"
    TOO_MANY_ROWS = "too_many_rows"
    TOO_MANY_TOKENS = "too_many_tokens"
    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_NESTED = "too_nested"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_KEY = "unknown_key"
    MISSING_KEY = "missing_key"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    WRONG_ROLE = "wrong_role"
    NO_TURNS = "no_turns"
    BLANK_CONTENT = "blank_content"
    FORBIDDEN_CHARACTER = "forbidden_character"
    SPECIAL_TOKEN = "special_token"
    NOTHING_TO_LEARN = "nothing_to_learn"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    SAME_LOSS = "same_loss"
    CONTAMINATED = "contaminated"
    LOSS_NOT_FINITE = "loss_not_finite"  # only in older ledgers: it is no miner's fault


class FaultKind(StrEnum):
    """What failed through no fault of a miner. The value is stable: ledgers store it, metrics count by it."""

    OTHER = "other"
    USAGE = "usage"
    SETUP = "setup"
    CHAIN = "chain"
    COOLDOWN = "chain_cooldown"
    NOT_REGISTERED = "not_registered"
    NO_FUNDS = "no_funds"
    CHAIN_TRANSIENT = "chain_transient"
    CHAIN_PRUNED = "chain_pruned"
    CHAIN_FATAL = "chain_fatal"
    HUB = "hub"
    HUB_UNAUTHORIZED = "hub_unauthorized"
    HUB_TRANSIENT = "hub_transient"
    HUB_FATAL = "hub_fatal"
    EVALUATION = "evaluation"
    TOO_SLOW = "evaluation_too_slow"
    STOPPED = "evaluation_stopped"
    LEDGER = "ledger"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    LOCALNET = "localnet"


class FlockoffError(Exception):
    """Base of all errors. ``message`` says what happened, ``remedy`` what the reader can do about it."""

    exit_status = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class MinerFault(FlockoffError):
    """The miner's fault; ``reason`` is stored, ``message`` is the detail the miner can act on. ``copied``:
    the hotkeys that a copy was copied from, most copied first.
    """

    def __init__(
        self, reason: Reason, message: str, *, remedy: str = "", copied: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.copied = copied


class Fault(FlockoffError):
    """Not the miner's fault. ``kind`` is stored and counted."""

    kind: ClassVar[FaultKind] = FaultKind.OTHER


class UsageError(Fault):
    """A flag, a setting or a competition file is wrong."""

    kind = FaultKind.USAGE
    exit_status = 2


class SetupError(Fault):
    """Something on this machine is missing or misconfigured."""

    kind = FaultKind.SETUP


class ChainError(Fault):
    """The chain could not be reached, or refused."""

    kind = FaultKind.CHAIN


class ChainCooldown(ChainError):
    """Too soon. ``blocks_left``: blocks to wait, or None if the chain does not say."""

    kind = FaultKind.COOLDOWN

    def __init__(self, message: str, *, blocks_left: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.blocks_left = blocks_left


class NotRegistered(ChainError):
    """The hotkey has no uid on the subnet (any more)."""

    kind = FaultKind.NOT_REGISTERED


class NoFunds(ChainError):
    """The coldkey cannot pay the fee."""

    kind = FaultKind.NO_FUNDS


class ChainTransient(ChainError):
    """May pass. A submission may have landed: read the chain before sending again."""

    kind = FaultKind.CHAIN_TRANSIENT


class ChainPruned(ChainError):
    """The node does not have that block's state. Other nodes may."""

    kind = FaultKind.CHAIN_PRUNED


class ChainFatal(ChainError):
    """The chain refused for a permanent reason."""

    kind = FaultKind.CHAIN_FATAL


class HubError(Fault):
    """The hub could not be reached, or refused."""

    kind = FaultKind.HUB


class HubUnauthorized(HubError):
    """The token is missing, wrong, or lacks the right that the call needs."""

    kind = FaultKind.HUB_UNAUTHORIZED


class HubTransient(HubError):
    """May pass. ``retry_after``: the hub's Retry-After in seconds, or None."""

    kind = FaultKind.HUB_TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class HubFatal(HubError):
    """The hub refused for a permanent reason."""

    kind = FaultKind.HUB_FATAL


class EvaluationFault(Fault):
    """An evaluation failed through no fault of the miner's."""

    kind = FaultKind.EVALUATION


class EvaluationTooSlow(EvaluationFault):
    """The worker made progress, but exceeded the time limit for one dataset."""

    kind = FaultKind.TOO_SLOW


class EvaluationStopped(EvaluationFault):
    """The caller asked for the stop; nothing is wrong with the worker or the dataset."""

    kind = FaultKind.STOPPED


class LedgerError(Fault):
    """The ledger is damaged, foreign, of a newer version, or belongs to another validator."""

    kind = FaultKind.LEDGER


class LedgerUnavailable(LedgerError):
    """The ledger cannot be used now: disk full, read-only or failing, or file locked. Can be fixed."""

    kind = FaultKind.LEDGER_UNAVAILABLE


class LocalnetError(Fault):
    """The local network could not start or continue."""

    kind = FaultKind.LOCALNET


class Interrupted(Exception):
    """The program was asked to stop; a restart continues from there."""
