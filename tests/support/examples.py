"""How many examples a property is tested with."""

from hypothesis import settings

WHOLE, QUICK = 100, 20  # by default, in a whole and in a quick run


def examples(number: int) -> int:
    """``number`` in a whole run, a fifth of it in a quick one."""
    assert settings.default is not None, "a profile is loaded before tests are collected"
    return max(1, number * settings.default.max_examples // WHOLE)
