"""What a worker keeps in memory between requests, and how it answers one."""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from flockoff import __version__
from flockoff.competition import BaseModel, Competition
from flockoff.errors import EvaluationFault
from flockoff.ports import OnProgress
from flockoff.records import ComputeDevice, EncodedRow, Influence, Measurement, Progress, Provenance
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.training.calibration import seconds_per_token
from flockoff.training.data import evaluation_name, evaluation_rows, sealed_rows
from flockoff.training.device import (
    choose_device,
    compute_device,
    compute_exactly,
    device_faults,
)
from flockoff.training.environment import library_versions
from flockoff.training.influence import row_influence
from flockoff.training.loss import RowLosses, row_losses
from flockoff.training.messages import Assignment, Ready, Request
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.rows import read_rows
from flockoff.training.trainer import OnStep, trained_adapter


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """``loss`` is the competition's; ``public`` is the public evaluation set's."""

    loss: float
    public: RowLosses
    sealed_loss: float | None


@dataclass(frozen=True, slots=True)
class Session:
    """The base model, its tokenizer and the evaluation sets of one competition."""

    competition: Competition
    model: LanguageModel
    encoder: TokenizerEncoder
    evaluation_set: Sequence[EncodedRow]
    sealed_set: Sequence[EncodedRow]  # empty where the competition has none
    seconds_per_token: float | None = None  # of training, where calibrated

    @classmethod
    def load(cls, assignment: Assignment) -> "Session":
        """Raises SetupError for what is missing, damaged or too large, WorkerFault as ``measure``."""
        competition, directory = assignment.competition, Path(assignment.model_dir)
        compute_exactly(assignment.threads)
        device = choose_device(assignment.device)
        encoder = load_encoder(directory, competition.training.context_length)
        rows = evaluation_rows(Path(assignment.evaluation_file), competition, encoder)
        sealed: Sequence[EncodedRow] = ()
        if competition.sealed is not None and assignment.sealed_file is not None:
            sealed = sealed_rows(Path(assignment.sealed_file), competition.sealed, encoder)
        with device_faults(device):
            model = load_model(directory, competition, device, assignment.saving)
            # A second on a GPU; on a CPU it would take as long as a small dataset.
            pace = seconds_per_token(model, competition) if device.type == "cuda" else None
        gc.freeze()  # the trainer collects garbage for each dataset: exclude what stays anyway
        return cls(competition, model, encoder, rows, sealed, pace)

    def measure(self, request: Request, on_progress: OnProgress) -> Measurement:
        """Measure what ``request`` asks for.

        Raises MinerFault, EvaluationFault for a loss that is not finite, and WorkerFault if memory runs out
        or the device fails.
        """
        with device_faults(self.model.device):
            if request.rows is None:
                return self._measure_base(on_progress)
            return self._measure_dataset(Path(request.rows), request.seed, on_progress)

    def influence(self, request: Request, on_progress: OnProgress) -> Influence:
        """Train as for a measurement, and tell what each row does for the public evaluation set's loss.

        Raises what ``measure`` does.
        """
        assert request.rows is not None, "only a dataset has rows"
        with device_faults(self.model.device):
            rows = read_rows(Path(request.rows))

            def on_rows(done: int, total: int) -> None:
                on_progress(Progress("evaluating", done, total))

            with trained_adapter(
                self.model, rows, self.competition, request.seed, _telling_steps(on_progress)
            ):
                found = row_influence(self.model, rows, self.evaluation_set, on_rows)
        if not all(map(isfinite, found)):
            raise EvaluationFault(
                "The rows' effect on the evaluation loss cannot be computed: its gradient is not finite.",
                remedy="Measure without --rows: the loss itself is probably not a number.",
            )
        return Influence(found)

    @property
    def device(self) -> ComputeDevice:
        return compute_device(self.model.device)

    @property
    def ready(self) -> Ready:
        paths = self.model.paths
        return Ready(self.device, paths.taken, paths.refused, self.seconds_per_token)

    def _measure_base(self, on_progress: OnProgress) -> Measurement:
        start = time.monotonic()
        evaluated = self._evaluate(on_progress)
        if not isfinite(evaluated.loss):
            raise EvaluationFault(
                f"Without any training the evaluation loss is {evaluated.loss}.",
                remedy="Delete the base model's files, to have them fetched again, and check the device.",
            )
        return Measurement(
            loss=evaluated.loss,
            eval_tokens=evaluated.public.tokens,
            train_rows=0,
            train_tokens=0,
            steps=0,
            seconds=time.monotonic() - start,
            provenance=self._provenance(0),
            row_nll=evaluated.public.nll,
            sealed_loss=evaluated.sealed_loss,
        )

    def _measure_dataset(self, file: Path, seed: int, on_progress: OnProgress) -> Measurement:
        start = time.monotonic()
        rows = read_rows(file)
        on_step = _telling_steps(on_progress)
        with trained_adapter(self.model, rows, self.competition, seed, on_step) as steps:
            evaluated = self._evaluate(on_progress)
        if not isfinite(evaluated.loss):
            # No dataset does that by itself: gradients are clipped, and a step is as long as the rules say.
            raise EvaluationFault(
                f"After training on this dataset the evaluation loss is {evaluated.loss}.",
                remedy="Where many datasets end so, the competition's training.learning_rate is too high, or "
                "the device computes wrongly.",
            )
        return Measurement(
            loss=evaluated.loss,
            eval_tokens=evaluated.public.tokens,
            train_rows=len(rows),
            train_tokens=sum(len(row.input_ids) for row in rows),
            steps=steps,
            seconds=time.monotonic() - start,
            provenance=self._provenance(seed),
            row_nll=evaluated.public.nll,
            sealed_loss=evaluated.sealed_loss,
        )

    def _evaluate(self, on_progress: OnProgress) -> _Evaluated:
        public = len(self.evaluation_set)
        total = public + len(self.sealed_set)

        def on_rows(done: int) -> None:
            on_progress(Progress("evaluating", done, total))

        losses = row_losses(self.model, self.evaluation_set, on_rows)
        if self.competition.sealed is None:
            return _Evaluated(losses.mean, losses, None)
        sealed = row_losses(self.model, self.sealed_set, lambda done: on_rows(public + done)).mean
        return _Evaluated(self.competition.sealed.blend(losses.mean, sealed), losses, sealed)

    def _provenance(self, seed: int) -> Provenance:
        return Provenance(
            code_version=__version__,
            libraries=library_versions(),
            device=self.device,
            precision=self.model.precision,
            base_model=_base_model_name(self.competition.base_model),
            evaluation_set=evaluation_name(self.competition),
            seed=seed,
        )


def _telling_steps(on_progress: OnProgress) -> OnStep:
    return lambda done, total, loss: on_progress(Progress("training", done, total, loss))


def _base_model_name(base: BaseModel) -> str:
    if base.package is None:
        return f"{base.repo}@{base.revision}"
    return f"{base.package}:{base.gguf_file}@{base.gguf_sha256}"
