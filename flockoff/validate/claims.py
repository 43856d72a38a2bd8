"""Claiming a dataset's content for the hotkey that committed it."""

from flockoff.dataset import Borrowed, Claim, duplicate_fault, owner_of, stands_against
from flockoff.errors import MinerFault
from flockoff.records import Commitment
from flockoff.validate.preparation import Dataset
from flockoff.validate.validator import Validator


def claim_content(
    validator: Validator, commitment: Commitment, dataset: Dataset, epoch: int
) -> tuple[Claim, Borrowed]:
    """Store the hotkey's claim on the dataset, and what of it is known to belong to others. ``epoch``: the
    start block of the epoch in which it is seen. Raises MinerFault if the whole content is another's.
    """
    ledger, rules = validator.ledger, validator.competition.overlap
    claim = Claim(dataset.content_hash, commitment.hotkey, commitment.block, commitment.uid)
    owner = _owner(validator, claim)
    if owner.hotkey != claim.hotkey:
        raise duplicate_fault(owner)
    found = ledger.sketches.look(owner, dataset.sketch, rules, validator.public_sample, ledger.owners())
    ledger.remember_dataset(owner, commitment.model_id, dataset.sketch, epoch, found)
    return owner, found


def copied_content(validator: Validator, commitment: Commitment, content_hash: str) -> MinerFault | None:
    """The fault of a hotkey whose whole content is by now known as another's; None where it is its own."""
    claim = Claim(content_hash, commitment.hotkey, commitment.block, commitment.uid)
    owner = _owner(validator, claim)
    return None if owner.hotkey == claim.hotkey else duplicate_fault(owner)


def _owner(validator: Validator, claim: Claim) -> Claim:
    """The first claim of ``claim``'s content, or ``claim`` itself where that does not stand against it."""
    ledger = validator.ledger
    first = owner_of([claim, ledger.owner(claim.content_hash) or claim])
    if first.hotkey == claim.hotkey or stands_against(
        first, claim, validator.competition.overlap, ledger.owners()
    ):
        return first
    return claim
