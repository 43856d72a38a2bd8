"""The loss with a sealed evaluation set: both sets' own losses, by the stated weight, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from flockoff.competition import SealedSet
from flockoff.errors import SetupError
from flockoff.records import Measurement
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.messages import Assignment, Request, decode_assignment, encode_assignment
from flockoff.training.rows import training_rows, write_rows
from tests.support.tiny_model import row, rules, write_dataset

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

WEIGHT = 0.3
ROWS = [row(f"Say {n}.", "yes " * n) for n in range(1, 9)]

Measure = Callable[..., Measurement]


@pytest.fixture(scope="module")
def sealed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "sealed.jsonl"
    write_dataset(path, [row(f"And {n}?", "no " * n + "never") for n in range(1, 4)])
    return path


def sealed_by(file: Path, weight: float = WEIGHT) -> SealedSet:
    digest = sha256(file.read_bytes()).hexdigest()
    return SealedSet(repo="lab/sealed", commit="c" * 40, sha256=digest, weight=weight)


def assignment_of(model_dir: Path, file: Path, sealed_file: Path | None = None) -> Assignment:
    competition = replace(rules(file), sealed=sealed_by(sealed_file) if sealed_file else None)
    sealed = str(sealed_file) if sealed_file else None
    return Assignment(competition, str(model_dir), str(file), "cpu", 1, sealed_file=sealed)


@pytest.fixture(scope="module")
def measure(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """The base model, and a dataset, measured on the evaluation sets given; returns the progress as well."""
    from flockoff.training.session import Session

    dataset = tmp_path_factory.mktemp("dataset") / "data.jsonl"
    content_hash = write_dataset(dataset, ROWS)

    def run(*files: Path, train: bool) -> Measurement:
        session = Session.load(assignment_of(model_dir, *files))
        encoded = training_rows(dataset, content_hash, session.competition.limits, session.encoder)
        write_rows(encoded, dataset.with_suffix(".npz"))
        request = Request(str(dataset.with_suffix(".npz")), seed=7) if train else Request()
        return session.measure(request, lambda _: None)

    return run


@pytest.mark.parametrize("train", [False, True])
def test_sealed_set_counts_its_weight_of_the_loss(
    measure: Measure, evaluation_file: Path, sealed_file: Path, train: bool
) -> None:
    public, sealed = measure(evaluation_file, train=train), measure(sealed_file, train=train)
    both = measure(evaluation_file, sealed_file, train=train)
    assert public.sealed_loss is None
    assert public.loss != sealed.loss
    assert both.sealed_loss == sealed.loss
    assert both.loss == (1 - WEIGHT) * public.loss + WEIGHT * sealed.loss
    assert (both.eval_tokens, both.train_tokens) == (public.eval_tokens, public.train_tokens)


def test_sealed_set_and_its_weight_are_named_in_the_provenance(
    measure: Measure, evaluation_file: Path, sealed_file: Path
) -> None:
    alone = measure(evaluation_file, train=False).provenance.evaluation_set
    both = measure(evaluation_file, sealed_file, train=False).provenance.evaluation_set
    assert alone == sha256(evaluation_file.read_bytes()).hexdigest()
    assert both == f"{alone} + 0.3 sealed {sealed_by(sealed_file).sha256}"


def test_sealed_set_that_is_not_the_pinned_one_is_the_operators_to_mend(
    model_dir: Path, evaluation_file: Path, sealed_file: Path, tmp_path: Path
) -> None:
    from flockoff.training.session import Session

    other = tmp_path / "other.jsonl"
    other.write_bytes(evaluation_file.read_bytes())
    assignment = replace(assignment_of(model_dir, evaluation_file, sealed_file), sealed_file=str(other))
    with pytest.raises(SetupError, match="not the competition's sealed evaluation set"):
        Session.load(assignment)


def test_sealed_set_reaches_the_worker(model_dir: Path, evaluation_file: Path, sealed_file: Path) -> None:
    assignment = assignment_of(model_dir, evaluation_file, sealed_file)
    decoded = decode_assignment(encode_assignment(assignment))
    assert decoded.competition.sealed == assignment.competition.sealed
    assert decoded.sealed_file == str(sealed_file)


def test_sealed_set_and_its_file_go_together(
    model_dir: Path, evaluation_file: Path, sealed_file: Path
) -> None:
    plain = rules(evaluation_file)
    for competition, file in ((plain, sealed_file), (replace(plain, sealed=sealed_by(sealed_file)), None)):
        with pytest.raises(ValueError, match="sealed"):
            WorkerEvaluator(
                competition, model_dir=model_dir, evaluation_file=evaluation_file, sealed_file=file
            )
