"""A ledger's latest changes, small enough to poll without rendering the page."""

from pathlib import Path
from typing import Any

from flockoff.ledger import Ledger
from flockoff.text import printable

_WORDS_CHARACTERS = 200


def settled_version(ledger_path: Path) -> str:
    """A version that changes whenever an epoch begins, closes or gets its weights."""
    with Ledger.look(ledger_path) as ledger:
        return _version(ledger)


def read_news(ledger_path: Path) -> dict[str, Any]:
    """The version, and the verdicts so far in the current epoch, by hotkey."""
    with Ledger.look(ledger_path) as ledger:
        running = ledger.open_epochs()
        verdicts = ledger.verdicts(running[-1]) if running else []
        return {
            "version": _version(ledger),
            "verdicts": {
                verdict.hotkey: {
                    "standing": verdict.standing,
                    "words": printable(
                        f"loss {verdict.loss:.4f}"
                        if verdict.loss is not None
                        else f"{verdict.reason or verdict.standing}".replace("_", " "),
                        _WORDS_CHARACTERS,
                    ),
                }
                for verdict in verdicts
            },
        }


def _version(ledger: Ledger) -> str:
    return "|".join(
        f"{each.start_block} {each.closed_at} {each.weights_set_at}" for each in ledger.views.epochs(2)
    )
