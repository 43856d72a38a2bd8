"""A model's chat template: renders a conversation and locates the assistant's turns in the text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flockoff.errors import MinerFault, Reason, SetupError
from flockoff.records import Row

Message = dict[str, str]
Span = tuple[int, int]  # of characters: first, one past the last

_REMEDY = "Choose a base model whose chat template opens and closes every turn with special tokens."
_PROBE_ANSWER = "It is Tuesday."
_PROBES = (
    ["Which day is it?", _PROBE_ANSWER],
    ["Hello!", "Hello to you.", "Which day is it?", _PROBE_ANSWER],
    ["Hello!", "Hello to you.", "And now?", "Now it rains.", "Which day is it?", _PROBE_ANSWER],
)


def messages_of(row: Row) -> list[Message]:
    """The row in the format that chat templates take."""
    system = [] if row.system is None else [{"role": "system", "content": row.system}]
    return system + [{"role": turn.role, "content": turn.content} for turn in row.turns]


class ChatTemplate:
    """A compiled chat template with the two delimiters of an assistant turn.

    ``opening`` is the generation prompt (ChatML: ``<|im_start|>assistant\\n``), ``closing`` the special token
    that ends an answer (``<|im_end|>``). Both are found by rendering conversations that grow turn by turn,
    which also verifies them: each conversation plus the opening must be a prefix of the one with the next
    answer.
    Raises SetupError for a template that is broken or does not work this way.
    """

    def __init__(self, source: str, special_tokens: frozenset[str], variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise SetupError(f"The base model's chat template is broken: {error}.", remedy=_REMEDY) from error
        self.opening, self.closing = self._marks(special_tokens)
        self._verify()

    def render(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """The text of a conversation; with ``ask`` it ends with the generation prompt."""
        try:
            return self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=ask, **self._variables
            )
        except TemplateError as error:
            message = f"The base model's chat template refuses a conversation: {error}."
            raise SetupError(message, remedy=_REMEDY) from error

    def answers(self, text: str, count: int) -> list[Span]:
        """The spans of the ``count`` answers in a rendered conversation: content and closing token.

        Text without special tokens cannot imitate a delimiter. Raises MinerFault (``SPECIAL_TOKEN``) where
        the number of delimiters shows that it contains one.
        """
        spans: list[Span] = []
        position = 0
        while (start := text.find(self.opening, position)) >= 0:
            start += len(self.opening)
            end = text.find(self.closing, start)
            position = len(text) if end < 0 else end + len(self.closing)
            spans.append((start, position))
        if not len(spans) == text.count(self.opening) == count:
            raise MinerFault(
                Reason.SPECIAL_TOKEN,
                f"A conversation with {count} answers spells out marks of the chat template.",
                remedy="Remove the base model's special tokens from the text.",
            )
        return spans

    def _marks(self, special_tokens: frozenset[str]) -> tuple[str, str]:
        question = [{"role": "user", "content": _PROBES[0][0]}]
        plain, asked = self.render(question), self.render(question, ask=True)
        answered = self.render([*question, {"role": "assistant", "content": _PROBE_ANSWER}])
        if not asked.startswith(plain) or not answered.startswith(asked + _PROBE_ANSWER):
            raise _unsuitable("does not begin an answer with what it writes to ask for one")
        opening, rest = asked[len(plain) :], answered[len(asked) + len(_PROBE_ANSWER) :]
        if not any(token in opening for token in special_tokens):
            raise _unsuitable("does not open an answer with a special token")
        closing = max((token for token in special_tokens if rest.startswith(token)), key=len, default="")
        if not closing:
            raise _unsuitable("does not close an answer with a special token")
        return opening, closing

    def _verify(self) -> None:
        for system in (None, "Answer briefly."):
            for contents in _PROBES:
                head = [] if system is None else [{"role": "system", "content": system}]
                turns = [
                    {"role": ("user", "assistant")[place % 2], "content": content}
                    for place, content in enumerate(contents)
                ]
                self._verify_growth(head + turns)

    def _verify_growth(self, messages: list[Message]) -> None:
        text = self.render(messages)
        spans: list[Span] = []
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:place], ask=True)
            if not text.startswith(before + message["content"] + self.closing):
                raise _unsuitable("does not let a conversation begin as its first turns do")
            spans.append((len(before), len(before) + len(message["content"]) + len(self.closing)))
        if self.answers(text, len(spans)) != spans:
            raise _unsuitable("marks its answers in more than one way")


def _unsuitable(what: str) -> SetupError:
    return SetupError(f"The base model's chat template {what}.", remedy=_REMEDY)


class _GenerationTag(Extension):
    """``{% generation %}``, with which some templates mark answers: ignored in rendering."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it as an instance variable)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """What chat templates expect, without the clock: rendering must not depend on the date."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes HTML, which no model was trained on.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
