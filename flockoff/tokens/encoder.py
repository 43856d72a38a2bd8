"""The one tokenizer of this project: what ``flockoff check`` counts is what a validator trains on."""

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer, processors

from flockoff.errors import SetupError
from flockoff.records import EncodedRow, Row
from flockoff.tokens.template import ChatTemplate, Span, messages_of

# Enough to keep every core of the tokenizer busy; its bookkeeping takes some 200 bytes a token.
_BATCH_ROWS = 256
_BATCH_CHARACTERS = 1 << 20
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def load_encoder(directory: Path, context_length: int) -> "TokenizerEncoder":
    """The encoder of the model in ``directory``: tokenizer.json, tokenizer_config.json, chat_template.jinja.

    Raises SetupError for a file that is missing or damaged, and for a chat template in which the
    assistant's turns cannot be told apart by special tokens.
    """
    config = _read_config(directory)
    tokenizer = _read_tokenizer(directory)
    special_tokens = frozenset(
        token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special
    )
    variables = {name: text for name in _NAMED_TOKENS if (text := _token_text(config.get(name))) is not None}
    template = ChatTemplate(_read_template(directory, config), special_tokens, variables)
    return TokenizerEncoder(tokenizer, template, special_tokens, context_length)


class TokenizerEncoder:
    """A base model's tokenizer and chat template (``flockoff.ports.RowEncoder``).

    A token is an assistant's when its first character lies in the content of an assistant's turn or is the
    end-of-turn token after it. A token that begins in the turn's header and swallows white space at the
    beginning of the content (``\\n`` and ``\\n`` as one token) is therefore none: a model that answers has
    that header given and cannot write it differently.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        special_tokens: frozenset[str],
        context_length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self.special_tokens = special_tokens
        self.context_length = context_length

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """The rows under the chat template, each cut at the context; as transformers would encode them.

        Raises MinerFault (``SPECIAL_TOKEN``) for a row whose text imitates the template's marks.
        """
        encoded: list[EncodedRow] = []
        for texts, spans in self._batches(rows):
            encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
            encoded.extend(map(self._encoded_row, encodings, spans))
        return encoded

    def _batches(self, rows: Sequence[Row]) -> Iterator[tuple[list[str], list[list[Span]]]]:
        texts: list[str] = []
        spans: list[list[Span]] = []
        characters = 0
        for row in rows:
            text = self._template.render(messages_of(row))
            spans.append(self._template.answers(text, len(row.turns) // 2))
            texts.append(self._cut(text))
            characters += len(texts[-1])
            if len(texts) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
                yield texts, spans
                texts, spans, characters = [], [], 0
        if texts:
            yield texts, spans

    def _cut(self, text: str) -> str:
        """``text`` without what cannot be within the context however long its tokens are.

        Bounds the memory of a hostile row. One word of more than that many characters may be split
        differently near the cut than it would be in full.
        """
        if len(text) <= 8 * self.context_length:  # spares ordinary rows the search for the longest token
            return text
        return text[: (self.context_length + 1) * self._longest_token]

    @cached_property
    def _longest_token(self) -> int:
        """In characters, or more: byte-level vocabularies spell one character as several."""
        return max(8, *map(len, self._tokenizer.get_vocab(with_added_tokens=True)))

    def _encoded_row(self, encoding: Encoding, spans: list[Span]) -> EncodedRow:
        ids = encoding.ids[: self.context_length]
        starts = [start for start, _ in encoding.offsets[: self.context_length]]
        assistant = [False] * len(ids)
        for first, last in spans:
            begin, end = bisect_left(starts, first), bisect_left(starts, last)
            assistant[begin:end] = [True] * (end - begin)
        return EncodedRow(tuple(ids), tuple(assistant))


def _read_tokenizer(directory: Path) -> Tokenizer:
    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # the library raises nothing narrower
        raise SetupError(f"{path} is damaged: {error}.", remedy="Delete it and start again.") from error
    # Some post-processors take white space out of the offsets, by which tokens are told apart here.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except ValueError as error:
        raise SetupError(f"{path} is damaged: {error}.", remedy="Delete it and start again.") from error
    assert isinstance(config, dict)
    return config


def _read_template(directory: Path, config: dict[str, Any]) -> str:
    path = directory / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if not isinstance(template, str):
        raise SetupError(
            f"The base model in {directory} has no chat template.",
            remedy="Choose an instruction-tuned model.",
        )
    return template


def _token_text(token: object) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _missing(path: Path) -> SetupError:
    return SetupError(
        f"The base model lacks {path.name} in {path.parent}.",
        remedy="Delete that folder, so that it is fetched again.",
    )
