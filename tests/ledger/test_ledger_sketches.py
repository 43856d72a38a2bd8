"""The ledger's sketches: matched after a restart, by seniority, within bounds."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, owner_of
from flockoff.errors import LedgerError
from flockoff.ledger import Ledger
from flockoff.ledger.schema import APPLICATION_ID, MIGRATIONS, migrate
from flockoff.ledger.sketches import StoredSketch, bear_witness, forget_beyond, remember_again, too_many
from flockoff.records import Commitment, Epoch, ModelId, Row
from tests.support.ledger_records import begin, commitment, model_id, open_ledger
from tests.support.near_copies import conversations, sketch_of, swapped, with_answers

RULES = Overlap()
FIRST, SECOND = Epoch(360, 720, 1), Epoch(720, 1080, 2)
VICTIM, OTHER, SPARE = conversations()[:60], conversations()[60:120], conversations()[120:]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(path) as ledger:
        begin(ledger, [], FIRST)
        begin(ledger, [], SECOND)
        yield ledger


def look(
    ledger: Ledger, hotkey: str, block: int, rows: Sequence[Row], *, name: str = "", epoch: Epoch = FIRST
) -> Borrowed:
    content = f"content of {hotkey}{name}"
    made = Claim(content, hotkey, block, 0)
    owner = owner_of([made, ledger.owner(content) or made])
    sketch = sketch_of(rows, ledger.sketches.key)
    found = ledger.sketches.look(owner, sketch, RULES, public=None)
    ledger.remember_dataset(owner, model_id(), sketch, epoch.start_block, found)
    return found


def look_again(ledger: Ledger, hotkey: str, epoch: Epoch = FIRST) -> Borrowed | None:
    content = f"content of {hotkey}"
    found = ledger.sketches.look_again(content, epoch.start_block, RULES, public=None)
    if found is not None:
        with ledger._database.transaction() as connection:
            remember_again(connection, {content: found})
    return found


def stored_answers(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT content_hash, length(answers) / 32 FROM sketches").fetchall())


# --- whose ------------------------------------------------------------------------------------------------


def test_sketches_copy_is_found_after_a_restart(path: Path) -> None:
    with open_ledger(path) as ledger:
        begin(ledger, [], FIRST)
        assert look(ledger, "victim", 10, VICTIM).answers == ()
    with open_ledger(path) as ledger:
        found = look(ledger, "thief", 20, with_answers(VICTIM[::-1], swapped(0.05)))
        assert found.share > 0.9
        assert [claim.hotkey for claim, _ in found.owners()] == ["victim"]
        assert ledger.sketches.borrowed_share("content of thief") == pytest.approx(found.share)


def test_sketches_same_content_again_changes_nothing(ledger: Ledger, path: Path) -> None:
    look(ledger, "victim", 10, VICTIM)
    once = look(ledger, "thief", 20, VICTIM[::-1])
    stored = stored_answers(path)
    assert look(ledger, "thief", 20, VICTIM[::-1], epoch=SECOND) == once
    assert look(ledger, "victim", 10, VICTIM, epoch=SECOND).answers == ()
    assert stored_answers(path) == stored


def test_sketches_copier_looked_at_first_is_found_when_its_victim_is_known(ledger: Ledger) -> None:
    assert look(ledger, "thief", 20, VICTIM[::-1]).answers == ()
    assert look_again(ledger, "thief") is None
    assert look(ledger, "victim", 10, VICTIM).answers == ()
    found = look_again(ledger, "thief")
    assert found is not None and found.share == pytest.approx(1)
    assert look_again(ledger, "victim") is None
    assert ledger.sketches.borrowed_share("content of thief") == pytest.approx(found.share)


def test_sketches_looking_again_asks_only_what_this_epoch_brought(ledger: Ledger) -> None:
    look(ledger, "thief", 20, VICTIM[::-1])
    look(ledger, "victim", 10, VICTIM)
    assert look_again(ledger, "thief", SECOND) is None
    assert look(ledger, "thief", 20, VICTIM[::-1], epoch=SECOND).share == pytest.approx(1)


def test_sketches_content_claimed_by_an_earlier_hotkey_goes_over_to_it(ledger: Ledger) -> None:
    look(ledger, "copier", 20, VICTIM)
    earlier = Claim("content of copier", "victim", 5, 1)
    sketch = sketch_of(VICTIM, ledger.sketches.key)
    ledger.remember_dataset(earlier, model_id(), sketch, FIRST.start_block, Borrowed(sketch.assistant_tokens))
    found = look(ledger, "third", 10, VICTIM[::-1])
    assert [claim.hotkey for claim, _ in found.owners()] == ["victim"]


def test_sketches_looking_changes_nothing(ledger: Ledger, path: Path) -> None:
    look(ledger, "thief", 20, VICTIM[::-1])
    look(ledger, "victim", 10, VICTIM)
    stored = stored_answers(path)
    again = ledger.sketches.look_again("content of thief", FIRST.start_block, RULES, public=None)
    assert again is not None and again.share == pytest.approx(1)
    unclaimed = Claim("new", "third", 30, 0)
    mine = sketch_of(VICTIM, ledger.sketches.key)
    assert ledger.sketches.look(unclaimed, mine, RULES, public=None).share == pytest.approx(1)
    assert stored_answers(path) == stored
    assert ledger.sketches.borrowed_share("content of thief") == 0


def test_sketches_content_never_looked_at_is_unknown(ledger: Ledger) -> None:
    assert ledger.sketches.borrowed_share("what") is None
    assert look_again(ledger, "nobody") is None


@pytest.mark.slow
def test_sketches_crowd_of_later_copies_does_not_hide_whose_the_rows_are(ledger: Ledger) -> None:
    """More contents than are asked for a probe, each with all of the victim's rows, and seen later."""
    look(ledger, "victim", 10, VICTIM[:5])
    sketch = sketch_of(VICTIM[:5], ledger.sketches.key)
    for number in range(70):
        claim = Claim(f"copy {number}", f"sybil {number}", 11 + number, 0)
        nothing = Borrowed(sketch.assistant_tokens)
        ledger.remember_dataset(claim, model_id(), sketch, FIRST.start_block, nothing)
    found = look(ledger, "asker", 1000, VICTIM[4::-1])
    assert found.share == pytest.approx(1, abs=0.1)
    assert [claim.hotkey for claim, _ in found.owners()] == ["victim"]


