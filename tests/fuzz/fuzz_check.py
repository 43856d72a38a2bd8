"""Check files by the million: ``python -m tests.fuzz.fuzz_check --inputs 1000000``.

File n is the same in every run, so a run can be continued with ``--first`` and shared among processes. What
must hold of every verdict is in ``tests/support/dataset_fuzz.py``. The first file that breaks a rule is
shown with its number and ends the run; add it to ``test_fuzz_dataset.py``.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.support.dataset_fuzz import examine, file_of

_TOLD_EVERY = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, metavar="N")
    options = parser.parse_args()
    verdicts: Counter[str] = Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for done, number in enumerate(range(options.first, options.first + options.inputs), start=1):
            content = file_of(number)
            try:
                report = examine(content, Path(folder, "data.jsonl"), Random(number))
            except Exception as error:
                error.add_note(f"file {number}: {content!r}")
                raise
            verdicts["valid" if report.valid else report.problems[0].reason] += 1
            if done % _TOLD_EVERY == 0 or done == options.inputs:
                seconds = time.perf_counter() - start
                found = ", ".join(f"{count:,} {reason}" for reason, count in verdicts.most_common())
                sys.stdout.write(f"{done:,} files in {seconds:,.0f} s: {found}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
