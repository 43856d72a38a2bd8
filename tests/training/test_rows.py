from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Limits
from flockoff.errors import EvaluationFault, MinerFault, Reason, SetupError
from flockoff.records import EncodedRow
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.training.rows import read_rows, training_rows, write_rows
from tests.support.tiny_model import row, write_dataset, write_tokenizer

ROWS = [row(f"Say {n}.", "yes " * n) for n in range(1, 6)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TokenizerEncoder:
    directory = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(directory)
    return load_encoder(directory, 64)


def test_training_rows_do_not_depend_on_the_files_order(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    hashes = {write_dataset(one, ROWS), write_dataset(other, ROWS[::-1])}
    (content,) = hashes
    assert training_rows(one, content, Limits(), encoder) == training_rows(other, content, Limits(), encoder)


def test_training_rows_of_changed_file_are_nobodys_fault(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    path = tmp_path / "data.jsonl"
    checked = write_dataset(path, ROWS)
    write_dataset(path, ROWS[1:])
    with pytest.raises(EvaluationFault, match="changed after it was checked: its content hash is"):
        training_rows(path, checked, Limits(), encoder)
    path.write_bytes(b"\0" * 100)  # what a failing disk or a power cut leaves
    with pytest.raises(EvaluationFault, match=r"changed after .* and is now invalid: .*line 1"):
        training_rows(path, checked, Limits(), encoder)


def test_training_rows_of_vanished_file_are_nobodys_fault(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    with pytest.raises(SetupError, match="Cannot read the dataset"):
        training_rows(tmp_path / "data.jsonl", "0" * 64, Limits(), encoder)


def test_training_rows_without_anything_to_learn_are_the_miners_fault(
    tmp_path: Path, encoder: TokenizerEncoder
) -> None:
    path = tmp_path / "data.jsonl"
    content = write_dataset(path, [*ROWS, row("a" * 100, "b")])
    with pytest.raises(MinerFault) as caught:
        training_rows(path, content, Limits(), encoder)
    assert caught.value.reason is Reason.NOTHING_TO_LEARN


def test_training_rows_left_out_are_gone_with_their_copies(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    path = tmp_path / "data.jsonl"
    content = write_dataset(path, [*ROWS, ROWS[1]])
    kept = tmp_path / "kept.jsonl"
    expected = training_rows(kept, write_dataset(kept, [ROWS[0], *ROWS[2:]]), Limits(), encoder)
    assert training_rows(path, content, Limits(), encoder, (2,)) == expected
    assert training_rows(path, content, Limits(), encoder, (6,)) == expected


def test_training_rows_all_left_out_are_the_miners_fault(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    path = tmp_path / "data.jsonl"
    content = write_dataset(path, ROWS)
    with pytest.raises(MinerFault) as caught:
        training_rows(path, content, Limits(), encoder, range(1, 6))
    assert caught.value.reason is Reason.NOTHING_TO_LEARN


TOKENS = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=20)


@given(rows=st.lists(TOKENS, min_size=1, max_size=10))
def test_rows_file_gives_back_what_was_written(
    rows: list[list[tuple[int, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoded = [
        EncodedRow(tuple(token for token, _ in each), tuple(counts for _, counts in each)) for each in rows
    ]
    file = tmp_path_factory.mktemp("rows") / "rows.npz"
    write_rows(encoded, file)
    assert read_rows(file) == encoded
