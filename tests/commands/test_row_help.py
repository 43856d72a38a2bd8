"""The arithmetic of ``flockoff score --rows``, and what it notes of rows."""

import pytest

from flockoff.commands.row_help import RowCensus, RowFacts, advice, ends, grouped, groupings
from flockoff.dataset import NearRepeat
from flockoff.records import Row, Turn
from tests.support.tiny_model import row


def facts(line: int, tokens: int = 10, script: str = "Latin", kind: str = "one turn") -> RowFacts:
    return RowFacts(line, tokens, script, kind)


def test_group_help_is_a_token_and_its_error_is_of_a_ratio() -> None:
    rows = [facts(1, 10), facts(2, 30), facts(3, 20, "Greek"), facts(4, 40, "Greek"), facts(5, 100, "Thai")]
    values = {1: 4.0, 2: 6.0, 3: -5.0, 4: -10.0, 5: 0.0}
    latin, thai, greek = grouped(rows, values, lambda each: each.script)
    assert (latin.name, latin.rows, latin.share, latin.help) == ("Latin", 2, 0.2, 0.25)
    assert latin.error == pytest.approx((2 * (1.5**2 + 1.5**2)) ** 0.5 / 40)
    assert (latin.verdict, thai.error, thai.verdict) == ("helps", None, "unclear")
    assert (greek.help, greek.verdict) == (-0.25, "harms")


def test_groupings_leave_out_rows_that_are_not_trained_on_and_cover_all_others() -> None:
    rows = [facts(line, tokens=line % 7 + 1) for line in range(1, 101)]
    values = {line: float(-line) for line in range(1, 101) if line != 50}
    found = groupings(rows, values)
    for groups in found.values():
        assert sum(group.rows for group in groups) == 99
        assert sum(group.share for group in groups) == pytest.approx(1.0)
        assert [group.help for group in groups] == sorted((group.help for group in groups), reverse=True)
    names = [group.name for group in found["lines"]]
    assert len(names) == 10 and names[0] == "1 to 9" and names[-1] == "91 to 100"
    assert {group.name for group in found["answer's tokens"]} == {"1 to 1", "2 to 2", "3 to 4", "5 to 8"}
    assert ends(rows, values) == ([], [100, 99, 98, 97, 96])


def test_groupings_of_few_rows_are_one_block() -> None:
    [block] = groupings([facts(line) for line in range(1, 10)], {line: 1.0 for line in range(1, 10)})["lines"]
    assert (block.name, block.rows) == ("1 to 9", 9)
    assert block.error == pytest.approx(0.0)


def test_advice_names_harmful_groups_and_repeats() -> None:
    rows = [facts(line, script="Latin" if line < 9 else "Thai") for line in range(1, 17)]
    values = {line: 1.0 if line < 9 else -1.0 for line in range(1, 17)}
    take_out, repeat, _ = advice(groupings(rows, values), [9], [NearRepeat(2, 1)])
    assert "lines 9 to 16" in take_out and "script Thai" in take_out
    assert "the row that nearly repeats another" in repeat
    first, _ = advice({}, [3], [])
    assert "lines 3" in first


def test_census_notes_kind_and_script() -> None:
    census = RowCensus()
    turns = (
        Turn("user", "Hi"),
        Turn("assistant", "Καλημέρα"),
        Turn("user", "And?"),
        Turn("assistant", "Καλά."),
    )
    for line, each in enumerate(
        [row("Say it", "```python\nx = 1\n```"), Row(None, turns), row("So", "こんにちは、世界")], 1
    ):
        census.add(line, each, 5)
    assert [(each.kind, each.script) for each in census.rows] == [
        ("with code", "Latin"),
        ("several turns", "Greek"),
        ("one turn", "Japanese"),
    ]
    assert census.near_repeats() == ()
