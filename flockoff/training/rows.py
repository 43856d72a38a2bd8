"""A dataset's rows as a worker reads them: encoded, in canonical order, in one file. Imports no torch.

They are encoded outside the worker, so that the next dataset is ready when a device becomes free.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from flockoff.competition import Limits
from flockoff.dataset import canonical_order, content_hash, load_numbered_rows
from flockoff.errors import EvaluationFault, MinerFault, Reason
from flockoff.ports import RowEncoder
from flockoff.records import EncodedRow, Row


def training_rows(
    dataset: Path, expected_hash: str, limits: Limits, encoder: RowEncoder, left_out: Collection[int] = ()
) -> list[EncodedRow]:
    """The dataset's rows in canonical order, encoded; without those on the 1-based lines ``left_out``, and
    copies of them.

    ``expected_hash``: the content hash of the whole, valid dataset. Raises EvaluationFault if the file was
    changed on this machine since, MinerFault if the base model can learn nothing from its rows or all are
    left out.
    """
    try:
        numbered = load_numbered_rows(dataset, limits, encoder.special_tokens)
    except MinerFault as error:
        raise EvaluationFault(
            f"The dataset {dataset.name} changed after it was checked and is now invalid: {error.message}"
        ) from error
    if (actual := content_hash(row for _, row in numbered)) != expected_hash:
        raise EvaluationFault(
            f"The dataset {dataset.name} changed after it was checked: its content hash is {actual}, "
            f"not {expected_hash}."
        )
    rows = in_training_order(numbered, left_out)
    if not rows:
        raise MinerFault(
            Reason.NOTHING_TO_LEARN,
            "All rows of this dataset are left out of the training, since they hold answers of the evaluation"
            " set.",
            remedy="Commit rows of your own.",
        )
    encoded = encoder.encode(rows)
    if not all(any(row.assistant) for row in encoded):
        raise MinerFault(
            Reason.NOTHING_TO_LEARN,
            "A row has no assistant token within the context.",
            remedy="Shorten what comes before the answer, and commit again.",
        )
    return encoded


def in_training_order(numbered: Sequence[tuple[int, Row]], left_out: Collection[int] = ()) -> list[Row]:
    """The rows in canonical order, without those on the lines ``left_out`` and copies of them."""
    without = set(left_out)
    excluded = {row for line, row in numbered if line in without}
    return canonical_order([row for _, row in numbered if row not in excluded])


def write_rows(rows: Sequence[EncodedRow], file: Path) -> None:
    """Write encoded rows to ``file``, without where they were cut."""
    with file.open("wb") as stream:
        np.savez(
            stream,
            lengths=np.array([len(row.input_ids) for row in rows], dtype=np.int32),
            input_ids=np.concatenate([np.array(row.input_ids, dtype=np.int32) for row in rows]),
            assistant=np.concatenate([np.array(row.assistant, dtype=np.bool_) for row in rows]),
        )


def read_rows(file: Path) -> list[EncodedRow]:
    """The inverse of ``write_rows``."""
    with np.load(file, allow_pickle=False) as stored:
        ends = np.cumsum(stored["lengths"])[:-1]
        input_ids = np.split(stored["input_ids"], ends)
        assistant = np.split(stored["assistant"], ends)
    return [
        EncodedRow(tuple(ids.tolist()), tuple(counts.tolist()))
        for ids, counts in zip(input_ids, assistant, strict=True)
    ]
