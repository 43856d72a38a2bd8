"""``flockoff score``: measures a dataset as a validator would."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flockoff import openers
from flockoff.commands.compared import download_named
from flockoff.commands.measuring import (
    CheckedFile,
    Measurements,
    expected_seconds,
    extremes,
    gains,
    measured,
    spread,
)
from flockoff.commands.progress import progress_bar
from flockoff.commands.row_help import HOW_SURE, GroupHelp, RowCensus, RowFacts, advice, ends, groupings
from flockoff.commands.tables import MISSING, console, duration, outside, print_json, table
from flockoff.competition import Competition, load_competition
from flockoff.dataset import (
    TOO_SMALL,
    NearRepeat,
    file_size,
    judge_dataset,
    load_numbered_rows,
    load_rows,
    too_small,
)
from flockoff.epoch.contest import later_beats
from flockoff.flags import AsJson, CacheDir, CompetitionFile, DatasetFile, Device, EvalDataDir
from flockoff.hub import HubClient
from flockoff.launch import require_installed, run
from flockoff.logs import say_on_stderr
from flockoff.ports import OnProgress, ShouldStop
from flockoff.records import Measurement
from flockoff.settings import read_credentials
from flockoff.text import counted
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.rows import in_training_order

_EXTREMES = 3  # rows shown at each end
_REPEATS = 10  # shown


@dataclass(frozen=True, slots=True)
class _Wish:
    """The command line's options."""

    dataset: Path
    against: str | None
    seeds: tuple[int, ...]
    competition: Competition
    cache_dir: Path
    eval_data_dir: Path
    device: str | None
    rows: bool


@dataclass(frozen=True, slots=True)
class _RowReport:
    """What the dataset's rows are and do, for ``--rows``."""

    facts: Sequence[RowFacts]
    repeats: Sequence[NearRepeat]
    values: Mapping[int, float]  # by line

    @property
    def groupings(self) -> dict[str, list[GroupHelp]]:
        return groupings(self.facts, self.values)


