"""Opens ledgers for commands, and finds hotkeys and epochs in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flockoff.competition import Competition
from flockoff.errors import SetupError, UsageError
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from flockoff.text import short_hotkey

_CANDIDATES = 10


def look(data_dir: Path) -> Ledger:
    """The ledger in a validator's data folder, read-only, beside a running validator. Raises SetupError if
    there is none, and LedgerError if it cannot be read.
    """

    path = ledger_path(data_dir)
    if not path.exists():
        raise SetupError(
            f"There is no ledger in {data_dir}.",
            remedy="A validator creates one when it starts; give its data folder with --data-dir.",
        )
    return Ledger.look(path)


def require_rules(ledger: Ledger, competition: Competition) -> None:
    """Raise UsageError if the ledger is another competition's: its numbers would be explained wrongly."""
    found = ledger.identity().competition
    if found != competition.id:
        raise UsageError(
            f"The ledger is of competition {found}, but the rules given are those of {competition.id}.",
            remedy="Give the validator's competition file with --competition.",
        )


def require_hotkey(ledger: Ledger, who: str) -> str:
    """The one hotkey that ``who`` means. Raises UsageError for none, and for several."""
    found = ledger.views.hotkeys(who) or _beginning_with(ledger, who)
    if not found:
        raise UsageError(
            f"This ledger knows no commitment of a hotkey {who!r}.",
            remedy="Give the hotkey's address, its first characters, or the uid.",
        )
    if len(found) > 1 and not who.isdigit():
        raise _ambiguous(who, found, known_uids(ledger))
    return found[0]


def hotkey_among(who: str, uids: Mapping[str, int]) -> str:
    """The one of these hotkeys that ``who`` means: an address, its beginning, or a uid.

    Raises UsageError for none, and for several.
    """
    if who.isdecimal():
        found = [hotkey for hotkey, uid in uids.items() if str(uid) == who]
    else:
        found = sorted(hotkey for hotkey in uids if hotkey.startswith(who))
    if not found:
        raise UsageError(
            f"Nobody on the subnet has the {'uid' if who.isdecimal() else 'hotkey'} {who!r}.",
            remedy="Give a hotkey's address, its first characters, or a uid.",
        )
    if len(found) > 1:
        raise _ambiguous(who, found, uids)
    return found[0]


def _ambiguous(who: str, found: Sequence[str], uids: Mapping[str, int]) -> UsageError:
    known = [f"uid {uids[each]} {short_hotkey(each)}" if each in uids else each for each in found]
    more = f" and {len(known) - _CANDIDATES} more" if len(known) > _CANDIDATES else ""
    return UsageError(
        f"{who!r} is ambiguous: {', '.join(known[:_CANDIDATES])}{more}.",
        remedy="Give more of the address, or the uid.",
    )


def known_uids(ledger: Ledger) -> dict[str, int]:
    """The last epoch's uids, by hotkey."""
    epochs = ledger.views.epochs(1)
    rows = ledger.views.leaderboard(epochs[0].start_block) if epochs else []
    return {row.hotkey: row.uid for row in rows if row.uid is not None}


def _beginning_with(ledger: Ledger, who: str) -> list[str]:
    """Whom a beginning means that is shorter than what a ledger is asked for."""
    return (
        [] if who.isdigit() or not who else sorted(key for key in known_uids(ledger) if key.startswith(who))
    )


def require_epoch(ledger: Ledger, epoch: int | None) -> int:
    """``epoch``, or the last closed one. Raises UsageError if it is not in the ledger."""
    if epoch is not None:
        if not ledger.is_closed(epoch):
            raise UsageError(
                f"No closed epoch begins at block {epoch}.", remedy="flockoff history lists the epochs."
            )
        return epoch
    closed = [found.start_block for found in ledger.views.epochs(2) if found.closed_at is not None]
    if not closed:
        raise UsageError("No epoch is closed yet.", remedy="Wait for the end of the validator's first epoch.")
    return closed[0]