def test_sketches_of_before_there_were_probes_are_found_once_the_ledger_is_opened_again(path: Path) -> None:
    with open_ledger(path) as ledger:
        begin(ledger, [], FIRST)
        look(ledger, "victim", 10, VICTIM)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript("DELETE FROM probes; DELETE FROM contents; UPDATE sketches SET pairs = x''")
    with open_ledger(path) as ledger:
        assert look(ledger, "thief", 20, VICTIM[::-1]).share > 0.9


# --- what was looked at ----------------------------------------------------------------------------------


def test_unseen_are_all_commitments_ever_shown_that_are_not_known_earliest_first(ledger: Ledger) -> None:
    first = commitment("ann", 9, commit="a")
    second = commitment("bob", 5, commit="b")
    third = commitment("cy", 7, commit="c")
    ledger.record_commitments([first, second, third])
    assert [each.hotkey for each in ledger.unseen(360, 3)] == ["bob", "cy", "ann"]
    sketch = sketch_of(VICTIM, ledger.sketches.key)
    claim = Claim("content", "bob", 5, 0)
    ledger.remember_dataset(claim, second.model_id, sketch, 360, Borrowed(sketch.assistant_tokens))
    ledger.record_sight(third.model_id, 360, final=True)
    ledger.record_sight(first.model_id, 360, final=False)
    assert ledger.unseen(360, 3) == []
    assert [each.hotkey for each in ledger.unseen(720, 3)] == ["ann"]
    for epoch in (720, 1080):
        ledger.record_sight(first.model_id, epoch, final=False)
    assert ledger.unseen(1440, 3) == []


