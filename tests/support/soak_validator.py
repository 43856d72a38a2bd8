"""The validator's own program with a stand-in for its model; at the end of each epoch it waits for a line.

``python soak_validator.py KEEP_EPOCHS FLAGS...``. On stdout it says in which block the next epoch begins.
"""

import logging
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from flockoff import assemble
from flockoff.dataset import EvaluationAnswers
from flockoff.ledger import Ledger
from neurons import validator
from tests.support.arena import EVALUATION_ROWS
from tests.support.stand_in import StandInEvaluator
from tests.support.toy_encoder import CharacterEncoder


class Turnstile(logging.Handler):
    """Holds the validator up where it says that it waits for the next epoch."""

    def emit(self, record: logging.LogRecord) -> None:
        about = vars(record)
        if about.get("event") != "waiting":
            return
        sys.stdout.write(f"{about['fields']['block']}\n")
        sys.stdout.flush()
        if not sys.stdin.readline():
            sys.exit("Nobody lets this validator into the next epoch any more.")


def stand_in() -> StandInEvaluator:
    """A content's loss is fixed by its hash."""

    def loss_of(content: str, _seed: int) -> float:
        evaluator.evaluated.clear()
        return 1.0 + int(content[:8], 16) / 2**32

    evaluator = StandInEvaluator(loss_of)
    return evaluator


def main() -> int:
    keep_epochs = int(sys.argv[1])
    parts = {
        "require_installed": lambda *_: None,
        "Ledger": SimpleNamespace(open=partial(Ledger.open, keep_epochs=keep_epochs)),
        "WorkerEvaluator": lambda *_, **__: stand_in(),
        "evaluation_file": lambda *_: Path(),
        "model_directory": lambda *_: Path(),
        "load_encoder": lambda *_: CharacterEncoder(context_length=200),
        "open_answers": lambda *_: EvaluationAnswers(EVALUATION_ROWS),
    }
    logging.getLogger("flockoff.validate.loop").addHandler(Turnstile())
    with ExitStack() as stack:
        for name, part in parts.items():
            stack.enter_context(patch.object(assemble, name, part))
        return validator.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
