"""Raw storage against a model: one dictionary for each block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.localnet.node.storage import Storage

HISTORY = 5
KEYS = [b"a", b"ab", b"abc", b"b", b"ba", b"\xff"]

Change = tuple[bytes, bytes | None]

change = st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3))
chain = st.lists(st.lists(change, max_size=6), max_size=15)


@given(chain)
def test_storage_every_block_in_the_history_reads_as_it_was(blocks: list[list[Change]]) -> None:
    storage = Storage(HISTORY)
    states: list[dict[bytes, bytes]] = []
    state: dict[bytes, bytes] = {}
    for number, changes in enumerate(blocks):
        for key, value in changes:
            storage.set(key, value)
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        storage.seal(number)
        states.append(dict(state))

    assert {key: storage.get(key) for key in KEYS} == {key: state.get(key) for key in KEYS}
    for number in range(max(0, len(states) - HISTORY), len(states)):
        view, expected = storage.at(number), states[number]
        assert {key: view.get(key) for key in KEYS} == {key: expected.get(key) for key in KEYS}
        for prefix in (b"", b"a", b"ab", b"x"):
            keys = sorted(key for key in expected if key.startswith(prefix))
            assert view.keys(prefix) == keys
            assert view.keys_paged(prefix, after=b"ab", count=2) == [key for key in keys if key > b"ab"][:2]


def sealed(storage: Storage, blocks: list[list[Change]], *, first: int = 0) -> None:
    for number, changes in enumerate(blocks, first):
        for key, value in changes:
            storage.set(key, value)
        storage.seal(number)


@given(chain, st.integers(0, HISTORY - 1), chain, st.lists(change, max_size=3))
def test_storage_rewound_is_as_if_the_blocks_after_had_never_been(
    blocks: list[list[Change]], undone: int, others: list[list[Change]], unsealed: list[Change]
) -> None:
    blocks = [[], *blocks]
    kept = blocks[: max(1, len(blocks) - undone)]
    rewound, straight = Storage(HISTORY), Storage(HISTORY)
    sealed(rewound, blocks)
    for key, value in unsealed:
        rewound.set(key, value)

    rewound.rewind(len(kept) - 1)

    sealed(straight, kept)
    for storage in (rewound, straight):
        sealed(storage, others, first=len(kept))
    head = len(kept) + len(others) - 1
    assert rewound.keys(b"") == straight.keys(b"")
    assert [rewound.get(key) for key in KEYS] == [straight.get(key) for key in KEYS]
    assert [rewound.at(head).get(key) for key in KEYS] == [straight.at(head).get(key) for key in KEYS]
    assert rewound.at(head).keys(b"") == straight.at(head).keys(b"")


@given(st.lists(change, max_size=8), st.lists(change, max_size=8))
def test_storage_failed_transaction_leaves_nothing(before: list[Change], inside: list[Change]) -> None:
    storage = Storage(HISTORY)
    for key, value in before:
        storage.set(key, value)
    state = {key: storage.get(key) for key in KEYS}

    with pytest.raises(KeyError), storage.transaction():
        for key, value in inside:
            storage.set(key, value)
        with storage.transaction():
            storage.set(b"a", b"inner")
        raise KeyError

    assert {key: storage.get(key) for key in KEYS} == state


def test_storage_removed_keys_are_forgotten_after_the_history() -> None:
    storage = Storage(HISTORY)
    for number in range(50):
        storage.set(f"block {number}".encode(), b"x")
        if number:
            storage.set(f"block {number - 1}".encode(), None)
        storage.seal(number)

    assert storage.keys(b"") == [b"block 49"]
    assert len(storage._versions) <= HISTORY + 2


def test_storage_digest_depends_on_what_changed() -> None:
    digests = set()
    for value in (b"1", b"2", None):
        storage = Storage(HISTORY)
        storage.set(b"key", value)
        digests.add(storage.seal(0))

    assert len(digests) == 3
