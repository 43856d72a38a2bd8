"""A subnet as one public HTML page, from the chain and validators' published reports."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from markupsafe import Markup

from flockoff.report.files import FILE_NAME, write_whole
from flockoff.report.page import content_policy, embedded, environment, static
from flockoff.report.published import PublishedReport
from flockoff.standings import Standing, Standings, remarks
from flockoff.text import printable

NUMBERS = "standings.json"
_SCRIPTS = ("common.js", "board.js", "site.js")
_STYLES = ("page.css", "site.css")
_MATRIX_MINERS, _MATRIX_VALIDATORS = 64, 16
_SHADES = 9
_EPOCHS_OLD = 2  # a report that is older than these is out of date
_COMMITMENT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A line of the leaderboard. ``standing`` and ``label`` are the chip's, ``why`` the words beside it."""

    of: Standing
    commitment: str  # printable
    standing: str
    label: str
    why: str
    lowest: float | None  # of the weights that validators give it
    highest: float | None


def write_site(
    found: Standings, reports: Sequence[PublishedReport], rules: str, directory: Path
) -> tuple[Path, Path]:
    """Write the page and its numbers into ``directory``, each atomically; returns their paths. ``rules``: the
    competition's hash. Raises SetupError if they cannot be written.
    """
    page, numbers = directory / FILE_NAME, directory / NUMBERS
    write_whole(numbers, json.dumps(site_numbers(found, reports), indent=1) + "\n")
    write_whole(page, render_site(found, reports, rules))
    return page, numbers


def site_numbers(found: Standings, reports: Sequence[PublishedReport]) -> dict[str, object]:
    """Everything the page shows, and what it has no room for."""
    return asdict(found) | {"reports": [asdict(report) for report in reports]}


def render_site(found: Standings, reports: Sequence[PublishedReport], rules: str) -> str:
    """The page. Reports that are old, or made by others than these ``rules``, are marked."""
    voters = [each for each in found.validators if each.targets]
    return (
        environment()
        .get_template("site.html.j2")
        .render(
            found=found,
            rows=[_row(each, found) for each in found.miners],
            leaders=[each for each in found.miners if each.incentive and not each.burn][:5],
            voters=voters[:_MATRIX_VALIDATORS],
            more_voters=max(0, len(voters) - _MATRIX_VALIDATORS),
            matrix=[each for each in found.miners if each.weights][:_MATRIX_MINERS],
            heaviest=max((weight for each in found.miners for weight in each.weights.values()), default=0.0),
            reported=frozenset(hotkey for report in reports for hotkey in report.miners),
            reports=[report for report in reports if report.problem is None],
            unread=[report for report in reports if report.problem is not None],
            who={each.hotkey: each for each in found.validators},
            rules=rules,
            current=found.epoch_start - _EPOCHS_OLD * found.terms.tempo,
            remarks=remarks,
            shade=_shade,
            policy=content_policy(live=False, scripts=_SCRIPTS, styles=_STYLES),
            styles=[Markup(static(name)) for name in _STYLES],
            scripts=[Markup(static(name)) for name in _SCRIPTS],
            data=Markup(embedded({"madeAt": found.made_at})),
        )
    )


def _row(each: Standing, found: Standings) -> SiteRow:
    if each.burn:
        standing, label, why = "no_turn", "burn", "The owner's: the chain does not pay it out."
    elif each.problem is not None:
        standing, label, why = "at_fault", "does not count", printable(each.problem, 400)
    elif each.counts_from is None:
        standing, label, why = "no_turn", "no dataset", "Nothing is committed."
    elif each.counts_from > found.block:
        standing, label, why = "not_evaluated", "new", f"Counts from block {each.counts_from:,}."
    else:
        standing, label, why = "eligible", "counts", f"Committed in block {each.block:,}."
    weights = each.weights.values()
    return SiteRow(
        of=each,
        commitment=printable(each.commitment or "", _COMMITMENT_CHARACTERS),
        standing=standing,
        label=label,
        why=why,
        lowest=min(weights) if each.weights else None,
        highest=max(weights) if each.weights else None,
    )


def _shade(weight: float | None, top: float) -> int:
    """In steps of the style sheet, 0 for nothing; by the root, for small weights to differ, too."""
    return 0 if not weight or not top else max(1, round(_SHADES * math.sqrt(weight / top)))
