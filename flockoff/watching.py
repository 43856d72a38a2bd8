"""What happened to a miner since the last look: pure, so that each thing is reported once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from flockoff.records import SubnetSnapshot
from flockoff.standings import Standing, Standings
from flockoff.text import short_names

Kind = Literal["evaluated", "beaten", "at_fault", "deregistered", "registered", "weight_gone"]


@dataclass(frozen=True, slots=True)
class LastTurn:
    """A miner's last turn at one validator. ``detail`` is printable."""

    epoch: int
    standing: str
    reason: str | None
    detail: str
    loss: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A hotkey's state at one moment. ``ahead``: hotkeys with more incentive."""

    hotkey: str
    uid: int | None  # None: not registered
    commitment: str | None = None
    problem: str | None = None  # why the commitment does not count
    rank: int | None = None
    incentive: float = 0.0
    weighted_by: Mapping[int, float] = field(default_factory=dict)  # by validator's uid
    ahead: frozenset[str] = frozenset()
    turns: Mapping[str, LastTurn] = field(default_factory=dict)  # by validator


@dataclass(frozen=True, slots=True)
class News:
    kind: Kind
    hotkey: str
    text: str  # a sentence that names the miner's uid, if any
    well: bool = False


def look(hotkey: str, snapshot: SubnetSnapshot, found: Standings, turns: Mapping[str, LastTurn]) -> Seen:
    """The state of ``hotkey`` now. ``turns``: by validator, as far as reported."""
    neuron = snapshot.neuron(hotkey)
    if neuron is None:
        return Seen(hotkey, None, turns=turns)
    mine = next((each for each in found.miners if each.hotkey == hotkey), None)
    if mine is None:
        return Seen(hotkey, neuron.uid, turns=turns)
    return Seen(
        hotkey=hotkey,
        uid=neuron.uid,
        commitment=mine.commitment,
        problem=mine.problem,
        rank=mine.rank,
        incentive=mine.incentive,
        weighted_by=mine.weights,
        ahead=frozenset(each.hotkey for each in found.miners if _is_ahead(each, mine)),
        turns=turns,
    )


def _is_ahead(other: Standing, mine: Standing) -> bool:
    return not other.burn and other.incentive > mine.incentive


def news(before: Seen | None, now: Seen) -> list[News]:
    """The news to report. ``before`` is None at the first look: then only problems are news."""
    if now.uid is None:
        gone = before is None or before.uid is not None
        return [News("deregistered", now.hotkey, _gone(before, now))] if gone else []
    first = before is None or before.uid is None
    found = [*_turns(before, now), *_problem(before, now)]
    if before is not None and first:
        text = f"uid {now.uid}: the hotkey {now.hotkey} is registered again."
        found.insert(0, News("registered", now.hotkey, text, well=True))
    if before is not None and not first:
        found += [*_weights(before, now), *_beaten(before, now)]
    return found


def _gone(before: Seen | None, now: Seen) -> str:
    where = "" if before is None else f" It was uid {before.uid}."
    return f"The hotkey {now.hotkey} is not registered on the subnet: it earns nothing.{where}"


def _problem(before: Seen | None, now: Seen) -> list[News]:
    if now.problem is None:
        return []
    if before is not None and (before.commitment, before.problem) == (now.commitment, now.problem):
        return []
    return [News("at_fault", now.hotkey, f"uid {now.uid}: the commitment does not count. {now.problem}")]


def _turns(before: Seen | None, now: Seen) -> list[News]:
    found = []
    for whose, turn in now.turns.items():
        last = before.turns.get(whose) if before is not None else None
        if last is not None and last.epoch >= turn.epoch:
            continue
        why = turn.reason.replace("_", " ") if turn.reason else turn.standing.replace("_", " ")
        if turn.standing == "at_fault":
            text = f"uid {now.uid}: at fault ({why}) in epoch {turn.epoch}, by {whose}."
            found.append(News("at_fault", now.hotkey, f"{text} {short_names(turn.detail)}".rstrip()))
        elif turn.standing == "eligible" and before is not None:
            loss = "" if turn.loss is None else f", loss {turn.loss:.4f}"
            text = f"uid {now.uid}: evaluated in epoch {turn.epoch} by {whose}{loss}."
            found.append(News("evaluated", now.hotkey, text, well=True))
    return found


def _weights(before: Seen, now: Seen) -> list[News]:
    found = []
    fresh = {uid: weight for uid, weight in now.weighted_by.items() if uid not in before.weighted_by}
    if fresh:
        given = ", ".join(f"validator {uid} gives {weight:.4f}" for uid, weight in sorted(fresh.items()))
        found.append(News("evaluated", now.hotkey, f"uid {now.uid} has new weight: {given}.", well=True))
    if before.weighted_by and not now.weighted_by:
        found.append(
            News("weight_gone", now.hotkey, f"uid {now.uid}: no validator gives it weight any more.")
        )
    elif before.incentive > 0 and now.incentive == 0:
        found.append(News("weight_gone", now.hotkey, f"uid {now.uid}: its incentive is 0 now."))
    return found


def _beaten(before: Seen, now: Seen) -> list[News]:
    """The hotkeys that passed it, except those that only returned to their places."""
    passed = now.ahead - before.ahead
    if not passed or not before.incentive or before.rank is None or now.rank is None:
        return []
    if now.rank <= before.rank:
        return []
    text = f"uid {now.uid}: beaten, from place {before.rank} to {now.rank}. {len(passed)} passed it."
    return [News("beaten", now.hotkey, text)]


def as_json(seen: Seen) -> dict[str, Any]:
    return asdict(seen) | {"ahead": sorted(seen.ahead)}


def from_json(table: Mapping[str, Any]) -> Seen:
    """The inverse of ``as_json``. Raises KeyError, TypeError or ValueError for anything else."""
    return Seen(
        hotkey=str(table["hotkey"]),
        uid=None if table["uid"] is None else int(table["uid"]),
        commitment=table["commitment"],
        problem=table["problem"],
        rank=table["rank"],
        incentive=float(table["incentive"]),
        weighted_by={int(uid): float(weight) for uid, weight in table["weighted_by"].items()},
        ahead=frozenset(map(str, table["ahead"])),
        turns={whose: LastTurn(**turn) for whose, turn in table["turns"].items()},
    )
