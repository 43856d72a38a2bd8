"""One pipeline in a separate process, to measure its peak memory; it runs on request.

``start`` is the asking side. As a program: ``python -m tests.bench.training.contestant PIPELINE`` reads an
assignment from the first line of its input, then a dataset and a seed a line, and answers in lines of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from flockoff.flags import PROJECT_ROOT
from flockoff.training.environment import current_environment
from flockoff.training.messages import Assignment, decode_assignment, encode_assignment


class Contestant:
    """The asking side of one process."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._requests, self._replies = process.stdin, process.stdout
        self._log = log

    def tell(self, line: str) -> None:
        self._requests.write(line + "\n")
        self._requests.flush()

    def ask(self, dataset: Path, seed: int) -> dict[str, Any]:
        """The pipeline's result, with ``seconds``, ``cpu`` (seconds of all threads) and ``memory``, in bytes:
        the process's peak so far.
        """
        self.tell(json.dumps([str(dataset), seed]))
        reply = self._replies.readline()
        if not reply:
            raise SystemExit(f"A pipeline ended early:\n{self._log.read_text(encoding='utf-8')[-2000:]}")
        result: dict[str, Any] = json.loads(reply)
        return result


@contextmanager
def start(pipeline: str, assignment: Assignment, log: Path) -> Iterator[Contestant]:
    """The process of ``pipeline``, gone when the context ends. What it says besides goes to ``log``.

    Ours has the environment of a validator's worker, the others the one that this process was given.
    """
    command = [sys.executable, "-m", "tests.bench.training.contestant", pipeline]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            cwd=PROJECT_ROOT,
            env=current_environment(assignment.device) if pipeline.startswith("ours") else None,
            text=True,
            encoding="utf-8",
        )
        try:
            contestant = Contestant(process, log)
            contestant.tell(encode_assignment(assignment))
            yield contestant
        finally:
            process.kill()
            process.communicate()


def peak_memory() -> int:
    """Bytes that this process had resident at most, or on its GPU where it has one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(name: str, requests: TextIO, replies: TextIO) -> None:
    from tests.bench.training.pipelines import PIPELINES

    pipeline = PIPELINES[name](decode_assignment(requests.readline()))
    for line in requests:
        dataset, seed = json.loads(line)
        begun, cpu_begun = time.perf_counter(), time.process_time()
        result = pipeline(Path(dataset), seed)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
        replies.write(json.dumps(result | {"seconds": seconds, "cpu": cpu, "memory": peak_memory()}) + "\n")
        replies.flush()


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    serve(sys.argv[1], sys.stdin, answers)
