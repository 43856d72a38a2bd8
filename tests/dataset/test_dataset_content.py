import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given
from hypothesis import strategies as st

from flockoff.competition import Limits
from flockoff.dataset import ContentHasher, canonical_order, content_hash, load_rows
from flockoff.dataset.content import canonical_bytes, row_digest
from flockoff.records import Row, Turn
from tests.support.dataset_texts import CONTENT, EXAMPLES, files, row_of, rows
from tests.support.toy_encoder import SPECIAL_TOKENS

ROWS = st.lists(rows(), min_size=1, max_size=5)


def test_content_hash_pinned_row_gives_the_documented_digests() -> None:
    row = row_of("Hi", "Hello")
    assert canonical_bytes(row) == (
        b'{"conversations":[{"content":"Hi","role":"user"},{"content":"Hello","role":"assistant"}],"system":null}'
    )
    assert row_digest(row).hex() == "2e76fa976208ac2093965ff86b18a48ae68932d7787b2f8eba8a7af6796c3498"
    assert content_hash([row]) == "5c8d2105b2d11d343a0c1081c31a948bbbf11a7d78e5bfa8a8a728a610356009"


def test_content_hash_follows_from_its_definition() -> None:
    some = [row_of("a", 'é "\\\n\x01\x7f\u2028'), row_of("b", "c", "system")]
    canonical = [
        '{"conversations":[{"content":"a","role":"user"},'
        '{"content":"é \\"\\\\\\n\\u0001\x7f\u2028","role":"assistant"}],"system":null}',
        '{"conversations":[{"content":"b","role":"user"},{"content":"c","role":"assistant"}],"system":"system"}',
    ]
    digests = sorted(sha256(text.encode()).digest() for text in canonical)
    assert content_hash(some) == sha256(b"".join(digests)).hexdigest()


def test_content_hasher_adds_up_to_the_content_hash() -> None:
    hasher = ContentHasher()
    for row in (row_of("a", "b"), row_of("c", "d")):
        hasher.add(row)
    assert hasher.hexdigest() == content_hash([row_of("c", "d"), row_of("a", "b")])


def test_content_hash_repeated_row_counts() -> None:
    a, b = row_of("a", "b"), row_of("c", "d")
    assert len({content_hash(some) for some in ([a, b], [a, a, b], [a, b, b], [a, a, b, b])}) == 4


def test_content_hash_empty_system_is_not_an_absent_one() -> None:
    assert content_hash([row_of("a", "b", "")]) != content_hash([row_of("a", "b")])


def test_content_hash_text_moved_between_fields_changes_it() -> None:
    exchanges = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d"))
    spread = [
        [Row(None, exchanges)],
        [Row(None, exchanges[:2]), Row(None, exchanges[2:])],
        [row_of("b", "c", "a"), row_of("d", "d")],
        [row_of("ab", "cd")],
        [row_of("a", "bcd")],
        [row_of('a","role":"user"},{"content":"b', "cd")],
    ]
    assert len(set(map(content_hash, spread))) == len(spread)


@EXAMPLES
@given(st.data(), ROWS)
def test_content_hash_any_arrangement_of_the_file_keeps_it(data: st.DataObject, some: list[Row]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        path.write_bytes(data.draw(files(some)))
        found = load_rows(path, Limits(), SPECIAL_TOKENS)
    assert content_hash(found) == content_hash(some)
    assert canonical_order(found) == canonical_order(some)


@EXAMPLES
@given(st.data(), ROWS)
def test_content_hash_any_change_of_a_row_changes_it(data: st.DataObject, some: list[Row]) -> None:
    place = data.draw(st.integers(0, len(some) - 1))
    row = some[place]
    turn = data.draw(st.integers(-1, len(row.turns) - 1))
    text = data.draw(CONTENT)
    if turn < 0:
        changed = replace(row, system=text)
    else:
        edited = replace(row.turns[turn], content=text)
        changed = replace(row, turns=(*row.turns[:turn], edited, *row.turns[turn + 1 :]))
    assume(changed != row)
    assert content_hash([*some[:place], changed, *some[place + 1 :]]) != content_hash(some)


@EXAMPLES
@given(ROWS)
def test_content_hash_one_row_more_or_less_changes_it(some: list[Row]) -> None:
    assert content_hash(some) != content_hash(some[1:])


@EXAMPLES
@given(rows())
def test_canonical_bytes_is_json_of_the_row(row: Row) -> None:
    assert json.loads(canonical_bytes(row)) == {
        "system": row.system,
        "conversations": [{"role": turn.role, "content": turn.content} for turn in row.turns],
    }


@EXAMPLES
@given(ROWS)
def test_canonical_order_keeps_every_row(some: list[Row]) -> None:
    ordered = canonical_order(some)
    assert sorted(map(repr, ordered)) == sorted(map(repr, some))
    assert canonical_order(ordered[::-1]) == ordered
