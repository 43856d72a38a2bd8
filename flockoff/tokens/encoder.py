"""The one tokenizer of this project: what ``flockoff check`` counts is what a validator trains on."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Regex, Tokenizer, pre_tokenizers, processors

from flockoff.errors import SetupError
from flockoff.records import EncodedRow, Row, Turn
from flockoff.tokens.pieces import LONGEST_PIECE, pieces_of
from flockoff.tokens.template import ChatTemplate, Span, messages_of

# Enough to keep every core of the tokenizer busy; it allocates up to 350 bytes per byte of text.
_BATCH_ROWS = 256
_BATCH_CHARACTERS = 256 * 1024
_PIECES_AT_ONCE = 4  # after the first, which alone fills the context at one token a character
# The tokenizer caches words of up to 255 bytes (a space takes two); longer ones are tokenised each time,
# several times slower.
_ENDLESS_RUN = r"\s{120}|[^\s\p{L}\p{N}]{120}"
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def load_encoder(directory: Path, context_length: int) -> "TokenizerEncoder":
    """The encoder of the model in ``directory``: tokenizer.json, tokenizer_config.json, chat_template.jinja.

    Raises SetupError for a missing or damaged file, and for a chat template that does not delimit the
    assistant's turns by special tokens.
    """
    config = _read_config(directory)
    tokenizer = _read_tokenizer(directory)
    added = tokenizer.get_added_tokens_decoder().values()
    special_tokens = frozenset(token.content for token in added if token.special)
    variables = {name: text for name in _NAMED_TOKENS if (text := _token_text(config.get(name))) is not None}
    template = ChatTemplate(_read_template(directory, config), special_tokens, variables)
    return TokenizerEncoder(tokenizer, template, special_tokens, context_length)


class TokenizerEncoder:
    """A base model's tokenizer and chat template (``flockoff.ports.RowEncoder``).

    An assistant token is one that starts in the content of an assistant turn, or the end-of-turn token after
    it. A token that starts in the turn's header and swallows leading white space of the content (``\\n`` and
    ``\\n`` as one token) does not count: the header is part of the prompt.
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
        # Those that are not special too, such as Qwen2.5's <tool_call>: whole texts that are one token each.
        self._marks = special_tokens | {
            token.content for token in tokenizer.get_added_tokens_decoder().values()
        }
        self.context_length = context_length
        self._most_turns = 2 * (context_length // self._least_tokens_of_two_turns() + 1)

    def _least_tokens_of_two_turns(self) -> int:
        """The least that a question and its answer can add: the shortest pair, less three tokens for each
        turn in case its content merges with the template's text on either side."""
        once, twice = ([Turn("user", "a"), Turn("assistant", "b")] * times for times in (1, 2))
        texts = [self._template.render(messages_of(Row(None, tuple(turns)))) for turns in (once, twice)]
        one, two = (len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
        return max(1, two - one - 6)

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """The rows under the chat template, each cut at the context; as transformers would encode them.

        The exceptions: runs of white space or punctuation are cut every 120 characters, and so are runs of
        thousands of characters without a word boundary (``pieces.py``).
        Raises MinerFault (``SPECIAL_TOKEN``) for a row whose text imitates the template's delimiters.
        """
        encoded: list[EncodedRow] = []
        for batch in _batches(self._open(row) for row in rows):
            self._tokenise(batch)
            encoded.extend(map(self._encoded_row, batch))
        return encoded

    def _open(self, row: Row) -> "_OpenRow":
        row = self._within_reach(row)
        text = self._template.render(messages_of(row))
        spans = self._template.answers(text, len(row.turns) // 2)
        return _OpenRow(len(text), spans, pieces_of(text, self._marks))

    def _within_reach(self, row: Row) -> Row:
        """``row`` without the turns that lie beyond the context."""
        if len(row.turns) <= self._most_turns:
            return row
        return replace(row, turns=row.turns[: self._most_turns])

    def _tokenise(self, rows: Sequence["_OpenRow"]) -> None:
        """Tokenise every row to its end or past the context, a few pieces at a time."""
        growing = list(rows)
        while growing:
            parts = [
                (row, piece)
                for row in growing
                for piece in islice(row.pieces, _PIECES_AT_ONCE if row.characters else 1)
            ]
            encodings = self._tokenizer.encode_batch([piece for _, piece in parts], add_special_tokens=False)
            for (row, piece), encoding in zip(parts, encodings, strict=True):
                row.add(piece, encoding)
            growing = [row for row in growing if not row.is_done(self.context_length)]

    def _encoded_row(self, row: "_OpenRow") -> EncodedRow:
        ids = row.ids[: self.context_length]
        cut_at = row.starts[len(ids)] if len(ids) < len(row.ids) else None
        assistant = [False] * len(ids)
        for first, last in row.spans:
            begin = bisect_left(row.starts, first, hi=len(ids))
            end = bisect_left(row.starts, last, hi=len(ids))
            assistant[begin:end] = [True] * (end - begin)
        return EncodedRow(tuple(ids), tuple(assistant), cut_at)


@dataclass(slots=True)
class _OpenRow:
    """A row under the chat template, tokenised as far as needed so far."""

    length: int  # of the text, in characters
    spans: list[Span]  # of the assistant's turns
    pieces: Iterator[str]  # not tokenised yet
    characters: int = 0  # tokenised so far
    ids: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # where each token starts in the text

    def add(self, piece: str, encoding: Encoding) -> None:
        self.ids += encoding.ids
        self.starts += [self.characters + start for start, _ in encoding.offsets]
        self.characters += len(piece)

    def is_done(self, context_length: int) -> bool:
        return self.characters == self.length or len(self.ids) > context_length


def _batches(rows: Iterable[_OpenRow]) -> Iterator[list[_OpenRow]]:
    batch: list[_OpenRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += min(row.length, LONGEST_PIECE)
        if len(batch) >= _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _read_tokenizer(directory: Path) -> Tokenizer:
    path = directory / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # the library raises nothing narrower
        raise SetupError(f"{path} is damaged: {error}.", remedy="Delete it and start again.") from error
    words = [tokenizer.pre_tokenizer] if tokenizer.pre_tokenizer is not None else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_ENDLESS_RUN), "isolated"), *words]
    )
    # Some post-processors trim white space from the offsets, which assign tokens to turns here.
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
        remedy="Delete that folder; it is then downloaded again.",
    )
