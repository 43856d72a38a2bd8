"""Evaluation sets, and the order in which training takes rows."""

import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from flockoff.competition import Competition, Limits, SealedSet
from flockoff.dataset import load_rows
from flockoff.errors import MinerFault, SetupError
from flockoff.pinned import PinnedFile
from flockoff.ports import RowEncoder
from flockoff.records import EncodedRow


def evaluation_rows(file: Path, competition: Competition, encoder: RowEncoder) -> list[EncodedRow]:
    """The rows of the evaluation set, encoded. Raises SetupError where it is not the pinned one."""
    evaluation = competition.evaluation
    return _pinned_rows(file, "evaluation set", evaluation.sha256, evaluation.rows, encoder)


def sealed_rows(file: Path, sealed: SealedSet, encoder: RowEncoder) -> list[EncodedRow]:
    """The rows of the sealed evaluation set, encoded. Raises SetupError where it is not the pinned one."""
    return _pinned_rows(file, "sealed evaluation set", sealed.sha256, None, encoder)


def _pinned_rows(
    file: Path, name: str, pinned: str, count: int | None, encoder: RowEncoder
) -> list[EncodedRow]:
    PinnedFile(file, pinned, f"competition's {name}").check(
        "Restore the file, or correct its sha256 in the competition file."
    )
    try:
        rows = load_rows(file, Limits(), encoder.special_tokens)[:count]
        encoded = encoder.encode(rows)
    except MinerFault as error:
        raise SetupError(f"The {name} is not a valid dataset. {error.message}") from error
    if not any(any(row.assistant) for row in encoded):
        raise SetupError(f"The {name} has no assistant token within the context.")
    return encoded


def evaluation_name(competition: Competition) -> str:
    """The evaluation data's name in a provenance: the evaluation set's SHA-256, ``[:n]`` where only n rows
    are used, and the sealed set's weight and SHA-256 where there is one.
    """
    evaluation, sealed = competition.evaluation, competition.sealed
    public = evaluation.sha256 if evaluation.rows is None else f"{evaluation.sha256}[:{evaluation.rows}]"
    return public if sealed is None else f"{public} + {sealed.weight!r} sealed {sealed.sha256}"


def epoch_order(lengths: Sequence[int], seed: int, epoch: int, rows_per_step: int) -> list[int]:
    """The row order of one training epoch, as indices into the canonical order.

    Row i of epoch e sorts by BLAKE2b-256(seed ‖ e ‖ i), three u64 LE, so no library's random numbers are
    involved. Within an optimizer step, where order does not matter, rows are sorted by length.
    """
    order = sorted(
        range(len(lengths)),
        key=lambda row: blake2b(struct.pack("<3Q", seed, epoch, row), digest_size=32).digest(),
    )
    steps = (order[first : first + rows_per_step] for first in range(0, len(order), rows_per_step))
    return [row for step in steps for row in sorted(step, key=lambda row: (-lengths[row], row))]
