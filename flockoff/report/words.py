"""The page's wording of verdicts and numbers, and sparklines."""

from collections import Counter
from collections.abc import Sequence

from flockoff.report.facts import BoardEntry, Facts
from flockoff.text import short_names

_MINUS, _NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
_STANDINGS = {
    "eligible": "eligible",
    "at_fault": "at fault",
    "not_evaluated": "not evaluated",
    "no_turn": "no turn yet",
}
_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_POINTS = 72, 18, 36


def verdict_words(entry: BoardEntry, facts: Facts) -> tuple[str, str]:
    """The verdict in one or two words, and its reason, which is never empty."""
    if entry.burn:
        return "burn", "Nobody has a score: all weight is the subnet owner's, whom the chain does not pay."
    label = (entry.reason or _STANDINGS[entry.standing]).replace("_", " ")
    if entry.standing == "no_turn":
        return label, _waiting_words(entry, facts)
    if entry.standing == "eligible" and entry.in_epoch and entry.win_rate is not None:
        rivals = len(facts.contest.verdicts) - 1
        won = f"Beats {round(entry.win_rate * rivals)} of {rivals}" if rivals else "Nobody to compare with"
        return label, f"{won}{_behind_words(entry, facts)}. {_named(entry.detail, facts)}".rstrip()
    if not entry.in_epoch and entry.turns:
        return (
            label,
            f"In epoch {entry.turns[0].epoch:,}, its last turn. {_named(entry.detail, facts)}".rstrip(),
        )
    return label, _named(entry.detail, facts)


def _behind_words(entry: BoardEntry, facts: Facts) -> str:
    """How far behind the best, where pay depends on that."""
    distance = facts.contest.behind_by_hotkey.get(entry.hotkey)
    return f", {distance:.2f} clear wins behind the best" if distance else ""


def _named(detail: str, facts: Facts) -> str:
    """A reason with others' uids in place of their addresses, which fill a line each."""
    return short_names(detail, {entry.hotkey: entry.uid for entry in facts.board if entry.uid is not None})


def _waiting_words(entry: BoardEntry, facts: Facts) -> str:
    for waiting in facts.queue:
        if waiting.hotkey == entry.hotkey:
            epochs = "the next epoch" if waiting.at_the_latest == 1 else f"{waiting.at_the_latest} epochs"
            return f"Waits for its first evaluation: within {epochs}."
    return "Not evaluated by this validator yet."


def reason_counts(facts: Facts) -> list[tuple[str, str, int]]:
    """(standing, label, how many), for everybody who is not eligible; the most frequent first."""
    counts = Counter(
        (entry.standing, verdict_words(entry, facts)[0])
        for entry in facts.board
        if entry.standing != "eligible"
    )
    return [(standing, label, number) for (standing, label), number in counts.most_common()]


def percent(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """A fraction as a percentage; an en dash for None."""
    if value is None:
        return _NONE
    text = f"{value:{'+' if sign else ''}.{digits}%}".replace("-", _MINUS)
    return text.replace("%", f"{_THIN_SPACE}%")


def spark(values: Sequence[float | None]) -> str:
    """A sparkline: the values as points of an SVG polyline, 72 by 18; "" for fewer than two."""
    known = [value for value in values if value is not None][-_SPARK_POINTS:]
    if len(known) < 2:
        return ""
    top = max(known) or 1.0
    step = _SPARK_WIDTH / (len(known) - 1)
    return " ".join(
        f"{place * step:.1f},{1 + (_SPARK_HEIGHT - 2) * (1 - value / top):.1f}"
        for place, value in enumerate(known)
    )