def score(
    *,
    dataset: DatasetFile,
    cache_dir: CacheDir,
    competition: CompetitionFile,
    seed: Annotated[int, typer.Option("--seed", min=0, help="An epoch's seed, to reproduce its loss.")] = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Measure under this many seeds, from --seed on.")
    ] = 1,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="REPO@COMMIT", help="Who would win against this dataset?"),
    ] = None,
    rows: Annotated[
        bool,
        typer.Option("--rows", help="Also tell which rows help, and which repeat others; trains once more."),
    ] = False,
    device: Device,
    eval_data_dir: EvalDataDir,
    as_json: AsJson = False,
) -> None:
    """Train on a dataset and measure the loss it leaves: a validator's number, to the last bit.

    \b
    flockoff score data.jsonl
    flockoff score data.jsonl --rows
    flockoff score data.jsonl --seeds 5 --against ann/data@0123456789abcdef0123456789abcdef01234567

    --rows groups the dataset's own rows by place, length, kind and script, from most helpful to harmful: how
    far learning them lowers the evaluation loss, at the end of the training under --seed.

    It needs the training packages, and a GPU to be fast. Results are cached: an interrupted run resumes with
    the next seed.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        require_installed("torch", "transformers", "peft", "trl")

        file_size(dataset)
        rules = load_competition(competition)
        # Miners have no sealed set: only the public one's loss can be measured.
        wish = _Wish(
            dataset,
            against,
            tuple(range(seed, seed + seeds)),
            replace(rules, sealed=None),
            cache_dir,
            eval_data_dir,
            device,
            rows,
        )
        with closing(openers.open_hub(credentials, stop)) as hub:
            return _score(wish, hub, stop, as_json=as_json)

    raise typer.Exit(run(program))


def _score(wish: _Wish, hub: HubClient, stop: threading.Event, *, as_json: bool) -> int:

    rules = wish.competition
    screen = console(stderr=as_json)
    evaluation_file = openers.evaluation_file(rules, hub, wish.eval_data_dir)
    directory = openers.model_directory(rules, hub, wish.cache_dir)
    encoder = load_encoder(directory, rules.training.context_length)
    census = RowCensus()
    candidates = list(_candidates(wish, hub, encoder, evaluation_file, census))
    evaluator = WorkerEvaluator(
        rules, model_dir=directory, evaluation_file=evaluation_file, device=wish.device
    )
    with closing(evaluator):
        with progress_bar(screen, "base model") as on_progress:
            base = evaluator.base_loss(on_progress=on_progress, should_stop=stop.is_set)
        kept = Measurements(wish.cache_dir / "measurements", rules, base)
        _announce(screen, wish, candidates, base, kept, _tokens_in(evaluation_file, rules, encoder))
        results: dict[str, list[Measurement]] = {candidate.name: [] for candidate in candidates}
        for seed in wish.seeds:
            for candidate in candidates:
                with progress_bar(screen, f"{candidate.name}, seed {seed}") as on_progress:
                    results[candidate.name].append(
                        measured(candidate, seed, evaluator, kept, on_progress, stop.is_set)
                    )
        report = None
        if wish.rows:
            with progress_bar(screen, "rows") as on_progress:
                report = _row_report(
                    wish, candidates[0], census, encoder, evaluator, on_progress, stop.is_set
                )
    if as_json:
        print_json(
            _losses_json(wish, base, results) | ({} if report is None else {"rows": _rows_json(report)})
        )
    else:
        _show(screen, wish, base, results)
        if report is not None:
            _show_own_rows(screen, report, wish.seeds[0])
        took = sum(each.seconds for each in results[candidates[0].name])
        screen.print(f"{duration(took)} of training and measuring; the results are cached.")
    return 0


def _candidates(
    wish: _Wish, hub: HubClient, encoder: TokenizerEncoder, evaluation_file: Path, census: RowCensus
) -> Iterator[CheckedFile]:
    """The dataset, and the one to compare it with. Raises MinerFault for an invalid one."""

    rules = wish.competition
    answers = openers.open_answers(evaluation_file, rules, encoder)
    files = {str(wish.dataset): wish.dataset}
    if wish.against is not None:
        files[wish.against] = download_named(wish.against, hub, wish.cache_dir, rules)
    for name, file in files.items():
        visitors = [census.add] if wish.rows and file is wish.dataset else []
        judgement = judge_dataset(
            file, rules.limits, rules.contamination, encoder, answers, visitors=visitors
        )
        if judgement.fault is not None:
            raise judgement.fault
        yield CheckedFile(name, file, judgement)


def _row_report(
    wish: _Wish,
    dataset: CheckedFile,
    census: RowCensus,
    encoder: TokenizerEncoder,
    evaluator: WorkerEvaluator,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> _RowReport:
    report, left_out = dataset.judgement.report, dataset.judgement.left_out
    influence = evaluator.influence(
        dataset.path,
        dataset.content_hash,
        wish.seeds[0],
        tokens=report.tokens,
        left_out=left_out,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    numbered = load_numbered_rows(dataset.path, wish.competition.limits, encoder.special_tokens)
    values = dict(zip(in_training_order(numbered, left_out), influence.rows, strict=True))
    by_line = {line: values[row] for line, row in numbered if row in values}
    return _RowReport(census.rows, census.near_repeats(), by_line)


def _tokens_in(evaluation_file: Path, rules: Competition, encoder: TokenizerEncoder) -> int:

    rows = load_rows(evaluation_file, rules.limits, encoder.special_tokens)[: rules.evaluation.rows]
    return sum(len(row.input_ids) for row in encoder.encode(rows))


def _announce(
    screen: Console,
    wish: _Wish,
    candidates: list[CheckedFile],
    base: Measurement,
    kept: Measurements,
    evaluation_tokens: int,
) -> None:

    left = [
        candidate for candidate in candidates for seed in wish.seeds if kept.find(candidate, seed) is None
    ]
    training = wish.competition.training
    seconds = sum(
        expected_seconds(candidate.judgement.report.tokens, training.epochs, base, evaluation_tokens)
        for candidate in left
    )
    screen.print(f"base model: loss {base.loss:.6f} on {base.provenance.device}")
    for candidate in candidates:
        report, out = candidate.judgement.report, len(candidate.judgement.left_out)
        screen.print(
            f"{outside(candidate.name)}: {counted(report.rows, 'row')}, {counted(report.tokens, 'token')}"
            + (f", {counted(out, 'row')} left out of training" if out else "")
        )
        if too_small(report.rows - out, training):
            screen.print(TOO_SMALL)
    if left:
        screen.print(f"{counted(len(left), 'evaluation')} to make, about {duration(seconds)}.")


def _kinds(wish: _Wish, rows: int) -> list[str]:
    """Each evaluation row's kind; all the same if unknown."""
    file = wish.eval_data_dir / "kinds.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return lines[:rows] if len(lines) >= rows else ["all"] * rows


