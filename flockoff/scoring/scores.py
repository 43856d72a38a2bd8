"""The score that a hotkey carries from epoch to epoch."""

from collections.abc import Collection, Mapping

NOBODY: Mapping[str, int] = {}


def update_scores(
    scores: Mapping[str, float],
    shares: Mapping[str, float],
    at_fault: Collection[str],
    registered: Collection[str],
    decay: float,
    *,
    missed: Mapping[str, int] = NOBODY,
    thaw_after: int = 3,
) -> dict[str, float]:
    """All scores after an epoch, by hotkey; a missing hotkey counts as 0. Eligible (in ``shares``): s <-
    decay * s + (1 - decay) * share. ``at_fault``: s <- 0. Not evaluated: s stays, unless the hotkey
    ``missed`` (``count_missed``) at least ``thaw_after`` turns in a row: s <- decay * s. No score decays in
    an epoch in which nobody competed. A hotkey that is not ``registered`` has no score, so a new hotkey on an
    old uid starts from 0.

    Raises ValueError for a hotkey that is both eligible and at fault.
    """
    both = shares.keys() & set(at_fault)
    if both:
        raise ValueError(f"both eligible and at fault: {sorted(both)}")
    updated = dict(scores)
    if shares:
        thawing = (hotkey for hotkey in scores if missed.get(hotkey, 0) >= thaw_after)
        updated.update((hotkey, decay * scores[hotkey]) for hotkey in thawing)
    updated.update(dict.fromkeys(at_fault, 0.0))
    updated.update(
        (hotkey, decay * scores.get(hotkey, 0.0) + (1 - decay) * shares[hotkey]) for hotkey in shares
    )
    present = set(registered)
    return {hotkey: score for hotkey, score in updated.items() if hotkey in present}


def count_missed(
    before: Mapping[str, int], tried: Collection[str], evaluated: Collection[str]
) -> dict[str, int]:
    """Consecutive missed turns after an epoch, by hotkey; 0 is left out.

    ``tried``: hotkeys whose turn came and was missed, though the worker can evaluate others. ``evaluated``:
    those with a result, a fault included. Hotkeys without a turn keep their count. Committing another dataset
    does not reset it: that could be repeated.
    """
    counts = {**before, **{hotkey: before.get(hotkey, 0) + 1 for hotkey in tried}}
    return {hotkey: missed for hotkey, missed in counts.items() if hotkey not in set(evaluated)}
