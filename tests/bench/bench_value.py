"""What training on disguised answers gains on them: ``python -m tests.bench value MODEL_DIR [KIND …]``.

Takes --answers of the evaluation set's shorter answers, makes a dataset of each kind of disguise, with every
answer in --times rewordings under its own question, and leaves out the rows that the rules for contamination
find (``found``: their share), as a cheat would. On the others it trains under the validator's own session,
and tells by how much the loss on the plain answers that are in them changes. Beside it stand, for the same
answers, what exact copies change, and as many honest rows: conversations by the same hand about other things.
What gains no more than these has nothing of the answers that a model could use.

MODEL_DIR: SmolLM2-135M, as ``flockoff demo`` leaves it in the cache, trained as the local competition says,
in a longer context. A kind takes half a minute of two cores; without any named, all of
tests/support/encoded_answers.py and those that are found in part.
"""

import argparse
import dataclasses
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flockoff.competition import Contamination, EvaluationSet, load_competition
from flockoff.dataset import EvaluationAnswers
from flockoff.localnet.network import local_competition
from flockoff.records import Progress, Row
from flockoff.tokens import load_encoder
from flockoff.training.messages import Assignment, Request
from flockoff.training.rows import write_rows
from flockoff.training.session import Session
from tests.bench.bench_contamination import found_in
from tests.support.contamination_cases import BEYOND, DISGUISES, HELD_OUT, Disguise, evaluation_rows, samples
from tests.support.encoded_answers import ENCODED, FORMS, SPELLED, under_its_question

EXACT = "exact copies"
KINDS: dict[str, Disguise] = {
    EXACT: under_its_question(lambda answer, _: answer),
    **SPELLED,
    **FORMS,
    **ENCODED,
    **BEYOND,
    **HELD_OUT,
    **DISGUISES,
}
BY_DEFAULT = (*SPELLED, *ENCODED, *BEYOND)
CHARACTERS = range(400)
CONTEXT = 384


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def silent(_progress: Progress) -> None: ...


def targets(count: int) -> list[Row]:
    """Conversations of one question and an answer that is neither short nor long."""
    return random.Random(0).sample([row for row in evaluation_rows() if _is_short(row)], count)


def _is_short(row: Row) -> bool:
    texts = [turn.content for turn in row.turns]
    return len(texts) == 2 and not row.system and all(len(text) in CHARACTERS for text in texts)


def rows_of(kind: str, of: Sequence[Row], times: int) -> list[tuple[int, Row]]:
    """Each with the place in ``of`` of the answer that it disguises."""
    draw = random.Random(2)
    return [
        (place, row)
        for _ in range(times)
        for place, target in enumerate(of)
        for row in KINDS[kind](target.turns[1].content, draw)
    ]


def honest_rows(of: Sequence[Row], times: int) -> list[Row]:
    others = [row for row in (*samples(), *evaluation_rows()) if row not in of and _is_short(row)]
    return random.Random(1).sample(others, len(of) * times)


def write_evaluation(path: Path, rows: Sequence[Row]) -> EvaluationSet:
    lines = [
        json.dumps({"conversations": [{"role": turn.role, "content": turn.content} for turn in row.turns]})
        for row in rows
    ]
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(data)
    return EvaluationSet(sha256=hashlib.sha256(data).hexdigest())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=[], help=", ".join(KINDS))
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="all cores, unless given")
    options = parser.parse_args()
    of = targets(options.answers)
    known = EvaluationAnswers(evaluation_rows())
    with tempfile.TemporaryDirectory() as directory:
        evaluation_file, rows_file = Path(directory, "evaluation.jsonl"), Path(directory, "rows.npz")
        local = load_competition(local_competition())
        rules = dataclasses.replace(
            local,
            training=dataclasses.replace(local.training, context_length=CONTEXT),
            evaluation=write_evaluation(evaluation_file, of),
        )
        session = Session.load(
            Assignment(rules, str(options.model_dir), str(evaluation_file), "cpu", options.threads)
        )
        encoder = load_encoder(options.model_dir, CONTEXT)

        def trained_on(rows: Sequence[Row]) -> NDArray[np.float64]:
            """The answers' losses, nats each, after training on ``rows``. (n_answers,)"""
            write_rows(encoder.encode(rows), rows_file)
            return np.array(session.measure(Request(str(rows_file), options.seed), silent).row_nll)

        base = np.array(session.measure(Request(), silent).row_nll)
        exact = trained_on([row for _, row in rows_of(EXACT, of, options.times)])
        honest = trained_on(honest_rows(of, options.times))
        say(f"{len(of)} answers, each {options.times} times; base loss {base.sum():.1f} nats")
        say(f"{'kind':42} found  change   exact  honest  answers  rows  seconds")
        for kind in options.kinds or BY_DEFAULT:
            start = time.monotonic()
            every = rows_of(kind, of, options.times)
            found = found_in(known, [row for _, row in every], Contamination())
            left = [each for number, each in enumerate(every) if number not in found]
            share = 1 - len(left) / len(every)
            if not left:
                say(f"{kind:42} {share:5.0%}")
                continue
            after = trained_on([row for _, row in left])
            those = sorted({place for place, _ in left})
            changes = "".join(
                f" {losses[those].sum() / base[those].sum() - 1:+7.1%}" for losses in (after, exact, honest)
            )
            seconds = time.monotonic() - start
            say(f"{kind:42} {share:5.0%}{changes} {len(those):8} {len(left):5} {seconds:8.0f}")


if __name__ == "__main__":
    main()
