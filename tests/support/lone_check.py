"""One check of a dataset in a separate process: its time and memory.

``python -m tests.support.lone_check MODEL_DIR FILE MIB`` prints what ``check_alone`` reads.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class LoneCheck:
    verdict: str  # "valid", or the reason
    rows: int
    tokens: int
    seconds: float
    processor_seconds: float
    peak_bytes: int  # resident, above what the process had before the check; 0 where there is no /proc


def check_alone(model_dir: Path, file: Path, mib: float = 64) -> LoneCheck:
    """Check ``file``, contamination included, with limits of rows and tokens as for ``mib`` MiB."""
    program = [sys.executable, "-m", __name__, str(model_dir), str(file), str(mib)]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE, timeout=600)
    return LoneCheck(**json.loads(done.stdout))


def _check(model_dir: Path, file: Path, mib: float) -> LoneCheck:
    from flockoff.competition import Contamination, Limits
    from flockoff.dataset import EvaluationAnswers, judge_dataset, load_rows
    from flockoff.tokens import load_encoder

    encoder = load_encoder(model_dir, 4096)
    full = Limits()
    evaluation_set = ROOT / "eval_data" / "data.jsonl"
    answers = EvaluationAnswers(load_rows(evaluation_set, full, encoder.special_tokens))
    part = mib * MIB / full.max_bytes
    limits = Limits(max_rows=int(full.max_rows * part), max_tokens=int(full.max_tokens * part))
    before = start_peak()
    start, started = time.perf_counter(), time.process_time()
    judgement = judge_dataset(file, limits, Contamination(), encoder, answers, thorough=False)
    return LoneCheck(
        verdict=judgement.fault.reason if judgement.fault else "valid",
        rows=judgement.report.rows,
        tokens=judgement.report.tokens,
        seconds=time.perf_counter() - start,
        processor_seconds=time.process_time() - started,
        peak_bytes=peak_memory() - before,
    )


def start_peak() -> int:
    """Reset this process's memory peak to what is resident now; returns that, in bytes."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory() -> int:
    """The most that was resident since then, in bytes; 0 where there is no /proc."""
    return _status("VmHWM")


def _status(field: str) -> int:
    if not _STATUS.exists():
        return 0
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    model_dir, file, mib = sys.argv[1:]
    print(json.dumps(asdict(_check(Path(model_dir), Path(file), float(mib)))))  # noqa: T201
