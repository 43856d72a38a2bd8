"""What is news to a miner."""

import json
from dataclasses import replace

import pytest

from flockoff.watching import LastTurn, Seen, as_json, from_json, news

MINE = Seen(
    "mine",
    7,
    "a:f127:c",
    None,
    2,
    0.3,
    {1: 0.3},
    frozenset({"top"}),
    {"one": LastTurn(10, "eligible", None, "", 1.5)},
)


def kinds(before: Seen | None, now: Seen) -> list[str]:
    return [each.kind for each in news(before, now)]


def test_news_of_the_first_look_is_only_what_is_wrong() -> None:
    assert kinds(None, MINE) == []
    assert kinds(None, replace(MINE, problem="Malformed.")) == ["at_fault"]
    assert kinds(None, Seen("mine", None)) == ["deregistered"]
    fault = {"one": LastTurn(10, "at_fault", "duplicate", "A copy.", None)}
    [told] = news(None, replace(MINE, turns=fault))
    assert told.text == "uid 7: at fault (duplicate) in epoch 10, by one. A copy."


def test_news_is_told_once() -> None:
    for now in (MINE, replace(MINE, problem="Malformed."), Seen("mine", None)):
        assert kinds(now, now) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"turns": {"one": LastTurn(11, "eligible", None, "", 1.4)}}, ["evaluated"]),
        ({"turns": {"one": LastTurn(11, "not_evaluated", None, "", None)}}, []),
        ({"turns": {"one": LastTurn(11, "at_fault", "duplicate", "", None)}}, ["at_fault"]),
        ({"weighted_by": {1: 0.3, 2: 0.2}}, ["evaluated"]),
        ({"weighted_by": {}, "incentive": 0.0}, ["weight_gone"]),
        ({"incentive": 0.0}, ["weight_gone"]),
        ({"rank": 3, "ahead": frozenset({"top", "new"})}, ["beaten"]),
        ({"rank": 1, "ahead": frozenset({"new"})}, []),
        ({"commitment": "b:f127:c", "problem": "Malformed."}, ["at_fault"]),
        ({"uid": None}, ["deregistered"]),
    ],
)
def test_news_is_what_has_changed(change: dict[str, object], expected: list[str]) -> None:
    assert kinds(MINE, replace(MINE, **change)) == expected  # type: ignore[arg-type]


def test_news_of_a_hotkey_that_is_registered_again() -> None:
    assert kinds(Seen("mine", None), MINE)[0] == "registered"


def test_seen_survives_its_file() -> None:
    assert from_json(json.loads(json.dumps(as_json(MINE)))) == MINE
