import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from flockoff.errors import MinerFault, Reason, SetupError
from flockoff.records import EncodedRow, Row, Turn
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.tokens.pieces import LONGEST_PIECE, SHORTEST_PIECE
from tests.support.examples import examples
from tests.support.small_qwen import NOT_SPECIAL, qwen_template, write_model

QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
CONTEXT = 4096


def row(*contents: str, system: str | None = None) -> Row:
    turns = [Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(contents)]
    return Row(system, tuple(turns))


@pytest.fixture(scope="module")
def encoder(qwen_directory: Path) -> TokenizerEncoder:
    return load_encoder(qwen_directory, CONTEXT)


def shown(directory: Path, encoded: EncodedRow) -> list[tuple[str, bool]]:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    words = [tokenizer.id_to_token(token) or "" for token in encoded.input_ids]
    return list(zip(words, encoded.assistant, strict=True))


def letters(text: str) -> list[str]:
    return list(text.replace(" ", "Ġ").replace("\n", "Ċ"))


def test_encoder_qwen_template_without_system_matches_hand_made_tokens(
    encoder: TokenizerEncoder, qwen_directory: Path
) -> None:
    (encoded,) = encoder.encode([row("Hi", "So do I.")])
    expected = [
        *[(word, False) for word in ["<|im_start|>", *letters("system\n")]],
        *[(word, False) for word in letters(QWEN_SYSTEM.replace(" ", "\0"))],
        *[(word, False) for word in ["<|im_end|>", "Ċ"]],
        *[(word, False) for word in ["<|im_start|>", "user", "Ċ", "Hi", "<|im_end|>", "Ċ"]],
        *[(word, False) for word in ["<|im_start|>", *letters("assistant\n")]],
        *[(word, True) for word in ["S", "o", "Ġd", "o", "Ġ", "I", ".", "<|im_end|>"]],
        ("Ċ", False),
    ]
    # Of the default system message, only what the merges touch differs from letter by letter.
    expected = [("Ġ" if word == "\0" else word, flag) for word, flag in expected]
    assert shown(qwen_directory, encoded) == expected


def test_encoder_qwen_template_with_system_and_two_answers_matches_hand_made_tokens(
    encoder: TokenizerEncoder, qwen_directory: Path
) -> None:
    (encoded,) = encoder.encode([row("Hi", "é", "Hi", "A\n", system="Hi")])
    expected = [
        *[(word, False) for word in ["<|im_start|>", *letters("system\n"), "Hi", "<|im_end|>", "Ċ"]],
        *[(word, False) for word in ["<|im_start|>", "user", "Ċ", "Hi", "<|im_end|>", "Ċ"]],
        *[(word, False) for word in ["<|im_start|>", *letters("assistant\n")]],
        *[(word, True) for word in ["Ã", "©", "<|im_end|>"]],  # one character, two bytes
        ("Ċ", False),
        *[(word, False) for word in ["<|im_start|>", "user", "Ċ", "Hi", "<|im_end|>", "Ċ"]],
        *[(word, False) for word in ["<|im_start|>", *letters("assistant\n")]],
        *[(word, True) for word in ["A", "Ċ", "<|im_end|>"]],
        ("Ċ", False),
    ]
    assert shown(qwen_directory, encoded) == expected


def test_encoder_answer_beginning_with_newline_leaves_shared_token_to_the_header(
    encoder: TokenizerEncoder, qwen_directory: Path
) -> None:
    (encoded,) = encoder.encode([row("Hi", "\nHi")])
    assert shown(qwen_directory, encoded)[-5:] == [
        ("t", False),
        ("ĊĊ", False),
        ("Hi", True),
        ("<|im_end|>", True),
        ("Ċ", False),
    ]


def test_encoder_null_system_differs_from_empty_system(
    encoder: TokenizerEncoder, qwen_directory: Path
) -> None:
    without, empty = encoder.encode([row("Hi", "Hi"), row("Hi", "Hi", system="")])
    assert len(without.input_ids) > len(empty.input_ids)
    words = [word for word, _ in shown(qwen_directory, empty)]
    assert words[:9] == ["<|im_start|>", *letters("system\n"), "<|im_end|>"]


def test_encoder_long_row_is_cut_at_the_context(qwen_directory: Path, encoder: TokenizerEncoder) -> None:
    long = row("Hi", "Hi, I do. " * 300)
    (whole,), (cut,) = encoder.encode([long]), load_encoder(qwen_directory, 100).encode([long])
    assert len(whole.input_ids) > 1000
    assert cut.input_ids == whole.input_ids[:100]
    assert cut.assistant == whole.assistant[:100]


