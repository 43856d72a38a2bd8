"""Claiming a dataset's content for the hotkey that committed it."""

from flockoff.dataset import Borrowed, Claim, duplicate_fault, owner_of, stands_against
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
    owners = ledger.owners()
    claim = Claim(dataset.content_hash, commitment.hotkey, commitment.block, commitment.uid)
    owner = owner_of([claim, ledger.owner(dataset.content_hash) or claim])
    if owner.hotkey != claim.hotkey:
        if stands_against(owner, claim, rules, owners):
            raise duplicate_fault(owner)
        owner = claim
    found = ledger.sketches.look(owner, dataset.sketch, rules, validator.public_sample, owners)
    ledger.remember_dataset(owner, commitment.model_id, dataset.sketch, epoch, found)
    return owner, found
