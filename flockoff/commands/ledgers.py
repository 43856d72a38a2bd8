"""Opens ledgers for commands, and finds hotkeys and epochs in them."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from flockoff.competition import Competition
from flockoff.errors import SetupError, UsageError
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from flockoff.records import Neuron
from flockoff.text import short_hotkey

_ADDRESS = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,48}")
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


def look_if_of(data_dir: Path, netuid: int, competition: str) -> Ledger | None:
    """As ``look``; None where there is no ledger of this subnet and competition."""
    path = ledger_path(data_dir)
    if not path.exists():
        return None
    ledger = Ledger.look(path)
    identity = ledger.identity()
    if (identity.netuid, identity.competition) == (netuid, competition):
        return ledger
    ledger.close()
    return None


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
            f"This ledger knows no commitment of {'uid' if who.isdigit() else 'a hotkey'} {who!r}.",
            remedy="Give the hotkey's address, its first characters, or the uid.",
        )
    if len(found) > 1 and not who.isdigit():
        raise _ambiguous(who, found, known_uids(ledger))
    return found[0]


def is_address(who: str) -> bool:
    """Whether it is a whole address, known or not."""
    return _ADDRESS.fullmatch(who) is not None


def hotkey_among(who: str, neurons: Sequence[Neuron], gone: Collection[str] = ()) -> str:
    """The hotkey that ``who`` means: an address, or the beginning of one or the uid of a neuron's.

    ``gone``: hotkeys that may be meant though they are not on the subnet any more. Raises UsageError for
    nobody, and for several.
    """
    if is_address(who):
        return who
    uids = {neuron.hotkey: neuron.uid for neuron in neurons}
    if who.isdecimal():
        found = [hotkey for hotkey, uid in uids.items() if uid == int(who)]
    else:
        found = sorted(hotkey for hotkey in {*uids, *gone} if hotkey.startswith(who))
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