def test_encoder_text_that_fills_the_context_before_the_answer_has_no_assistant_token(
    qwen_directory: Path,
) -> None:
    (cut,) = load_encoder(qwen_directory, 100).encode([row("Hi " * 100, "Hi")])
    assert len(cut.input_ids) == 100 and not any(cut.assistant)


@pytest.mark.slow
@settings(max_examples=examples(20))
@given(
    st.lists(st.sampled_from(["a", "\na", "a\n", "\n\na\n", " a ", "é", "🙂", "1"]), min_size=1, max_size=4)
)
def test_encoder_more_turns_than_the_context_reaches_fill_it_like_transformers(
    qwen_directory: Path, contents: list[str]
) -> None:
    conversation = row(*(contents * 400)[:400])
    (encoded,) = load_encoder(qwen_directory, 500).encode([conversation])
    assert list(encoded.input_ids) == transformers_ids(qwen_directory, conversation)[:500]


def test_encoder_run_of_marks_is_cut_after_every_120(encoder: TokenizerEncoder) -> None:
    rows = [row("Hi", "x" + "!" * (120 * times) + "x") for times in (1, 2, 3)]
    once, twice, thrice = (list(encoded.input_ids) for encoded in encoder.encode(rows))
    more = len(twice) - len(once)
    at = next(place for place, (a, b) in enumerate(zip(once, twice, strict=False)) if a != b)
    assert more > 0 and len(thrice) == len(twice) + more
    assert twice[at - more : at] == twice[at : at + more] == thrice[at + more : at + 2 * more]


def processor_seconds(encoder: TokenizerEncoder, rows: Sequence[Row]) -> float:
    start = time.process_time()
    encoder.encode(rows)
    return time.process_time() - start


@pytest.mark.slow
def test_encoder_hostile_rows_take_time_in_proportion_to_their_length(encoder: TokenizerEncoder) -> None:
    def hostile(times: int) -> list[Row]:
        return [row(*["a"] * 6_000 * times), row("a" * 500_000 * times, "b")]

    encoder.encode(hostile(1))
    once, tenfold = (processor_seconds(encoder, hostile(times)) for times in (1, 10))
    assert tenfold < 40 * once  # a hundred times, if it were by the square
    assert [len(one.input_ids) for one in encoder.encode(hostile(10))] == [CONTEXT, CONTEXT]


@pytest.mark.slow
def test_encoder_many_rows_take_time_in_proportion_to_their_number(encoder: TokenizerEncoder) -> None:
    rows = [row("Hi, how do you do?", "So do I, thank you. " * 10)] * 1000
    encoder.encode(rows[:100])
    assert processor_seconds(encoder, rows) < 40 * processor_seconds(encoder, rows[:100])
    encoded = encoder.encode(rows)
    assert len(encoded) == 1000 and len(set(encoded)) == 1


@pytest.mark.parametrize("mark", ["<|im_start|>assistant\n", "x<|im_end|>\n<|im_start|>assistant\ny"])
def test_encoder_text_that_imitates_an_answer_is_the_miners_fault(
    encoder: TokenizerEncoder, mark: str
) -> None:
    with pytest.raises(MinerFault) as caught:
        encoder.encode([row("Hi", mark)])
    assert caught.value.reason is Reason.SPECIAL_TOKEN


def test_encoder_special_tokens_are_the_tokenizers_own(encoder: TokenizerEncoder) -> None:
    assert encoder.special_tokens == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


@pytest.mark.slow
@pytest.mark.parametrize("mark", NOT_SPECIAL)
def test_encoder_added_token_that_is_not_special_is_one_token_of_the_answer(
    encoder: TokenizerEncoder, qwen_directory: Path, mark: str
) -> None:
    conversation = row("Hi", f"Hi {mark}\nHi", system=mark)
    (encoded,) = encoder.encode([conversation])
    assert shown(qwen_directory, encoded)[-7:-1] == [
        *((word, True) for word in ("Hi", "Ġ", mark, "Ċ", "Hi", "<|im_end|>")),
    ]
    assert list(encoded.input_ids) == transformers_ids(qwen_directory, conversation)


@pytest.mark.parametrize("before", range(SHORTEST_PIECE - len("<|fim_prefix|>"), SHORTEST_PIECE + 1))
def test_encoder_added_token_is_one_token_wherever_a_long_text_is_cut(
    qwen_directory: Path, before: int
) -> None:
    header = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
    question = "-" * (before - len(header)) + "<|fim_prefix|>" + "-" * LONGEST_PIECE
    conversation = row(question, "Hi", system="")
    (encoded,) = load_encoder(qwen_directory, 10**6).encode([conversation])
    fim = Tokenizer.from_file(str(qwen_directory / "tokenizer.json")).token_to_id("<|fim_prefix|>")
    assert encoded.input_ids.count(fim) == 1


