"""Validating: one epoch is read -> plan -> judge -> settle -> weights, and the loop over epochs."""

from flockoff.validate.loop import run_epochs
from flockoff.validate.setting import Validator

__all__ = ["Validator", "run_epochs"]
