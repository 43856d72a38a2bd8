"""From dataset files to padded batches of tokens, in an order that the content and the seed decide."""

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path

import torch

from flockoff.competition import Competition, Limits
from flockoff.dataset import canonical_order, content_hash, load_rows
from flockoff.errors import EvaluationFault, MinerFault, Reason, SetupError
from flockoff.ports import RowEncoder
from flockoff.records import EncodedRow

IGNORED = -100  # label of a position that does not count in the loss


def training_rows(dataset: Path, expected_hash: str, limits: Limits, encoder: RowEncoder) -> list[EncodedRow]:
    """The dataset's rows in canonical order, encoded.

    ``expected_hash`` is that of a valid dataset: what is not valid any more was changed on this machine.
    Raises EvaluationFault for that, MinerFault for rows that the base model can learn nothing from.
    """
    try:
        rows = load_rows(dataset, limits, encoder.special_tokens)
    except MinerFault as error:
        raise EvaluationFault(
            f"The dataset {dataset.name} changed after it was checked, and is not valid now: {error.message}"
        ) from error
    if (actual := content_hash(rows)) != expected_hash:
        raise EvaluationFault(
            f"The dataset {dataset.name} changed after it was checked: its content hash is {actual}, "
            f"not {expected_hash}."
        )
    encoded = encoder.encode(canonical_order(rows))
    if not all(any(row.assistant) for row in encoded):
        raise MinerFault(
            Reason.NOTHING_TO_LEARN, "A row has no token of an assistant's turn within the context."
        )
    return encoded


def evaluation_rows(file: Path, competition: Competition, encoder: RowEncoder) -> list[EncodedRow]:
    """The rows of the evaluation set, encoded. Raises SetupError where it is not the pinned one."""
    evaluation = competition.evaluation
    try:
        digest = sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise SetupError(f"Cannot read the evaluation set {file}: {error.strerror}.") from error
    if digest != evaluation.sha256:
        raise SetupError(
            f"{file} is not the competition's evaluation set: its SHA-256 is {digest}, "
            f"not {evaluation.sha256}.",
            remedy="Restore the file, or correct evaluation.sha256 in the competition file.",
        )
    try:
        rows = load_rows(file, Limits(), encoder.special_tokens)[: evaluation.rows]
    except MinerFault as error:
        raise SetupError(f"The evaluation set is not a valid dataset. {error.message}") from error
    encoded = encoder.encode(rows)
    if not any(any(row.assistant) for row in encoded):
        raise SetupError("The evaluation set has no assistant token within the context.")
    return encoded


def evaluation_name(competition: Competition) -> str:
    """The evaluation set as a provenance names it: its SHA-256, and ``[:n]`` where n rows of it are used."""
    evaluation = competition.evaluation
    return evaluation.sha256 if evaluation.rows is None else f"{evaluation.sha256}[:{evaluation.rows}]"


def epoch_order(lengths: Sequence[int], seed: int, epoch: int, rows_per_step: int) -> list[int]:
    """The order in which one pass takes the rows: places in the canonical order.

    Row i of epoch e comes by BLAKE2b-256(seed ‖ e ‖ i), three u64 LE, so no library's random numbers are
    in it. Within an optimizer step, where order means nothing, long rows are put beside long ones.
    """
    order = sorted(
        range(len(lengths)),
        key=lambda row: blake2b(struct.pack("<3Q", seed, epoch, row), digest_size=32).digest(),
    )
    steps = (order[first : first + rows_per_step] for first in range(0, len(order), rows_per_step))
    return [row for step in steps for row in sorted(step, key=lambda row: (-lengths[row], row))]


def labels_of(row: EncodedRow) -> list[int]:
    """The tokens that count in the loss, at their own places; IGNORED elsewhere."""
    return [token if counts else IGNORED for token, counts in zip(row.input_ids, row.assistant, strict=True)]


def padded(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``labels``, each (n_rows, n_tokens), padded on the right.

    No attention mask: under causal attention no token sees the padding behind it.
    """
    shape = (len(rows), max(len(row["input_ids"]) for row in rows))
    batch = {"input_ids": torch.zeros(shape, dtype=torch.long), "labels": torch.full(shape, IGNORED)}
    for name, tensor in batch.items():
        for place, row in enumerate(rows):
            tensor[place, : len(row[name])] = torch.tensor(row[name])
    return batch