def test_unseen_who_commits_hundreds_holds_up_others_by_one(ledger: Ledger) -> None:
    def each(hotkey: str, block: int) -> Commitment:
        return Commitment(hotkey, 0, ModelId("some/data", "f127", f"{block:040x}"), block)

    late = each("late", 300)
    ledger.record_commitments([*(each("flood", block) for block in range(1, 200)), late, each("later", 301)])
    assert [one.hotkey for one in ledger.unseen(360, 9)[:4]] == ["flood", "late", "later", "flood"]
    for failed in (each("flood", 1), late):
        ledger.record_sight(failed.model_id, 360, final=False)
    waiting = ledger.unseen(720, 9)
    assert [one.block for one in waiting[:4]] == [2, 301, 300, 3]
    assert waiting[-1].block == 1  # what failed comes after what is new of the same hotkey


# --- common property --------------------------------------------------------------------------------------


def crowd(ledger: Ledger, coldkeys: Sequence[str], rows: Sequence[Row]) -> None:
    """Datasets with these rows among others of their own; each bears witness."""
    for number, coldkey in enumerate(coldkeys):
        own = SPARE[30 * number : 30 * number + 30]
        look(ledger, f"h{number}", 10, [*rows, *own])
        with ledger._database.transaction() as connection:
            bear_witness(connection, {f"content of h{number}": coldkey})


@pytest.mark.slow
def test_sketches_rows_in_many_good_datasets_become_common_property(ledger: Ledger) -> None:
    source = VICTIM[:5]
    crowd(ledger, "abcd", source)
    assert look(ledger, "asker", 100, [*source, *OTHER]).lines == (1, 2, 3, 4, 5)
    crowd(ledger, "abcde", source)
    assert look(ledger, "asker", 100, [*source, *OTHER]).answers == ()


@pytest.mark.slow
def test_sketches_witness_with_too_much_of_others_does_not_count(ledger: Ledger) -> None:
    look(ledger, "victim", 1, VICTIM)
    crowd(ledger, "abcdef", VICTIM[:30])  # about half of each
    assert look(ledger, "thief", 100, VICTIM[:30]).share == pytest.approx(1)


# --- the file ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sketches_of_followed_contents_keep_only_what_was_new(ledger: Ledger, path: Path) -> None:
    rows = [*VICTIM, *OTHER]
    for version in range(6):
        look(ledger, "ann", 10 * version, rows[: 50 + 10 * version], name=f" {version}")
    stored = list(stored_answers(path).values())
    each = [len(sketch_of(rows[: 50 + 10 * version]).table) for version in range(6)]
    assert stored == [each[0], *(each[i] - each[i - 1] for i in range(1, 5)), each[5]]
    stolen = look(ledger, "thief", 15, rows[45:85])
    assert stolen.lines == tuple(range(1, 6 + 10))  # what was committed in blocks 0 and 10
    assert look(ledger, "late", 70, rows[99::-1]).share == pytest.approx(1)


@pytest.mark.slow
def test_sketches_followed_content_that_comes_back_is_whole_again(ledger: Ledger, path: Path) -> None:
    look(ledger, "ann", 1, VICTIM, name=" 1")
    look(ledger, "ann", 2, [*VICTIM, *OTHER], name=" 2")
    look(ledger, "ann", 3, SPARE, name=" 3")
    assert stored_answers(path)["content of ann 2"] == len(sketch_of(OTHER).table)
    look(ledger, "ann", 2, [*VICTIM, *OTHER], name=" 2")
    assert stored_answers(path)["content of ann 2"] == len(sketch_of([*VICTIM, *OTHER]).table)


def test_sketches_without_knows_answers_by_all_their_hashes() -> None:
    mine, theirs = sketch_of(VICTIM), sketch_of(VICTIM[10:])
    left = mine.without([theirs])
    assert set(left.lines.tolist()) == set(sketch_of(VICTIM[:10]).lines.tolist())
    assert left.assistant_tokens == mine.assistant_tokens
    assert np.array_equal(mine.without([]).table, mine.table)
    assert len(mine.without([mine]).table) == 0


