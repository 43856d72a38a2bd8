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
from flockoff.chain import WalletRef, hotkey_address
from flockoff.commands.compared import SKETCH_KEY, Compared, committed_on, download_named, known_datasets
from flockoff.commands.progress import progress_line
from flockoff.commands.subnets import read_snapshot
from flockoff.commands.tables import console, outside, print_json, reason
from flockoff.competition import Competition, load_competition
from flockoff.dataset import (
    TOO_SMALL,
    Borrowed,
    Claim,
    FormatCheck,
    FoundAnswer,
    Holding,
    Judgement,
    Sketcher,
    borrowed,
    check_dataset,
    check_format,
    duplicate_fault,
    fault_of,
    file_size,
    judge_dataset,
    near_duplicate_fault,
    owner_of,
    too_small,
)
from flockoff.errors import MinerFault, SetupError, UsageError
from flockoff.flags import (
    AsJson,
    CacheDir,
    CompetitionFile,
    DatasetFile,
    Endpoint,
    Network,
    WalletHotkey,
    WalletName,
    WalletPath,
)
from flockoff.hub import HubClient
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.records import DatasetReport
from flockoff.settings import read_credentials
from flockoff.text import counted, secrets_in
from flockoff.tokens import TokenizerEncoder

_LINES_SHOWN = 20
_BAR = 30  # characters


def check(
    *,
    dataset: DatasetFile,
    cache_dir: CacheDir,
    wallet_path: WalletPath,
    competition: CompetitionFile,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="REPO@COMMIT", help="Also look for rows of this dataset."),
    ] = None,
    netuid: Annotated[
        int | None,
        typer.Option(
            "--netuid",
            min=0,
            max=2**16 - 1,
            help="Also look for rows of everything public that is committed on this subnet.",
        ),
    ] = None,
    network: Network,
    endpoint: Endpoint,
    wallet_name: WalletName,
    wallet_hotkey: WalletHotkey,
    max_download_mb: Annotated[
        int,
        typer.Option(
            "--max_download_mb", metavar="MB", min=1, help="Of a subnet's datasets, at most; cached."
        ),
    ] = 2000,
    as_json: AsJson = False,
) -> None:
    """Check a dataset as a validator will: format, limits, contamination; with line numbers and reasons.

    \b
    flockoff check data.jsonl
    flockoff check data.jsonl --netuid 96
    flockoff check data.jsonl --against ann/data@0123456789abcdef0123456789abcdef01234567

    --netuid compares with what the subnet's miners have committed and made public, by the validators' own
    rule: whose rows these are already. What the wallet's hotkey has committed itself does not count. Exits
    with status 1 for a dataset that a validator would reject.
    """
    credentials = read_credentials()
    secrets = credentials.secrets | secrets_in(network) | secrets_in(endpoint or "")
    say_on_stderr(secrets, level=logging.INFO)

    def program(stop: threading.Event) -> int:
        rules = load_competition(competition)
        form = check_format(dataset, rules.limits)  # before anything is downloaded
        if form.problems:
            _show_mistakes(dataset, form, as_json=as_json)
            return 1
        with closing(openers.open_hub(credentials, stop)) as hub:
            encoder = openers.open_encoder(rules, hub, cache_dir)
            answers = openers.answers_here(rules, hub, encoder)
            sketcher = Sketcher(SKETCH_KEY)
            judgement = judge_dataset(
                dataset, rules.limits, rules.contamination, encoder, answers, visitors=[sketcher.add]
            )
            others = None
            if judgement.report.content_hash is not None and against is not None:
                others = _named_other(against, hub, encoder, cache_dir, rules)
            elif judgement.report.content_hash is not None and netuid is not None:
                snapshot = read_snapshot(netuid, network, endpoint, stop)
                with progress_line(console(stderr=True), "datasets of the subnet") as on_progress:
                    others = known_datasets(
                        committed_on(snapshot, rules),
                        hub,
                        encoder,
                        rules,
                        cache_dir / "compared",
                        max_download_mb * 1_000_000,
                        stop,
                        on_progress,
                    )
        own = _own_hotkey(WalletRef(wallet_name, wallet_hotkey, wallet_path))
        common, copy = _in_common(judgement, sketcher, others, own, rules)
        fault = judgement.fault or copy or _overlap_fault(common, judgement, rules)
        if as_json:
            output: dict[str, object] = {"valid": fault is None, "fault": str(fault) if fault else None}
            output |= {
                "left_out": judgement.left_out,
                "answers": [asdict(each) for each in judgement.answers],
            }
            output |= asdict(judgement.report)
            output["too_small"] = _is_too_small(judgement, rules)
            if common is not None:
                output["overlap"] = {"share": common.share, "lines": common.lines} | _told_others(
                    others, common
                )
            print_json(output)
        else:
            _show(dataset, judgement, common, fault, others, checked_for_answers=answers is not None)
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
        output: dict[str, object] = {"valid": False, "fault": str(fault_of(report))}
        output |= {"left_out": (), "answers": ()}
        print_json(output | asdict(report) | {"mistakes": [asdict(each) for each in form.mistakes]})
        return
    screen = console()
    for mistake in form.mistakes[:_LINES_SHOWN]:
        screen.print(outside(str(mistake)), soft_wrap=True)
    if len(form.mistakes) > _LINES_SHOWN:
        screen.print(f"… and {len(form.mistakes) - _LINES_SHOWN:,} more kinds")
    screen.print(
        outside(
            f"{dataset} is not valid: {form.count}. "
            "The README has the format; tokens and contamination are checked once the format is right."
        ),
        soft_wrap=True,
    )


