"""Getting datasets ready ahead of their evaluation: downloaded, checked, in threads of their own."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from flockoff.dataset import Sketch, Sketcher, described_overlap, judge_dataset, near_duplicate_fault
from flockoff.errors import Interrupted
from flockoff.ports import RowEncoder
from flockoff.records import Commitment, EncodedRow, Epoch, Row
from flockoff.validate.setting import Validator

_DOWNLOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset that is on this machine, valid and not contaminated."""

    path: Path
    content_hash: str
    rows: int
    tokens: int  # of one pass
    sketch: Sketch
    left_out: tuple[int, ...] = ()  # 1-based lines that are not to be trained on
    note: str = ""  # why, for the miner


class Preparation:
    """Prepares datasets while others are evaluated: downloads a few at a time, checks one at a time.

    Leaving its context waits for nothing: weights are due, and what still arrives is there the next time.
    """

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._pool = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="prepare")
        self._checking = threading.Lock()  # a check takes a core and up to 200 MB
        self._key = validator.ledger.sketches.key  # asked for here: the ledger has a thread of its own

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, commitment: Commitment) -> "Future[Prepared]":
        """Its result, or MinerFault, HubError's kinds, SetupError for the disk, Interrupted."""
        return self._pool.submit(self._prepare, commitment)

    def _prepare(self, commitment: Commitment) -> Prepared:
        rules = self._validator.competition
        model_id = commitment.model_id
        path = self._validator.datasets.get(
            model_id.namespace, model_id.commit, max_bytes=rules.limits.max_bytes
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
            )
            if judgement.fault is not None:
                raise judgement.fault
            sketch = sketcher.sketch()
        report = judgement.report
        assert report.content_hash is not None  # no fault
        return Prepared(path, report.content_hash, report.rows, report.tokens, sketch, judgement.left_out)


def without_borrowed(validator: Validator, epoch: Epoch, dataset: Prepared) -> Prepared:
    """A claimed dataset with the rows that belong to others left out.

    Raises MinerFault (NEAR_DUPLICATE) where that is too much of it, or all.
    """
    rules = validator.competition.overlap
    claim = validator.ledger.owner(dataset.content_hash)
    assert claim is not None, "a dataset is claimed before it is looked at"
    sketches = validator.ledger.sketches
    found = sketches.look(claim, dataset.sketch, rules, validator.public_sample)
    sketches.remember(dataset.content_hash, dataset.sketch, epoch.start_block, found)
    left_out = tuple(sorted({*dataset.left_out, *found.lines}))
    fault = near_duplicate_fault(found, rules, rows_left=dataset.rows - len(left_out))
    if fault is not None:
        raise fault
    if not found.answers:
        return dataset
    return replace(
        dataset, left_out=left_out, note=f"{described_overlap(found)} These rows were not trained on."
    )


class _StoppableEncoder:
    """An encoder that gives up when the program is asked to stop: a check can take many seconds."""

    def __init__(self, encoder: RowEncoder, stop: threading.Event) -> None:
        self.special_tokens = encoder.special_tokens
        self._encoder = encoder
        self._stop = stop

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        if self._stop.is_set():
            raise Interrupted
        return self._encoder.encode(rows)
