"""``flockoff replay``: checks that a number in the ledger can be reproduced."""

import threading
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from flockoff import openers
from flockoff.commands.ledgers import look, require_rules
from flockoff.commands.progress import progress_bar
from flockoff.commands.replaying import Comparison, compared, replayed
from flockoff.commands.tables import MISSING, console, duration, moment, outside, print_json, table
from flockoff.competition import Competition, load_competition
from flockoff.errors import UsageError
from flockoff.flags import AsJson, CacheDir, CompetitionFile, DataDir, Device, EvalDataDir
from flockoff.hub import HubClient
from flockoff.hub.datasets import cached_dataset
from flockoff.launch import require_installed, run
from flockoff.ledger import StoredEvaluation
from flockoff.logs import say_on_stderr
from flockoff.ports import ShouldStop
from flockoff.records import Evaluation, Measurement
from flockoff.settings import read_credentials
from flockoff.text import short_hotkey
from flockoff.training.evaluator import WorkerEvaluator

_LISTED = 20


@dataclass(frozen=True, slots=True)
class _Wish:
    """The command line's options."""

    competition: Competition
    data_dir: Path
    cache_dir: Path
    eval_data_dir: Path
    device: str | None


def replay(
    *,
    data_dir: DataDir,
    cache_dir: CacheDir,
    evaluation: Annotated[
        int | None,
        typer.Argument(metavar="[EVALUATION_ID]", help="An id from --list."),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="List the latest evaluations with their ids instead.")
    ] = False,
    competition: CompetitionFile,
    device: Device,
    eval_data_dir: EvalDataDir,
    as_json: AsJson = False,
) -> None:
    """Train a stored evaluation again from its provenance: is the number in the ledger the right one?

    \b
    flockoff replay --list
    flockoff replay 1234

    Reads the ledger of a validator, which may be running, and takes the dataset from that validator's folder
    or from the Hub. On the same machine with the same software the loss is equal to the last bit; elsewhere
    it agrees within 0.1 %, and differences are listed. Exits with status 0 if it agrees, else 1.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:

        if listing:
            with look(data_dir) as ledger:
                stored = ledger.views.evaluations(_LISTED)
            _list(stored, as_json=as_json)
            return 0
        if evaluation is None:
            raise UsageError("No evaluation id was given.", remedy="flockoff replay --list shows their ids.")
        require_installed("torch", "transformers", "peft", "trl")

        wish = _Wish(load_competition(competition), data_dir, cache_dir, eval_data_dir, device)
        found = _find(wish, evaluation)
        with closing(openers.open_hub(credentials, stop)) as hub:
            return _replay(wish, found, hub, stop.is_set, as_json=as_json)

    raise typer.Exit(run(program))


def _find(wish: _Wish, identifier: int) -> StoredEvaluation:

    with look(wish.data_dir) as ledger:
        require_rules(ledger, wish.competition)
        found = ledger.views.evaluation(identifier)
    if found is None:
        raise UsageError(
            f"There is no evaluation {identifier} in the ledger of {wish.data_dir}.",
            remedy="flockoff replay --list shows the latest ones' ids; those of old epochs are deleted.",
        )
    return found


def _replay(
    wish: _Wish,
    stored: StoredEvaluation,
    hub: HubClient,
    should_stop: ShouldStop,
    *,
    as_json: bool,
) -> int:

    evaluation, rules = stored.evaluation, wish.competition
    screen = console(stderr=True)
    dataset = _dataset(wish, evaluation, hub)
    evaluator = WorkerEvaluator(
        rules,
        model_dir=openers.model_directory(rules, hub, wish.cache_dir),
        evaluation_file=openers.evaluation_file(rules, hub, wish.eval_data_dir),
        sealed_file=openers.sealed_evaluation_file(rules, hub, wish.eval_data_dir),
        device=wish.device,
    )
    with closing(evaluator), progress_bar(screen, f"evaluation {stored.id}") as on_progress:
        again = replayed(evaluation, dataset, evaluator, on_progress, should_stop)
    comparison = compared(evaluation.measurement, again)
    if as_json:
        _print_json(stored, again, comparison)
    else:
        _show(stored, comparison)
    return 0 if comparison.agrees else 1


def _dataset(wish: _Wish, evaluation: Evaluation, hub: HubClient) -> Path:
    """The dataset from the validator's cache, or else from the hub. Raises as ``Hub.download``."""

    model_id = evaluation.model_id
    kept = cached_dataset(wish.data_dir / "datasets", model_id.namespace, model_id.commit)
    if kept is not None:
        return kept
    folder = wish.cache_dir / "replayed"
    return hub.download(
        model_id.namespace, model_id.commit, folder, max_bytes=wish.competition.limits.max_bytes
    )


def _list(stored: list[StoredEvaluation], *, as_json: bool) -> None:

    if as_json:
        print_json([asdict(each) for each in stored])
        return
    made = table(
        "Evaluations",
        words=("made (UTC)", "hotkey", "dataset"),
        numbers=("id", "epoch", "seed", "rows", "left out", "loss", "took"),
    )
    for each in stored:
        evaluation, measurement = each.evaluation, each.evaluation.measurement
        made.add_row(
            moment(each.recorded_at),
            short_hotkey(evaluation.hotkey),
            outside(evaluation.model_id.namespace, 40),
            str(each.id),
            str(evaluation.epoch),
            str(measurement.provenance.seed),
            f"{measurement.train_rows:,}",
            f"{len(evaluation.left_out):,}",
            f"{measurement.loss:.6f}",
            duration(measurement.seconds),
        )
    console().print(made)


def _print_json(stored: StoredEvaluation, again: Measurement, comparison: Comparison) -> None:

    print_json(
        {
            "id": stored.id,
            "evaluation": asdict(stored.evaluation),
            "again": asdict(again),
            "agrees": comparison.agrees,
            **asdict(comparison),
        }
    )


def _show(stored: StoredEvaluation, comparison: Comparison) -> None:

    screen = console()
    evaluation = stored.evaluation
    screen.print(f"evaluation {stored.id}: {outside(str(evaluation.model_id))}, epoch {evaluation.epoch}")
    screen.print(f"loss then {comparison.then!r}, now {comparison.now!r}")
    if comparison.bit_for_bit:
        screen.print("It agrees bit for bit.")
    else:
        row = comparison.largest_row_change
        rows = MISSING if row is None else f"{row:.1e}"
        verdict = "It agrees" if comparison.agrees else "It does not agree"
        screen.print(f"{verdict}: the loss is {comparison.change:+.1e} off, an evaluation row up to {rows}.")
    if comparison.differences:
        made = table("Differences", words=("what", "then", "now"), numbers=())
        for each in comparison.differences:
            made.add_row(outside(each.what), outside(each.then), outside(each.now))
        screen.print(made)
    elif not comparison.bit_for_bit:
        screen.print(
            "No difference in machine, software or training explains it: the ledger's number is wrong,"
        )
        screen.print("the rules have changed, or this machine's arithmetic is not reproducible.")
