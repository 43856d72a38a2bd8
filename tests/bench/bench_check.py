"""How long checking a dataset takes, and in how much memory: ``python tests/bench/bench_check.py MODEL_DIR``.

MODEL_DIR holds a base model's tokenizer. Each kind of file of tests/support/hostile_files.py is checked in a
process of its own, contamination included, and gives one line: seconds and processor seconds a 64 MiB, the
process's peak memory above what it was before the check, and the verdict. With ``--mib`` files are smaller,
and the limits in proportion. Peaks are read from Linux's /proc and left out elsewhere.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from hostile_files import KINDS, MIB, write_file  # noqa: E402
from memory_peak import PeakMemory  # noqa: E402

from flockoff.competition import Contamination, Limits  # noqa: E402
from flockoff.dataset import EvaluationAnswers, judge_dataset, load_rows  # noqa: E402
from flockoff.tokens import load_encoder  # noqa: E402

CONTEXT = 4096


def measure(kind: str, model_dir: Path, path: Path, mib: int) -> str:
    encoder = load_encoder(model_dir, CONTEXT)
    evaluation_set = ROOT / "eval_data" / "data.jsonl"
    answers = EvaluationAnswers(load_rows(evaluation_set, Limits(), encoder.special_tokens))
    scale = Limits().max_bytes // MIB / mib
    limits = Limits(
        max_rows=int(Limits().max_rows / scale), max_tokens=int(Limits().max_tokens / scale)
    )  # so that a smaller file meets them where a whole one does
    memory = PeakMemory()
    start, started = time.perf_counter(), time.process_time()
    judgement = judge_dataset(path, limits, Contamination(), encoder, answers)
    seconds, processor = time.perf_counter() - start, time.process_time() - started
    verdict = judgement.fault.reason if judgement.fault else "valid"
    return (
        f"{kind:52} {seconds * scale:6.1f} s {processor * scale:6.1f} cpu s"
        f" {memory.above_start() / MIB:5.0f} MiB"
        f"  {verdict}: {judgement.report.rows:,} rows, {judgement.report.tokens:,} tokens"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all, if none is named")
    parser.add_argument("--mib", type=int, default=64, help="size of each file")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        sys.stdout.write(measure(options.kinds[0], options.model_dir, options.file, options.mib) + "\n")
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        for kind in options.kinds or KINDS:
            write_file(path, kind, options.mib * MIB)
            program = [sys.executable, __file__, str(options.model_dir), kind]
            program += ["--file", str(path), "--mib", str(options.mib)]
            subprocess.run(program, check=True, timeout=600)


if __name__ == "__main__":
    main()
