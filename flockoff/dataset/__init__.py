"""Datasets: format, content hash, duplicates, contamination. See README.md for the format."""

from flockoff.dataset.check import TOO_SMALL, Judgement, check_dataset, fault_of, judge_dataset, too_small
from flockoff.dataset.contamination import AnswerSearch, EvaluationAnswers, FoundAnswer, contamination_fault
from flockoff.dataset.content import ContentHasher, canonical_order, content_hash
from flockoff.dataset.duplicates import (
    Claim,
    duplicate_fault,
    owner_of,
    owners,
    same_loss_copies,
    same_loss_fault,
    same_loss_groups,
)
from flockoff.dataset.format import file_size, load_numbered_rows, load_rows, read_rows
from flockoff.dataset.mistakes import FormatCheck, Mistake, check_format
from flockoff.dataset.near_repeats import NearRepeat, NearRepeats
from flockoff.dataset.overlap import (
    Borrowed,
    BorrowedAnswer,
    Holding,
    Owner,
    Owners,
    borrowed,
    described_overlap,
    near_duplicate_fault,
    stands_against,
)
from flockoff.dataset.scripts import script_of
from flockoff.dataset.sealed import gain, gap_fault, public_loss, sealed_gap_fault, sealed_margin
from flockoff.dataset.sketch import Sketch, Sketcher

__all__ = [
    "TOO_SMALL",
    "AnswerSearch",
    "Borrowed",
    "BorrowedAnswer",
    "Claim",
    "ContentHasher",
    "EvaluationAnswers",
    "FormatCheck",
    "FoundAnswer",
    "Holding",
    "Judgement",
    "Mistake",
    "NearRepeat",
    "NearRepeats",
    "Owner",
    "Owners",
    "Sketch",
    "Sketcher",
    "borrowed",
    "canonical_order",
    "check_dataset",
    "check_format",
    "contamination_fault",
    "content_hash",
    "described_overlap",
    "duplicate_fault",
    "fault_of",
    "file_size",
    "gain",
    "gap_fault",
    "judge_dataset",
    "load_numbered_rows",
    "load_rows",
    "near_duplicate_fault",
    "owner_of",
    "owners",
    "public_loss",
    "read_rows",
    "same_loss_copies",
    "same_loss_fault",
    "same_loss_groups",
    "script_of",
    "sealed_gap_fault",
    "sealed_margin",
    "stands_against",
    "too_small",
]
