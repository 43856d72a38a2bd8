"""Validating: facts are read, ``flockoff.epoch`` decides, decisions are stored; and the loop over epochs."""

from flockoff.validate.loop import run_epochs
from flockoff.validate.validator import Validator

__all__ = ["Validator", "run_epochs"]
