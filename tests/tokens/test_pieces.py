import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from flockoff.records import Row, Turn
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.tokens.pieces import LONGEST_PIECE, SHORTEST_PIECE, pieces_of
from tests.support.examples import examples
from tests.support.small_qwen import NOT_SPECIAL

MARK = "<|im_end|>"
CONTEXT = 4096


@pytest.fixture(scope="module")
def encoder(qwen_directory: Path) -> TokenizerEncoder:
    return load_encoder(qwen_directory, CONTEXT)


@pytest.fixture(scope="module")
def tokenizer(qwen_directory: Path) -> Tokenizer:
    return Tokenizer.from_file(str(qwen_directory / "tokenizer.json"))


def drawn(draw: random.Random, unit: str) -> Iterator[str]:
    """Some text of words, numbers, lines and marks of every kind; no run of it is too long for a piece."""
    alphabet = [
        unit,
        *NOT_SPECIAL[:3],
        " ",
        "  ",
        "\n",
        "Hi",
        "do",
        "é",
        "e\u0301",
        "漢字",
        "。",
        "1",
        "12,",
        "'s",
        "|-",
        ".",
    ]
    while True:
        yield "".join(draw.choices(alphabet, k=draw.randint(1, 2000))) + " "


def test_pieces_of_short_text_is_one_piece() -> None:
    assert list(pieces_of("", [MARK])) == [""]
    assert list(pieces_of("a " * SHORTEST_PIECE, [MARK])) == ["a " * SHORTEST_PIECE]


def test_pieces_of_long_text_ends_pieces_with_words() -> None:
    text = "word " * 10_000
    pieces = list(pieces_of(text, [MARK]))
    assert "".join(pieces) == text
    assert all(SHORTEST_PIECE <= len(piece) <= LONGEST_PIECE for piece in pieces[:-1])
    assert all(piece.endswith("word") for piece in pieces[:-1])


@pytest.mark.parametrize("text", ["漢字、" * 9000, "1,22;" * 9000, "a\n" * 9000, "-1 " * 9000, "x|" * 9000])
def test_pieces_of_text_without_words_ends_pieces_at_marks(text: str) -> None:
    pieces = list(pieces_of(text, [MARK]))
    assert "".join(pieces) == text
    assert all(SHORTEST_PIECE <= len(piece) < SHORTEST_PIECE + 9 for piece in pieces[:-1])


def test_pieces_of_one_run_is_cut_at_the_longest_piece() -> None:
    assert [len(piece) for piece in pieces_of("a" * 20_000, [MARK])] == [8192, 8192, 3616]


@pytest.mark.parametrize("before", range(LONGEST_PIECE - len(MARK) - 1, LONGEST_PIECE + 2))
def test_pieces_of_run_with_a_mark_leaves_the_mark_whole(before: int) -> None:
    pieces = list(pieces_of("-" * before + MARK + "-" * 9000, ["<|im_start|>", MARK]))
    assert sum(piece.count(MARK) for piece in pieces) == 1
    assert "".join(pieces) == "-" * before + MARK + "-" * 9000


@pytest.mark.parametrize("seed", range(6))
def test_encoder_tokens_of_pieces_are_those_of_the_whole_text(
    encoder: TokenizerEncoder, tokenizer: Tokenizer, seed: int
) -> None:
    parts = drawn(random.Random(seed), MARK)
    text = "".join(next(parts) for _ in range(12))
    pieces = list(pieces_of(text, encoder.special_tokens | set(NOT_SPECIAL)))
    assert len(pieces) > 2
    ids = [id for piece in pieces for id in tokenizer.encode(piece, add_special_tokens=False).ids]
    assert ids == tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([16, 300, CONTEXT]))
def test_encoder_long_rows_cut_at_the_context_equal_the_whole_rows_beginning(
    qwen_directory: Path, seed: int, parts: int, context: int
) -> None:
    text = drawn(random.Random(seed), "so")
    contents = ["".join(next(text) for _ in range(parts)) + "." for _ in range(2)]
    row = Row("Hi", (Turn("user", contents[0]), Turn("assistant", contents[1])))
    (whole,) = load_encoder(qwen_directory, 10**9).encode([row])
    (cut,) = load_encoder(qwen_directory, context).encode([row])
    assert cut.input_ids == whole.input_ids[:context]
    assert cut.assistant == whole.assistant[:context]
    assert whole.cut_at is None
    assert (cut.cut_at is None) == (len(whole.input_ids) <= context)


def test_encoder_cut_row_tells_the_place_of_the_first_token_left_out(qwen_directory: Path) -> None:
    row = Row("", (Turn("user", "Hi"), Turn("assistant", "x" * 500)))
    (whole,) = load_encoder(qwen_directory, CONTEXT).encode([row])
    (cut,) = load_encoder(qwen_directory, 100).encode([row])
    answer = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    header_tokens = whole.assistant.index(True)
    assert cut.cut_at == len(answer) + 100 - header_tokens
    assert whole.cut_at is None


def test_encoder_row_of_very_many_turns_is_rendered_as_far_as_the_context_reaches(
    encoder: TokenizerEncoder,
) -> None:
    def row(exchanges: int) -> Row:
        return Row(None, (Turn("user", "a"), Turn("assistant", "b")) * exchanges)

    cut, longer = encoder.encode([row(2000), row(100_000)])
    assert len(cut.input_ids) == CONTEXT
    assert cut == longer