@pytest.mark.parametrize("version", [2, 3, 4])
def test_sketches_ledger_of_an_older_version_gets_an_index_and_keeps_its_claims(
    path: Path, version: int
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, MIGRATIONS[:version])
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        connection.execute("INSERT INTO claims VALUES ('content of ann', 'ann', 'a/b:f127:c', 7, 3)")
    with open_ledger(path) as ledger:
        ledger.record_commitments([commitment("ann", 7)])
        begin(ledger, [], FIRST)
        assert look(ledger, "ann", 100, VICTIM).answers == ()
        found = look(ledger, "bob", 50, VICTIM[::-1])
        assert [(claim.hotkey, claim.block) for claim, _ in found.owners()] == [("ann", 7)]


def test_sketches_key_is_a_ledgers_own_secret(path: Path, tmp_path: Path) -> None:
    with open_ledger(path) as ledger, open_ledger(tmp_path / "other.sqlite") as other:
        assert len(ledger.sketches.key) == 16
        assert ledger.sketches.key != other.sketches.key


def test_sketches_damaged_answers_are_damage_of_the_ledger(ledger: Ledger, path: Path) -> None:
    look(ledger, "victim", 10, VICTIM)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sketches SET answers = x'0011'")
    with pytest.raises(LedgerError, match="damaged"):
        look(ledger, "thief", 20, VICTIM)


# --- bounds ----------------------------------------------------------------------------------------------


def remembered(ledger: Ledger) -> set[str]:
    rows = ledger._database.read("SELECT content_hash FROM contents JOIN sketches USING (content_hash)")
    return {row["content_hash"].removeprefix("content of ") for row in rows}


@pytest.mark.slow
def test_sketches_beyond_the_bound_are_those_of_who_left_and_of_who_floods(ledger: Ledger) -> None:
    present = {"flooder": "cold a", "honest": "cold b", "heir": "cold c"}
    ledger.begin_epoch(Epoch(1080, 1440, 3), [], coldkeys=present | {"gone": "cold d", "moved": "cold c"})
    ledger.begin_epoch(Epoch(1440, 1800, 4), [], coldkeys=present)
    rows = conversations()
    for block, (hotkey, name) in enumerate(
        [("honest", ""), ("moved", ""), ("flooder", "1"), ("gone", ""), ("flooder", "2"), ("flooder", "3")]
    ):
        look(ledger, hotkey, 1500 + block, rows[20 * block : 20 * block + 20], name=name)
    every = {"honest", "moved", "flooder1", "flooder2", "flooder3", "gone"}
    assert remembered(ledger) == every

    for most_bytes, kept in ((1 << 30, every), (0, {"honest", "moved", "flooder3"})):
        with ledger._database.transaction() as connection:
            forget_beyond(connection, most_bytes)
        assert remembered(ledger) == kept

    assert ledger.owner("content of gone") is not None
    assert not look(ledger, "thief of gone", 1600, rows[60:80]).answers
    assert look(ledger, "thief", 1601, rows[:20]).answers
    orphans = ledger._database.read(
        "SELECT count(*) AS n FROM probes WHERE content NOT IN (SELECT id FROM contents)"
    )
    assert orphans[0]["n"] == 0


def test_sketches_of_who_takes_most_are_forgotten_first_and_never_the_last_of_a_hotkey() -> None:
    def forgotten(most_bytes: int, *stored: tuple[str, int, bool]) -> list[int]:
        return [
            each.content
            for each in too_many(
                [StoredSketch(place, "", *one) for place, one in enumerate(stored)], most_bytes
            )
        ]

    a, b, gone = ("a", 30, True), ("b", 20, True), ("gone", 10, False)
    assert forgotten(100, a, gone, b, a) == []
    assert forgotten(89, a, gone, b, a) == [1]
    assert forgotten(79, gone, a, b, a, gone) == [0, 4, 1]
    assert forgotten(60, b, a, b, b, b) == [0, 2, 3]  # 80 of b's against 30 of a's
    assert forgotten(0, b, a, b, a, gone) == [4, 1, 0]
