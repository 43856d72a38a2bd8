from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import Competition, EvaluationSet
from flockoff.errors import SetupError
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.training.data import (
    epoch_order,
    evaluation_name,
    evaluation_rows,
)
from tests.support.tiny_model import row, rules, write_dataset, write_tokenizer

ROWS = [row(f"Say {n}.", "yes " * n) for n in range(1, 6)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TokenizerEncoder:
    directory = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(directory)
    return load_encoder(directory, 64)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
    rows_per_step=st.integers(1, 9),
)
def test_epoch_order_takes_every_row_once_and_sorts_each_step(
    lengths: list[int], seed: int, rows_per_step: int
) -> None:
    order = epoch_order(lengths, seed, 0, rows_per_step)
    assert sorted(order) == list(range(len(lengths)))
    by_one = epoch_order(lengths, seed, 0, 1)
    for first in range(0, len(order), rows_per_step):
        step = order[first : first + rows_per_step]
        assert set(step) == set(by_one[first : first + rows_per_step])
        assert [lengths[place] for place in step] == sorted((lengths[place] for place in step), reverse=True)


def test_epoch_order_is_the_documented_hash() -> None:
    from hashlib import blake2b

    def key(place: int) -> bytes:
        text = (7).to_bytes(8, "little") + (1).to_bytes(8, "little") + place.to_bytes(8, "little")
        return blake2b(text, digest_size=32).digest()

    assert epoch_order([1] * 20, 7, 1, 1) == sorted(range(20), key=key)


def test_epoch_order_changes_with_seed_and_epoch() -> None:
    orders = {tuple(epoch_order([1] * 20, seed, epoch, 8)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_evaluation_rows_takes_the_first_rows(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    path = tmp_path / "data.jsonl"
    write_dataset(path, ROWS)
    digest = sha256(path.read_bytes()).hexdigest()
    competition = Competition(evaluation=EvaluationSet(sha256=digest, rows=2))
    assert evaluation_rows(path, competition, encoder) == encoder.encode(ROWS[:2])
    assert evaluation_name(competition) == f"{digest}[:2]"
    assert evaluation_name(rules(path)) == digest


def test_evaluation_rows_of_another_set_are_a_setup_error(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    path = tmp_path / "data.jsonl"
    write_dataset(path, ROWS)
    with pytest.raises(SetupError, match="is not the competition's evaluation set"):
        evaluation_rows(path, Competition(), encoder)
    with pytest.raises(SetupError, match="Cannot read the competition's evaluation set"):
        evaluation_rows(tmp_path / "none.jsonl", Competition(), encoder)


def test_evaluation_rows_that_are_malformed_are_a_setup_error(
    tmp_path: Path, encoder: TokenizerEncoder
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(SetupError, match="not a valid dataset"):
        evaluation_rows(path, rules(path), encoder)
