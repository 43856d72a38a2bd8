"""Downloads and checks datasets ahead of their evaluation, in threads."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from flockoff.dataset import Sketch, Sketcher, judge_dataset
from flockoff.errors import Interrupted
from flockoff.ports import RowEncoder
from flockoff.records import EncodedRow, ModelId, Row
from flockoff.validate.validator import Validator

_DOWNLOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on this machine, valid and not contaminated."""

    path: Path
    content_hash: str
    rows: int
    tokens: int  # per pass
    bytes: int
    sketch: Sketch
    left_out: tuple[int, ...] = ()  # 1-based lines not to train on
    note: str = ""  # why, for the miner


class Preparer:
    """Downloads and checks datasets, for whichever threads ask it; checks one at a time."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._checking = threading.Lock()  # a check takes a core and up to 200 MB
        self._key = validator.ledger.sketches.key  # read here: the ledger is bound to this thread

    def prepare(self, model_id: ModelId, *, needed: bool = True) -> Dataset:
        """Raises MinerFault, HubError's kinds, SetupError for the disk, Interrupted.

        ``needed``: whether its file must stay on the disk for the epoch.
        """
        rules = self._validator.competition
        path = self._validator.datasets.get(
            model_id.namespace, model_id.commit, max_bytes=rules.limits.max_bytes, needed=needed
        )
        with self._checking:
            encoder = _StoppableEncoder(self._validator.encoder, self._validator.stop)
            sketcher = Sketcher(self._key)
            judgement = judge_dataset(
                path,
                rules.limits,
                rules.contamination,
                encoder,
                self._validator.answers,
                self._validator.sealed_answers,
                [sketcher.add],
                thorough=False,
            )
            if judgement.fault is not None:
                raise judgement.fault
            sketch = sketcher.sketch()
        report = judgement.report
        assert report.content_hash is not None  # no fault
        return Dataset(
            path,
            report.content_hash,
            report.rows,
            report.tokens,
            report.bytes,
            sketch,
            judgement.left_out,
        )


class Preparation:
    """Prepares datasets while others are evaluated: downloads a few at a time.

    Leaving its context waits for nothing: weights are due, and what still arrives is there the next time.
    """

    def __init__(self, validator: Validator) -> None:
        self._preparer = Preparer(validator)
        self._pool = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="prepare")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, model_id: ModelId) -> "Future[Dataset]":
        """Its result, or what ``Preparer.prepare`` raises."""
        return self._pool.submit(self._preparer.prepare, model_id)


class _StoppableEncoder:
    """An encoder that aborts when the program is asked to stop: a check can take many seconds."""

    def __init__(self, encoder: RowEncoder, stop: threading.Event) -> None:
        self.special_tokens = encoder.special_tokens
        self._encoder = encoder
        self._stop = stop

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        if self._stop.is_set():
            raise Interrupted
        return self._encoder.encode(rows)
