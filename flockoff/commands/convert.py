"""``flockoff convert``: converts other formats to the competition's."""

import csv
import json
import re
import shlex
import tempfile
import threading
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from flockoff import openers
from flockoff.commands.tables import console, outside, print_json
from flockoff.dataset import file_size
from flockoff.dataset.conversion import NotARow, row_of
from flockoff.dataset.format import foreign_format
from flockoff.errors import UsageError
from flockoff.flags import AsJson, file_option
from flockoff.hub import HubClient
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr
from flockoff.records import Row, is_repo_id
from flockoff.settings import read_credentials
from flockoff.text import counted, printable

_MAX_FIELD = 2**24  # characters of a CSV file's cell
_MAX_LINE = 2**26  # characters
_MAX_ARRAY = 2**29  # bytes of a JSON array, which is read whole
_BLANK = re.compile(r"\s*")
_SPLIT = "train"  # without files of that name: all
_NAMES_SHOWN = 10
_SUFFIXES = frozenset({".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt"})


def convert(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|OWNER/NAME", help="JSONL, a JSON array, CSV or Parquet; or a dataset on the Hub."
        ),
    ],
    out: Annotated[Path, file_option("--out", "-o", help="Where to write the dataset.")] = (
        Path("data/data.jsonl")
    ),
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Of a Hub dataset: files with this in their names.")
    ] = _SPLIT,
    max_download_mb: Annotated[
        int, typer.Option("--max_download_mb", metavar="MB", min=1, help="Of a Hub dataset, at most.")
    ] = 2000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert OpenAI messages, ShareGPT, Alpaca or question-answer pairs to the competition's format.

    \b
    flockoff convert chats.jsonl --out data/data.jsonl
    flockoff convert train.parquet
    flockoff convert hf://owner/name --split train

    Reports what it left out and why. Parquet needs pyarrow, part of a full installation. Exits with status 1
    if nothing could be converted.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        repo = _repo_of(source)
        if repo is None:
            file_size(Path(source))
        if out.exists() and not overwrite:
            raise UsageError(f"{out} already exists.", remedy="Name another file, or add --overwrite.")
        with closing(openers.open_hub(credentials, stop)) as hub:
            records = (
                _records(Path(source))
                if repo is None
                else _of_hub(repo, split, hub, max_download_mb * 1_000_000)
            )
            kept, dropped = _written(records, out, stop)
        if as_json:
            print_json({"out": str(out) if kept else None, "rows": kept, "dropped": dict(dropped)})
        else:
            _show(out, kept, dropped)
        return 0 if kept else 1

    raise typer.Exit(run(program))


def _repo_of(source: str) -> str | None:
    """The Hub dataset that is meant; None for a file here. Raises UsageError."""
    if source.startswith("hf://"):
        repo = source.removeprefix("hf://").removeprefix("datasets/").rstrip("/")
        if not is_repo_id(repo):
            raise UsageError(f"{source} names no dataset.", remedy="Give it as hf://owner/name.")
        return repo
    looks_like_a_file = Path(source).exists() or Path(source).suffix.lower() in _SUFFIXES
    return source if is_repo_id(source) and not looks_like_a_file else None


def _of_hub(repo: str, split: str, hub: HubClient, max_bytes: int) -> Iterator[object]:
    """The records of a Hub dataset, file by file; each is removed before the next is downloaded."""
    found = hub.record_files(repo)
    if not found:
        raise UsageError(
            f"{repo} has no file with records.", remedy="Known are Parquet, JSONL, JSON, CSV and TSV."
        )
    files = [file for file in found if split in file.path]
    if not files and split != _SPLIT:
        names = ", ".join(file.path for file in found[:_NAMES_SHOWN])
        raise UsageError(
            f"{repo} has no file of {split!r}.", remedy=f"Its files are {printable(names, 500)}."
        )
    files = files or found
    size = sum(file.size for file in files)
    if size > max_bytes:
        raise UsageError(
            f"{repo} has {size / 1e6:,.0f} MB in {counted(len(files), 'file')}.",
            remedy="Allow it with --max_download_mb, or name fewer of its files with --split.",
        )
    with tempfile.TemporaryDirectory(prefix="flockoff-convert-") as folder:
        for number, file in enumerate(files):
            target = Path(folder) / f"{number}{Path(file.path).suffix.lower()}"
            hub.fetch_records(file, target)
            yield from _records(target)
            target.unlink()