def _named_other(
    against: str, hub: HubClient, encoder: TokenizerEncoder, cache_dir: Path, rules: Competition
) -> Compared:
    file = download_named(against, hub, cache_dir, rules)
    sketcher = Sketcher(SKETCH_KEY)
    report = check_dataset(file, rules.limits, encoder, [sketcher.add])
    if report.content_hash is None:
        raise UsageError(f"{against} is not a valid dataset.", remedy="Compare with another one.")
    claim = Claim(report.content_hash, against, 0, order=0)
    return Compared((Holding(claim, sketcher.sketch()),), {}, {})


def _own_hotkey(wallet: WalletRef) -> str:
    try:
        return hotkey_address(wallet)
    except SetupError:
        return "you"  # whoever has no wallet here has committed nothing


def _in_common(
    judgement: Judgement, sketcher: Sketcher, others: Compared | None, own: str, rules: Competition
) -> tuple[Borrowed | None, MinerFault | None]:
    """What of the dataset is in the others, and the fault of one that is a whole copy."""
    content = judgement.report.content_hash
    if others is None or content is None:
        return None, None
    last = max((each.claim.block for each in others.holdings), default=0)
    mine = Claim(content, own, last + 1, order=0)
    same = [each.claim for each in others.holdings if each.claim.content_hash == content]
    theirs = [claim for claim in same if claim.hotkey != own]
    copy = duplicate_fault(owner_of(theirs)) if theirs and len(theirs) == len(same) else None
    return borrowed(sketcher.sketch(), mine, others.holdings, rules.overlap), copy


def _told_others(others: Compared | None, common: Borrowed) -> dict[str, object]:
    if others is None:
        return {}
    owners = [
        {
            "hotkey": claim.hotkey,
            "uid": others.committed[claim.hotkey].uid if claim.hotkey in others.committed else None,
            "block": claim.block,
            "share": share,
        }
        for claim, share in common.owners()
    ]
    return {"compared": len(others.holdings), "left_out": dict(others.left_out), "owners": owners}


def _overlap_fault(common: Borrowed | None, judgement: Judgement, rules: Competition) -> MinerFault | None:

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
    others: Compared | None,
    *,
    checked_for_answers: bool,
) -> None:

    screen = console()
    uids = {} if others is None else {hotkey: each.uid for hotkey, each in others.committed.items()}
    for line in _lines(dataset, judgement, common, fault, others):
        screen.print(reason(line, uids), soft_wrap=True)
    if judgement.report.valid and not checked_for_answers:
        screen.print("The competition's evaluation set is not here, so contamination was not checked.")


def _lines(
    dataset: Path,
    judgement: Judgement,
    common: Borrowed | None,
    fault: Exception | None,
    others: Compared | None,
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
        repeat = "repeats" if report.repeated_rows == 1 else "repeat"
        yield f"{counted(report.repeated_rows, 'row')} {repeat} others: each counts as often as it is there."
    if common is not None and others is not None:
        yield from _whose(common, others)
    if fault is not None:
        yield str(fault)
        return
    yield (
        f"{dataset} is valid: {counted(report.rows, 'row')}, {counted(report.tokens, 'token')}, "
        f"{report.assistant_tokens:,} of them the assistant's."
    )


def _whose(common: Borrowed, others: Compared) -> Iterator[str]:
    if not others.committed and len(others.holdings) == 1:  # one that was named
        yield f"{common.share:.1%} of the assistant's tokens are the other dataset's, or nearly."
        if common.lines:
            yield f"Not trained on, should that one be committed earlier: {_named(common.lines)}."
        return
    yield f"compared with {counted(len(others.holdings), 'public dataset')} of the subnet"
    for why, count in others.left_out.items():
        yield f"not compared with {counted(count, 'more', 'more')}: {why}"
    for claim, share in common.owners()[:_LINES_SHOWN]:
        there = others.committed[claim.hotkey]
        where = f"{there.model_id.namespace}, committed in block {claim.block:,}"
        yield f"{share:.1%} of the assistant's tokens are {claim.hotkey}'s: {where}"
    if common.lines:
        yield f"Not trained on, being theirs: {_named(common.lines)}."


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
    """``count``: of all lines, if ``lines`` are only the first."""
    shown = lines[:_LINES_SHOWN]
    left = (len(lines) if count is None else count) - len(shown)
    more = f" and {left:,} more" if left else ""
    return f"line{'s' if len(shown) + left > 1 else ''} {', '.join(map(str, shown))}{more}"
