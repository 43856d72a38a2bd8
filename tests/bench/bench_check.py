"""Time and memory of checking a dataset: ``python -m tests.bench check MODEL_DIR``.

MODEL_DIR holds a base model's tokenizer. Each kind of file of tests/support/hostile_files.py is checked in a
process of its own, contamination included, and gives one line: seconds and processor seconds a 64 MiB, the
process's peak memory above what it was before the check, and the verdict. With ``--mib`` files are smaller,
and the limits in proportion. Peaks are read from Linux's /proc and left out elsewhere.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.support.hostile_files import KINDS, write_file
from tests.support.lone_check import MIB, check_alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all, if none is named")
    parser.add_argument("--mib", type=int, default=64, help="size of each file")
    options = parser.parse_args()
    sys.stdout.write(f"{'kind of file':50} seconds  cpu s  MiB  verdict\n")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        for kind in options.kinds or KINDS:
            scale = 64 * MIB / write_file(path, kind, options.mib * MIB)
            check = check_alone(options.model_dir, path, options.mib)
            sys.stdout.write(
                f"{kind:50} {check.seconds * scale:7.1f} {check.processor_seconds * scale:6.1f}"
                f" {check.peak_bytes / MIB:4.0f}"
                f"  {check.verdict}: {check.rows:,} rows, {check.tokens:,} tokens\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