def _written(records: Iterator[object], out: Path, stop: threading.Event) -> tuple[int, Counter[str]]:
    """How many rows were written, and why the others were not. A failure leaves no file behind."""
    dropped: Counter[str] = Counter()
    kept = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for record in records:
                if stop.is_set():
                    raise KeyboardInterrupt
                try:
                    file.write(_line(row_of(record)))
                except NotARow as trouble:
                    dropped[str(trouble)] += 1
                else:
                    kept += 1
        if kept:
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return kept, dropped


def _line(row: Row) -> str:
    turns = [{"role": turn.role, "content": turn.content} for turn in row.turns]
    line = json.dumps({"system": row.system, "conversations": turns}, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        raise NotARow("a lone surrogate, which is no character") from None
    return line + "\n"


def _records(source: Path) -> Iterator[object]:
    """The records of a file, streamed except from a JSON array. Raises UsageError for other files."""
    with source.open("rb") as file:
        start = file.read(4096).removeprefix(BOM_UTF8).lstrip()
    if start.startswith(b"PAR1"):
        yield from _of_parquet(source)
        return
    if found := foreign_format(start):
        raise UsageError(f"{source} is {found}.", remedy="Unpack it, or save it as UTF-8.")
    try:
        if source.suffix.lower() in (".csv", ".tsv"):
            yield from _of_csv(source)
        elif start.startswith(b"["):
            if source.stat().st_size > _MAX_ARRAY:
                raise UsageError(
                    f"{source} is a JSON array of more than {_MAX_ARRAY // 2**20} MiB.",
                    remedy=f"Write one record a line: jq -c '.[]' {shlex.quote(str(source))} > records.jsonl",
                )
            yield from json.loads(source.read_text(encoding="utf-8-sig"))
        elif start.partition(b"\n")[0].rstrip() == b"{" and source.stat().st_size <= _MAX_ARRAY:
            yield from _of_spread_objects(source)
        else:
            yield from _of_lines(source)
    except UnicodeDecodeError:
        raise UsageError(f"{source} is not UTF-8 text.", remedy="Save it as UTF-8.") from None
    except (json.JSONDecodeError, RecursionError, csv.Error) as error:
        raise UsageError(
            f"{source} cannot be read: {error}.", remedy="Give JSONL, a JSON array, CSV or Parquet."
        ) from error


def _of_lines(source: Path) -> Iterator[object]:
    with source.open(encoding="utf-8-sig") as file:
        while line := file.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                raise UsageError(
                    f"{source} has a line of more than {_MAX_LINE // 2**20} million characters.",
                    remedy="Write one record a line.",
                )
            if line.strip():
                try:
                    yield json.loads(line)
                except (json.JSONDecodeError, RecursionError):
                    yield None  # counted as a record that is not a row


def _of_spread_objects(source: Path) -> Iterator[object]:
    """Objects that are written over several lines each."""
    text, decoder = source.read_text(encoding="utf-8-sig"), json.JSONDecoder()
    place = _after_blank(text, 0)
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value
        place = _after_blank(text, place)


def _after_blank(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _of_csv(source: Path) -> Iterator[object]:
    csv.field_size_limit(_MAX_FIELD)
    with source.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t" if source.suffix.lower() == ".tsv" else ",")


def _of_parquet(source: Path) -> Iterator[object]:
    require_installed("pyarrow")
    parquet, broken = import_module("pyarrow.parquet"), import_module("pyarrow").ArrowException
    try:
        for batch in parquet.ParquetFile(source).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except broken as error:
        said = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise UsageError(
            f"{source} cannot be read: {said}.", remedy="Download or write it again: it seems to be cut off."
        ) from error


def _show(out: Path, kept: int, dropped: Counter[str]) -> None:
    screen = console()
    for why, number in dropped.most_common():
        screen.print(outside(f"left out: {counted(number, 'record')}: {why}"), soft_wrap=True)
    if kept:
        screen.print(outside(f"{out}: {counted(kept, 'row')}. Next: flockoff check {out}"), soft_wrap=True)
    else:
        screen.print("Nothing could be converted: the format is in the README.")
