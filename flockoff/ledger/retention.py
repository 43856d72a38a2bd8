"""Deletes old detail, so that the ledger's file stops growing."""

from sqlite3 import Connection

# What is deleted of epochs that began before block :horizon. Content claims, epochs, turns and scores stay:
# 250 bytes per new content or hotkey. Sketches have a bound of their own: sketches.forget_beyond.
_FORGET = (
    "DELETE FROM places WHERE epoch < :horizon",
    "DELETE FROM results WHERE epoch < :horizon",
    # A hotkey's last verdict counts, however old.
    "DELETE FROM verdicts AS old WHERE epoch < :horizon"
    " AND EXISTS (SELECT 1 FROM verdicts WHERE hotkey = old.hotkey AND epoch > old.epoch)",
    "DELETE FROM evaluations WHERE epoch < :horizon",
    # A measurement outlives its evaluation if a verdict that is kept refers to it.
    "DELETE FROM measurements WHERE id NOT IN (SELECT measurement FROM evaluations)"
    " AND id NOT IN (SELECT measurement FROM base_losses)"
    " AND id NOT IN (SELECT measurement FROM verdicts WHERE measurement IS NOT NULL)",
    # The last weights may have to be repeated.
    "DELETE FROM weights WHERE weights_set IN (SELECT id FROM weights_sets"
    " WHERE epoch < :horizon AND id < (SELECT max(id) FROM weights_sets))",
    "DELETE FROM weights_sets WHERE epoch < :horizon AND id < (SELECT max(id) FROM weights_sets)",
    # A miner can commit anew in every epoch for ever. Its first block counts, and its commitment at the
    # horizon; anything evaluated in between has a claim.
    "DELETE FROM commitments AS old WHERE block < :horizon"
    " AND EXISTS (SELECT 1 FROM commitments WHERE hotkey = old.hotkey AND block < old.block)"
    " AND EXISTS (SELECT 1 FROM commitments WHERE hotkey = old.hotkey AND block > old.block"
    " AND block < :horizon)",
)


def prune(connection: Connection, keep_epochs: int) -> None:
    """Delete the detail of all epochs before the last ``keep_epochs`` closed ones.

    The freed pages are reused, so the file stops growing and needs no vacuum.
    """
    row = connection.execute(
        "SELECT start_block FROM epochs WHERE closed_at IS NOT NULL"
        " ORDER BY start_block DESC LIMIT 1 OFFSET ?",
        (keep_epochs - 1,),
    ).fetchone()
    if row is None:
        return
    for statement in _FORGET:
        connection.execute(statement, {"horizon": row["start_block"]})