def _losses_json(wish: _Wish, base: Measurement, results: dict[str, list[Measurement]]) -> dict[str, object]:

    output: dict[str, object] = {"base": asdict(base), "seeds": wish.seeds}
    for name, measurements in results.items():
        mean, deviation = spread(each.loss for each in measurements)
        found = gains(base, measurements, _kinds(wish, len(base.row_nll)))
        output[name] = {
            "loss": mean,
            "deviation": deviation,
            "change": mean / base.loss - 1,
            "measurements": [asdict(each) for each in measurements],
            "kinds": [asdict(gain) for gain in found],
        }
    return output


def _show(screen: Console, wish: _Wish, base: Measurement, results: dict[str, list[Measurement]]) -> None:

    made = table("Loss after training", words=("dataset",), numbers=("loss", "change", "deviation", "seeds"))
    for name, measurements in results.items():
        mean, deviation = spread(each.loss for each in measurements)
        shown = MISSING if deviation is None else f"{deviation:.6f} ({deviation / mean:.3%})"
        made.add_row(
            outside(name), f"{mean:.6f}", f"{mean / base.loss - 1:+.2%}", shown, str(len(measurements))
        )
    screen.print(made)
    own = results[str(wish.dataset)]
    _show_rows(screen, wish, base, own)
    if wish.against is not None:
        _show_duel(screen, wish, own, results[wish.against])


def _show_rows(screen: Console, wish: _Wish, base: Measurement, own: list[Measurement]) -> None:

    found = gains(base, own, _kinds(wish, len(base.row_nll)))
    if not found:
        return
    made = table("What it helps", words=("kind of evaluation row",), numbers=("rows", "helped", "loss"))
    for gain in found:
        made.add_row(gain.kind, str(gain.rows), str(gain.helped), f"{gain.change:+.2%}")
    screen.print(made)
    ends = extremes(base, own, _EXTREMES)
    lines = ", ".join(f"line {line} {change:+.1%}" for line, change in ends)
    screen.print(f"evaluation rows changed most, for better and worse: {lines}")


def _rows_json(report: _RowReport) -> dict[str, object]:

    best, worst = ends(report.facts, report.values)
    return {
        "groups": {
            name: [asdict(group) | {"verdict": group.verdict} for group in groups]
            for name, groups in report.groupings.items()
        },
        "best_lines": best,
        "worst_lines": worst,
        "near_repeats": [asdict(each) for each in report.repeats],
        "lines": [asdict(row) | {"value": report.values.get(row.line)} for row in report.facts],
    }


def _show_own_rows(screen: Console, report: _RowReport, seed: int) -> None:

    for name, groups in report.groupings.items():
        made = table(
            f"Which rows help, by {name}", words=(name,), numbers=("rows", "tokens", "help"), last="so it"
        )
        for group in groups:
            spread_of = "" if group.error is None else f" ± {2 * group.error:.3f}"
            made.add_row(
                group.name,
                f"{group.rows:,}",
                f"{group.share:.1%}",
                f"{group.help:+.3f}{spread_of}",
                group.verdict,
            )
        screen.print(made)
    best, worst = ends(report.facts, report.values)
    for what, lines in (("most", best), ("least, or harm", worst)):
        if lines:
            screen.print(f"lines that help {what}: {', '.join(f'{line:,}' for line in lines)}")
    if report.repeats:
        shown = ", ".join(f"{each.line:,} ≈ {each.earlier:,}" for each in report.repeats[:_REPEATS])
        more = len(report.repeats) - _REPEATS
        screen.print(
            f"{counted(len(report.repeats), 'row')} nearly repeat an earlier one: lines {shown}"
            + (f" and {more:,} more" if more > 0 else ""),
            soft_wrap=True,
        )
    screen.print(HOW_SURE.format(seed=seed), soft_wrap=True)
    for line in advice(report.groupings, worst, report.repeats):
        screen.print(line, soft_wrap=True)


def _show_duel(screen: Console, wish: _Wish, own: list[Measurement], other: list[Measurement]) -> None:

    rules = wish.competition.scoring
    won = sum(later_beats(mine.loss, rival.loss, rules) for mine, rival in zip(own, other, strict=True))
    earlier = sum(
        not later_beats(rival.loss, mine.loss, rules) for mine, rival in zip(own, other, strict=True)
    )
    name = outside(wish.against or "")
    screen.print(
        f"Committed later than {name}, it wins under {won} of {counted(len(own), 'seed')} "
        f"(epsilon {rules.timestamp_epsilon:g});"
    )
    screen.print(f"had it been committed first, under {earlier} of {len(own)}.")
