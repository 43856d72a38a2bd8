"""Whose fault is it: the one tree of errors.

    FlockoffError                 message (what happened) and remedy (what to do now)
    ├── MinerFault                the miner's own doing: recorded with its Reason, counts as evaluated
    └── Fault                     anything else: never a score, never costs a miner anything
        ├── UsageError            a flag, a setting or a competition file is wrong (exit status 2)
        ├── SetupError            something on this machine is missing or misconfigured
        ├── ChainError
        │   ├── ChainCooldown     too soon; ``blocks_left`` where the chain tells
        │   ├── NotRegistered     the hotkey has no uid on the subnet (any more)
        │   ├── NoFunds           the coldkey cannot pay the fee
        │   ├── ChainTransient    connection, pool, timeout: may heal; the call may have landed
        │   ├── ChainPruned       the node has thrown away what it knew of that block: asking again is no use
        │   └── ChainFatal        the chain refused for a reason that waiting does not heal
        ├── HubError
        │   ├── HubUnauthorized   token missing, wrong, or without the right it needs
        │   ├── HubTransient      429, 5xx, timeout, cut connection; ``retry_after`` seconds where told
        │   └── HubFatal          the hub refused for a reason that waiting does not heal
        ├── EvaluationFault       the worker died, hung, ran out of memory, or met a device error
        │   ├── EvaluationTooSlow it went on, but longer than this machine may take for one dataset
        │   └── EvaluationStopped the caller asked it to stop (epoch's end, SIGTERM)
        ├── LedgerError           the ledger is damaged, foreign, of a newer version, or another's
        │   └── LedgerUnavailable its disk is full, read-only or failing, or it is locked: may be mended
        └── LocalnetError         the local network could not start or go on

Adapters translate their library's errors into these; nothing above an adapter names a foreign one.
``Interrupted`` stands apart: nothing is wrong, somebody asked the program to stop.
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
    """What failed where no miner is to blame. The value is stable: ledgers store it, metrics count by it."""

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
    """The miner's own doing; ``reason`` is what is stored, ``message`` the detail the miner can act on.

    ``copied``: the hotkeys that a copy was copied from, most copied first.
    """

    def __init__(
        self, reason: Reason, message: str, *, remedy: str = "", copied: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
        self.copied = copied


class Fault(FlockoffError):
    """Not the miner's doing. ``kind`` is what is stored and counted."""

    kind: ClassVar[FaultKind] = FaultKind.OTHER


class UsageError(Fault):
    """A flag, a setting or a competition file is wrong."""

    kind = FaultKind.USAGE
    exit_status = 2


class SetupError(Fault):
    """Something on this machine is missing or misconfigured."""

    kind = FaultKind.SETUP


class ChainError(Fault):
    """The chain could not be asked, or said no."""

    kind = FaultKind.CHAIN


class ChainCooldown(ChainError):
    """Too soon. ``blocks_left`` is how many blocks to wait, or None where the chain does not tell."""

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
    """May heal by itself. What was being submitted may have landed: read the chain before sending again."""

    kind = FaultKind.CHAIN_TRANSIENT


class ChainPruned(ChainError):
    """The node no longer has that block's state, or has never had it. Other nodes may; this one will not."""

    kind = FaultKind.CHAIN_PRUNED


class ChainFatal(ChainError):
    """The chain refused for a reason that waiting does not heal."""

    kind = FaultKind.CHAIN_FATAL


class HubError(Fault):
    """The hub could not be asked, or said no."""

    kind = FaultKind.HUB


class HubUnauthorized(HubError):
    """The token is missing, wrong, or lacks the right that the call needs."""

    kind = FaultKind.HUB_UNAUTHORIZED


class HubTransient(HubError):
    """May heal by itself. ``retry_after`` is the hub's own wish in seconds, or None."""

    kind = FaultKind.HUB_TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


class HubFatal(HubError):
    """The hub refused for a reason that waiting does not heal."""

    kind = FaultKind.HUB_FATAL


class EvaluationFault(Fault):
    """An evaluation came to no number, through no fault of the miner's."""

    kind = FaultKind.EVALUATION


class EvaluationTooSlow(EvaluationFault):
    """The worker was going on, but took longer than this machine may take for one dataset."""

    kind = FaultKind.TOO_SLOW


class EvaluationStopped(EvaluationFault):
    """The caller asked for the stop; nothing is wrong with the worker or the dataset."""

    kind = FaultKind.STOPPED


class LedgerError(Fault):
    """The ledger is damaged, foreign, of a newer version, or belongs to another validator."""

    kind = FaultKind.LEDGER


class LedgerUnavailable(LedgerError):
    """The ledger cannot be used now: disk full, read-only or failing, file locked. May be mended."""

    kind = FaultKind.LEDGER_UNAVAILABLE


class LocalnetError(Fault):
    """The local network could not start or go on."""

    kind = FaultKind.LOCALNET


class Interrupted(Exception):
    """The program was asked to stop while it waited; started again, it goes on from there."""
