"""``flockoff check``: everything that a validator would hold against a dataset."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flockoff import openers
from flockoff.commands.tables import console, outside, print_json
from flockoff.competition import Competition, load_competition
from flockoff.dataset import (
    TOO_SMALL,
    Borrowed,
    Claim,
    EvaluationAnswers,
    FormatCheck,
    FoundAnswer,
    Holding,
    Judgement,
    Sketcher,
    borrowed,
    check_dataset,
    check_format,
    fault_of,
    file_size,
    judge_dataset,
    near_duplicate_fault,
    too_small,
)
from flockoff.errors import UsageError
from flockoff.flags import AsJson, CacheDir, CompetitionFile
from flockoff.hub import HubClient
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.records import DatasetReport
from flockoff.settings import read_credentials
from flockoff.text import counted
from flockoff.tokens import TokenizerEncoder

_LINES_SHOWN = 20
_BAR = 30  # characters
_SKETCH_KEY = b"flockoff check"  # the two sketches of one run are compared with each other only


def check(
    *,
    dataset: Annotated[Path, typer.Argument(metavar="FILE", help="The dataset, a JSONL file.")],
    cache_dir: CacheDir,
    competition: CompetitionFile,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="REPO@COMMIT", help="Also look for rows of this dataset in it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a dataset as a validator will: format, limits, contamination; with line numbers and reasons.

    \b
    flockoff check data.jsonl
    flockoff check data.jsonl --against ann/data@0123456789abcdef0123456789abcdef01234567

    Ends with status 1 for a dataset that a validator would reject.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets, level=logging.INFO)

    def program(stop: threading.Event) -> int:
        rules = load_competition(competition)
        form = check_format(dataset, rules.limits)  # before anything is fetched
        if form.problems:
            _show_mistakes(dataset, form, as_json=as_json)
            return 1
        with closing(openers.open_hub(credentials, stop)) as hub:
            encoder = openers.open_encoder(rules, hub, cache_dir)
            answers = openers.answers_here(rules, hub, encoder)
            other = _download(against, hub, cache_dir, rules) if against else None
            judgement, common = _judged(dataset, other, rules, encoder, answers)
        fault = judgement.fault or _overlap_fault(common, judgement, rules)
        if as_json:
            told: dict[str, object] = {"valid": fault is None, "fault": str(fault) if fault else None}
            told |= {"left_out": judgement.left_out, "answers": [asdict(each) for each in judgement.answers]}
            told |= asdict(judgement.report)
            told["too_small"] = _is_too_small(judgement, rules)
            if common is not None:
                told["overlap"] = {"share": common.share, "lines": common.lines}
            print_json(told)
        else:
            _show(dataset, judgement, common, fault, checked_for_answers=answers is not None)
            if fault is None and _is_too_small(judgement, rules):
                console().print(TOO_SMALL)
        return 0 if fault is None else 1

    raise typer.Exit(run(program))


def _show_mistakes(dataset: Path, form: FormatCheck, *, as_json: bool) -> None:
    shown = form.problems[:_LINES_SHOWN]
    report = DatasetReport(
        form.rows, file_size(dataset), 0, 0, 0, None, problems=shown, problem_count=len(form.problems)
    )
    if as_json:
        told: dict[str, object] = {"valid": False, "fault": str(fault_of(report))}
        told |= {"left_out": (), "answers": ()}
        print_json(told | asdict(report) | {"mistakes": [asdict(each) for each in form.mistakes]})
        return
    screen = console()
    for mistake in form.mistakes[:_LINES_SHOWN]:
        screen.print(outside(str(mistake)), soft_wrap=True)
    if len(form.mistakes) > _LINES_SHOWN:
        screen.print(f"… and {len(form.mistakes) - _LINES_SHOWN:,} more kinds")
    bad = len(form.problems)
    screen.print(
        outside(
            f"{dataset} is not valid: {counted(bad, 'problem')} in {counted(form.rows, 'row')}. "
            "The README has the format; tokens and contamination are checked once it is kept to."
        ),
        soft_wrap=True,
    )


def _download(against: str, hub: HubClient, cache_dir: Path, rules: Competition) -> Path:
    repo, separator, commit = against.partition("@")
    if not separator:
        raise UsageError(f"{against!r} names no commit.", remedy="Give it as REPO@COMMIT, 40 hex digits.")
    return hub.download(repo, commit, cache_dir / "compared", max_bytes=rules.limits.max_bytes)


def _judged(
    dataset: Path,
    other: Path | None,
    rules: Competition,
    encoder: TokenizerEncoder,
    answers: EvaluationAnswers | None,
) -> tuple[Judgement, Borrowed | None]:
    """The judgement, and what the dataset has in common with ``other`` where there is one."""

    sketcher = Sketcher(_SKETCH_KEY)
    visitors = [sketcher.add] if other is not None else []
    judgement = judge_dataset(dataset, rules.limits, rules.contamination, encoder, answers, visitors=visitors)
    if other is None or judgement.report.content_hash is None:
        return judgement, None
    theirs = Sketcher(_SKETCH_KEY)
    report = check_dataset(other, rules.limits, encoder, [theirs.add])
    earlier = Claim(report.content_hash or "", "the other's owner", 0, order=0)
    mine = Claim(judgement.report.content_hash, "you", 1, order=0)
    if report.content_hash == mine.content_hash:
        raise UsageError("The two datasets are the same, row for row.", remedy="Compare with another one.")
    return judgement, borrowed(sketcher.sketch(), mine, [Holding(earlier, theirs.sketch())], rules.overlap)


def _overlap_fault(common: Borrowed | None, judgement: Judgement, rules: Competition) -> Exception | None:

    if common is None:
        return None
    left = judgement.report.rows - len({*judgement.left_out, *common.lines})
    return near_duplicate_fault(common, rules.overlap, rows_left=left)


def _is_too_small(judgement: Judgement, rules: Competition) -> bool:
    return too_small(judgement.report.rows - len(judgement.left_out), rules.training)


def _show(
    dataset: Path,
    judgement: Judgement,
    common: Borrowed | None,
    fault: Exception | None,
    *,
    checked_for_answers: bool,
) -> None:

    screen = console()
    for line in _lines(dataset, judgement, common, fault):
        screen.print(outside(line), soft_wrap=True)
    if judgement.report.valid and not checked_for_answers:
        screen.print("The competition's evaluation set is not here, so contamination was not checked.")


def _lines(
    dataset: Path, judgement: Judgement, common: Borrowed | None, fault: Exception | None
) -> Iterator[str]:
    report = judgement.report
    for problem in report.problems:
        place = f"line {problem.line}" if problem.line else "file"
        yield f"{place}: {problem.reason}: {problem.detail}"
    if report.problem_count > len(report.problems):
        yield f"… and {report.problem_count - len(report.problems):,} more"
    if not report.valid:
        yield f"{dataset} is not valid. Every line must be one whole JSON object; the README has the format."
        return
    yield from _histogram(report)
    yield from _answers(judgement.answers)
    if report.cut_rows:
        lines = _named(report.cut_lines, report.cut_rows)
        yield f"{counted(report.cut_rows, 'row')} cut at the context: {lines}."
    if report.repeated_rows:
        yield f"{counted(report.repeated_rows, 'row')} repeat others: they count as often as they are there."
    if common is not None:
        yield f"{common.share:.1%} of the assistant's tokens are the other dataset's, or nearly."
        if common.lines:
            yield f"Not trained on, should that one be committed earlier: {_named(common.lines)}."
    if fault is not None:
        yield str(fault)
        return
    yield (
        f"{dataset} is valid: {counted(report.rows, 'row')}, {counted(report.tokens, 'token')}, "
        f"{report.assistant_tokens:,} of them the assistant's."
    )


def _answers(answers: tuple[FoundAnswer, ...]) -> Iterator[str]:
    if not answers:
        return
    yield "These rows hold answers of the evaluation set and are not trained on. Remove them:"
    for found in answers[:_LINES_SHOWN]:
        alone = "" if found.whole else ", with more in other rows, or of other answers in this one"
        yield f"line {found.line}: {found.share:.0%} of an answer in the set's row {found.row}{alone}"
    if len(answers) > _LINES_SHOWN:
        yield f"… and {len(answers) - _LINES_SHOWN:,} more"


def _histogram(report: DatasetReport) -> Iterator[str]:
    most = max(report.lengths, default=0)
    shown = [place for place, count in enumerate(report.lengths) if count]
    if not shown:
        return
    yield "tokens a row"
    for place in range(shown[0], shown[-1] + 1):
        count = report.lengths[place]
        low = 2 ** (place - 1) + 1 if place else 1
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        yield f"{low:>6,} to {2**place:>6,}  {bar} {count:,}"


def _named(lines: tuple[int, ...], count: int | None = None) -> str:
    """``count``: of all of them, where ``lines`` are only the first."""
    shown = lines[:_LINES_SHOWN]
    left = (len(lines) if count is None else count) - len(shown)
    more = f" and {left:,} more" if left else ""
    return f"line{'s' if len(shown) + left > 1 else ''} {', '.join(map(str, shown))}{more}"
