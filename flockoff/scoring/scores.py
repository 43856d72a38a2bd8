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
    """All scores after an epoch, by hotkey; a hotkey that is missing has none, which counts as 0.

    Eligible (in ``shares``): s <- decay * s + (1 - decay) * share. ``at_fault``: s <- 0. Everyone else,
    not evaluated or kept from it by somebody else's fault: s stays, but of a hotkey that ``missed``
    (``count_missed``) at least ``thaw_after`` turns in a row: s <- decay * s. In an epoch in which nobody
    competed no score thaws. A hotkey that is not ``registered`` (any more) has no score, whatever else is
    said of it; so a new hotkey on an old uid starts from nothing.
    Raises ValueError for a hotkey that is both eligible and at fault.
    """
    both = shares.keys() & set(at_fault)
    if both:
        raise ValueError(f"eligible and at fault at once: {sorted(both)}")
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
    """How many turns in a row each hotkey has missed after an epoch, by hotkey; 0 is left out.

    ``tried``: whose turn came, whether its evaluation was begun and not finished, or not even begun because
    its dataset is too large for this validator. ``evaluated``: those with a result, be it a fault. A turn is
    missed only in an epoch in which others were evaluated: what keeps everyone from it is nobody's doing. Who
    had no turn keeps its number. Committing another dataset does not set it back: that could be repeated.
    """
    counts = dict(before)
    if evaluated:
        counts.update((hotkey, before.get(hotkey, 0) + 1) for hotkey in tried)
    return {hotkey: missed for hotkey, missed in counts.items() if hotkey not in set(evaluated)}
