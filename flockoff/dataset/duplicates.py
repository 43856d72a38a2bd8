"""Who owns a dataset: the hotkey that committed its content first."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from flockoff.errors import MinerFault, Reason


@dataclass(frozen=True, slots=True)
class Claim:
    """A hotkey's claim on a content that it committed.

    ``order`` breaks ties within a block: the extrinsic's index, or the uid where that is not known;
    the same kind in all claims that are compared.
    """

    content_hash: str
    hotkey: str
    block: int
    order: int

    @property
    def seniority(self) -> tuple[int, int, str]:
        """The smallest of several is the earliest."""
        return self.block, self.order, self.hotkey


def owner_of(claims: Iterable[Claim]) -> Claim:
    """The claim with the lowest block, then the lowest order, of at least one on one content. An owner that
    commits its content again holds several claims; the first counts.
    """
    return min(claims, key=lambda claim: claim.seniority)


def owners(claims: Iterable[Claim]) -> dict[str, Claim]:
    """The owner's claim by content hash."""
    found: dict[str, Claim] = {}
    for claim in claims:
        found[claim.content_hash] = owner_of((claim, found.get(claim.content_hash, claim)))
    return found


def duplicate_fault(owner: Claim) -> MinerFault:
    """The fault of a hotkey whose content ``owner`` committed before."""
    return MinerFault(
        Reason.DUPLICATE,
        f"The dataset is a copy of what hotkey {owner.hotkey} committed in block {owner.block}: "
        "the same rows, in whatever order.",
        remedy="Commit a dataset of your own.",
        copied=(owner.hotkey,),
    )


def same_loss_groups(losses: Mapping[str, float], tolerance_relative: float) -> list[tuple[str, ...]]:
    """Hotkeys whose datasets left the same loss under the same seed, each group in order of loss then hotkey.

    ``losses``: nats per token by hotkey, one per dataset, all finite (ValueError otherwise). Two losses are
    the same when they differ by at most ``tolerance_relative`` times the larger one. The relation is
    transitive: if a equals b and b equals c, all three are one group even if a and c differ by more, so that
    a copy cannot escape its group by way of another copy. Groups of one are left out.
    """
    if not all(map(math.isfinite, losses.values())):
        raise ValueError(f"every loss must be finite: {dict(losses)}")
    groups: list[list[str]] = []
    previous = math.inf
    for loss, hotkey in sorted((loss, hotkey) for hotkey, loss in losses.items()):
        if math.isclose(loss, previous, rel_tol=tolerance_relative, abs_tol=0.0):
            groups[-1].append(hotkey)
        else:
            groups.append([hotkey])
        previous = loss
    return [tuple(group) for group in groups if len(group) > 1]


def same_loss_copies(
    losses: Mapping[str, float],
    claims: Mapping[str, Claim],
    tolerance_relative: float,
    base_loss: float | None = None,
    lapsed: Collection[str] = (),
) -> dict[str, Claim]:
    """The claim that each copy copies, by the copy's hotkey: all of a group except its earliest committer.

    ``claims``: by hotkey, of each hotkey in ``losses`` the claim on the dataset that was measured.
    ``base_loss``: the base model's, if known. A dataset that leaves it unchanged was too small to train
    anything (``check.too_small``), which is no evidence of copying. ``lapsed``: hotkeys whose claims do not
    stand. None of them owns what another of its group may own, nor is it a copy of what came after it.
    """
    if base_loss is not None:
        losses = {
            hotkey: loss
            for hotkey, loss in losses.items()
            if not math.isclose(loss, base_loss, rel_tol=tolerance_relative, abs_tol=0.0)
        }
    copies: dict[str, Claim] = {}
    for group in same_loss_groups(losses, tolerance_relative):
        standing = [hotkey for hotkey in group if hotkey not in lapsed]
        owner = owner_of(claims[hotkey] for hotkey in standing or group)
        copies |= {hotkey: owner for hotkey in group if claims[hotkey].seniority > owner.seniority}
    return copies


def same_loss_fault(owner: Claim) -> MinerFault:
    """The fault of a hotkey whose dataset leaves the same loss as ``owner``'s."""
    return MinerFault(
        Reason.SAME_LOSS,
        f"The dataset leaves the very same loss as the one that hotkey {owner.hotkey} committed in block "
        f"{owner.block}, under the same seed.",
        remedy="Commit a dataset of your own.",
        copied=(owner.hotkey,),
    )
