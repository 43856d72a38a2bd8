"""Check files that libFuzzer makes by what code they reach, with the same rules as ``fuzz_check.py``.

    uv run --with atheris python -m tests.fuzz.fuzz_check_atheris -runs=100000 CORPUS

atheris has wheels for Linux only. In an empty CORPUS folder the first files of ``fuzz_check.py`` are put, to
start from. A file that breaks a rule is left in the working directory as ``crash-…``; add it to
``test_fuzz_dataset.py``.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

_SEEDS = 300


def main() -> None:
    with atheris.instrument_imports(include=["flockoff.dataset", "json.decoder", "json.scanner"]):
        from tests.support.dataset_fuzz import examine, file_of
    corpus = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for folder in corpus:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            for number in range(_SEEDS):
                (folder / f"file-{number}").write_bytes(file_of(number))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data.jsonl")
        atheris.Setup(sys.argv, lambda content: examine(content, path) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
