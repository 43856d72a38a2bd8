"""The score that a hotkey carries from epoch to epoch."""

from collections.abc import Collection, Mapping


def update_scores(
    scores: Mapping[str, float],
    shares: Mapping[str, float],
    at_fault: Collection[str],
    registered: Collection[str],
    decay: float,
) -> dict[str, float]:
    """All scores after an epoch, by hotkey; a hotkey that is missing has none, which counts as 0.

    Eligible (in ``shares``): s <- decay * s + (1 - decay) * share. ``at_fault``: s <- 0. Everyone else,
    not evaluated or kept from it by somebody else's fault: s stays. A hotkey that is not ``registered`` (any
    more) has no score, whatever else is said of it; so a new hotkey on an old uid starts from nothing.
    Raises ValueError for a hotkey that is both eligible and at fault.
    """
    both = shares.keys() & set(at_fault)
    if both:
        raise ValueError(f"eligible and at fault at once: {sorted(both)}")
    updated = dict(scores)
    updated.update(dict.fromkeys(at_fault, 0.0))
    updated.update(
        (hotkey, decay * scores.get(hotkey, 0.0) + (1 - decay) * shares[hotkey]) for hotkey in shares
    )
    present = set(registered)
    return {hotkey: score for hotkey, score in updated.items() if hotkey in present}
