"""Faults of the doubles by name: command-line words become a method call that starts the fault."""

import re
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

from flockoff.errors import UsageError


def inject(
    side: str, faults: Mapping[str, str], switches: object, name: str, words: Mapping[str, str]
) -> str:
    """Call the method of ``switches`` for the fault ``name`` with ``words`` as its keyword arguments.

    ``faults``: name -> what it does and takes. ``side``, "hub" or "node", is for messages. Returns the line
    that the method returns. Raises UsageError for an unknown fault or wrong arguments.
    """
    if name not in faults:
        raise UsageError(f"The {side} has no fault {name!r}.", remedy=f"There are: {', '.join(faults)}.")
    method: Callable[..., str] = getattr(switches, name.replace("-", "_"))
    try:
        return method(**_values(method, words))
    except (ValueError, re.error) as error:
        raise UsageError(
            f"Wrong arguments for {side}.{name}: {error}.", remedy=f"{side}.{name}: {faults[name]}"
        ) from error


def _values(method: Callable[..., str], arguments: Mapping[str, str]) -> dict[str, object]:
    """``arguments`` in the types of the method's parameters. Raises ValueError."""
    parameters = signature(method, eval_str=True).parameters
    if unknown := arguments.keys() - parameters.keys():
        raise ValueError(f"there is no {', '.join(sorted(unknown))}")
    needed = {name for name, parameter in parameters.items() if parameter.default is Parameter.empty}
    if lacking := needed - arguments.keys():
        raise ValueError(f"{', '.join(sorted(lacking))} is missing")
    return {name: _READERS[parameters[name].annotation](text) for name, text in arguments.items()}


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text == "yes"


_READERS: Mapping[Any, Callable[[str], object]] = {int: int, float: float, str: str, bool: _yes_or_no}
