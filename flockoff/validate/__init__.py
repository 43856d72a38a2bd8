"""The validator around ``flockoff.epoch``: reads facts, runs evaluations, stores decisions, epoch after
epoch."""

from flockoff.validate.loop import run_epochs
from flockoff.validate.validator import Validator

__all__ = ["Validator", "run_epochs"]