text = st.text(alphabet=st.sampled_from("Hi duser\n é\t<|>_/e\u0301🙂漢"), max_size=30).filter(str.strip)


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(st.tuples(text, text), min_size=1, max_size=3), st.none() | text)
def test_encoder_any_text_masks_the_answers_and_equals_transformers(
    encoder: TokenizerEncoder, qwen_directory: Path, exchanges: list[tuple[str, str]], system: str | None
) -> None:
    conversation = row(*[part for exchange in exchanges for part in exchange], system=system)
    (encoded,) = encoder.encode([conversation])
    assert list(encoded.input_ids) == transformers_ids(qwen_directory, conversation)
    tokenizer = Tokenizer.from_file(str(qwen_directory / "tokenizer.json"))
    pairs = zip(encoded.input_ids, encoded.assistant, strict=True)
    runs = [[token for token, _ in run] for flag, run in groupby(pairs, lambda pair: pair[1]) if flag]
    learned = [tokenizer.decode(run, skip_special_tokens=False) for run in runs]
    for (_, answer), run in zip(exchanges, learned, strict=True):
        # White space at the beginning may belong to a token that the header's newline is in.
        whole = unicodedata.normalize("NFC", answer) + "<|im_end|>"
        assert run == whole or (answer[0].isspace() and whole.lstrip() == run.lstrip())


_TOKENIZERS: dict[Path, object] = {}


def transformers_ids(directory: Path, conversation: Row) -> list[int]:
    from transformers import AutoTokenizer

    if directory not in _TOKENIZERS:
        _TOKENIZERS[directory] = AutoTokenizer.from_pretrained(directory)
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
    if conversation.system is not None:
        messages.insert(0, {"role": "system", "content": conversation.system})
    ids = _TOKENIZERS[directory].apply_chat_template(messages, return_dict=False)  # type: ignore[attr-defined]
    assert isinstance(ids, list)
    return ids


def test_load_encoder_template_in_config_is_read(tmp_path: Path, encoder: TokenizerEncoder) -> None:
    directory = write_model(tmp_path / "m", "", config={"chat_template": qwen_template()})
    (directory / "chat_template.jinja").unlink()
    assert load_encoder(directory, CONTEXT).encode([row("Hi", "Hi")]) == encoder.encode([row("Hi", "Hi")])


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_load_encoder_missing_file_names_it_or_its_content(tmp_path: Path, name: str) -> None:
    directory = write_model(tmp_path / "m", qwen_template())
    (directory / name).unlink()
    with pytest.raises(SetupError, match=name.replace("chat_template.jinja", "chat template")):
        load_encoder(directory, CONTEXT)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_load_encoder_damaged_file_is_a_setup_error(tmp_path: Path, name: str) -> None:
    directory = write_model(tmp_path / "m", qwen_template())
    (directory / name).write_text('{"version": "1.0"', encoding="utf-8")
    with pytest.raises(SetupError, match="is damaged"):
        load_encoder(directory, CONTEXT)


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% for", "is broken"),
        ("{{ raise_exception('no') }}", "refuses a conversation"),
        (CHATML.replace("<|im_end|>", ""), "does not close an answer"),
        (CHATML.replace("<|im_start|>", "# "), "does not open an answer"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"), "does not begin an answer"),
        (CHATML + "{{ messages | length }}", "does not begin an answer"),
        ("{% if messages | length > 3 %}x{% endif %}" + CHATML, "does not let a conversation begin"),
    ],
)
def test_load_encoder_unsuitable_template_says_why(tmp_path: Path, template: str, complaint: str) -> None:
    with pytest.raises(SetupError, match=complaint):
        load_encoder(write_model(tmp_path / "m", template), CONTEXT)


def test_load_encoder_generation_tag_and_loop_controls_render_as_plain_text(tmp_path: Path) -> None:
    marked = CHATML.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}").replace(
        "{% endfor %}", "{% if false %}{% break %}{% endif %}{% endfor %}"
    )
    plain = load_encoder(write_model(tmp_path / "plain", CHATML), CONTEXT)
    tagged = load_encoder(write_model(tmp_path / "tagged", marked), CONTEXT)
    assert plain.encode([row("Hi", "Hi")]) == tagged.encode([row("Hi", "Hi")])


def test_load_encoder_template_cannot_reach_python(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="refuses a conversation"):
        load_encoder(write_model(tmp_path / "m", "{{ messages.__class__.__base__ }}"), CONTEXT)


def test_tokens_import_is_light() -> None:
    program = "import sys, flockoff.tokens; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    ).stdout.split()
    assert "flockoff.tokens" in loaded and not {"torch", "transformers", "numpy"} & set(loaded)
