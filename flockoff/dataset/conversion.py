"""Converts records in common formats to rows of a dataset."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flockoff.records import Row, Turn

_ROLES: Mapping[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "developer": "system",
}
_QUESTIONS = ("prompt", "question", "query", "input")
_ANSWERS = ("completion", "response", "answer", "output")


class NotARow(Exception):
    """Why a record is not a row; the same text for the same problem."""


def row_of(record: object) -> Row:
    """Convert ``record`` to a row. Raises NotARow.

    Known formats: this project's, OpenAI's ``messages``, ShareGPT's ``conversations`` of ``from`` and
    ``value``, Alpaca's instruction, input and output, and pairs such as prompt and completion. Other fields
    are dropped. A conversation that ends with the user loses that turn.
    """
    if not isinstance(record, Mapping):
        raise NotARow("not an object")
    turns = record.get("messages", record.get("conversations", record.get("conversation")))
    if turns is not None:
        return _of_turns(turns, record.get("system"))
    if "instruction" in record and "output" in record:
        asked = [record["instruction"], record.get("input")]
        question = "\n\n".join(part for part in asked if isinstance(part, str) and part.strip())
        return _row(record.get("system"), [("user", question), ("assistant", record["output"])])
    question_key = next((key for key in _QUESTIONS if key in record), None)
    answer_key = next((key for key in _ANSWERS if key in record), None)
    if question_key is None or answer_key is None:
        raise NotARow("none of the known formats")
    pair = [("user", record[question_key]), ("assistant", record[answer_key])]
    return _row(record.get("system"), pair)


def _of_turns(turns: object, system: object) -> Row:
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise NotARow("its turns are not an array")
    found: list[tuple[str, object]] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise NotARow("a turn is not an object")
        named = turn.get("role", turn.get("from"))
        role = _ROLES.get(named.lower()) if isinstance(named, str) else None
        if role is None:
            raise NotARow("a role that is neither the user's, the assistant's nor the system's")
        content = _text(turn.get("content", turn.get("value")))
        if role != "system":
            found.append((role, content))
        elif found or system is not None:
            raise NotARow("a system message that is not the first")
        else:
            system = content
    if found and found[-1][0] == "user":
        found.pop()
    return _row(system, found)


def _text(content: object) -> object:
    """A message's text, joined if it comes in parts."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise NotARow("a content that is not only text")
    return "".join(str(part) for part in parts)


def _row(system: object, turns: Sequence[tuple[str, Any]]) -> Row:
    if not turns:
        raise NotARow("no assistant turn")
    made: list[Turn] = []
    for place, (role, content) in enumerate(turns):
        expected: Literal["user", "assistant"] = "assistant" if place % 2 else "user"
        if role != expected:
            raise NotARow("turns that do not alternate, starting with the user")
        if not isinstance(content, str):
            raise NotARow("a content that is not text")
        if not content.strip():
            raise NotARow("a blank content")
        made.append(Turn(expected, content))
    if not isinstance(system, str | None):
        raise NotARow("a system prompt that is not text")
    return Row(system if system and system.strip() else None, tuple(made))
