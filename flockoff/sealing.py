"""The life of a sealed evaluation set, from its owner's file to public verification."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from flockoff.competition import Competition, SealedSet, load_competition
from flockoff.dataset import (
    AnswerSearch,
    EvaluationAnswers,
    FoundAnswer,
    fault_of,
    judge_dataset,
    load_rows,
    sealed_margin,
)
from flockoff.errors import MinerFault, SetupError, UsageError
from flockoff.files import hand_written, remedy_for
from flockoff.hub import HubClient
from flockoff.hub.files import digest_of
from flockoff.ports import RowEncoder

_LINES_SHOWN = 10
_TABLE = re.compile(r"^\[sealed\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|\Z))*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Examined:
    """A valid file that shares nothing with the public evaluation set.

    ``margin``: how much a dataset's gain on the public set may exceed its gain on this one, as a fraction of
    the base model's loss, before it counts as contaminated.
    """

    sha256: str
    rows: int
    assistant_tokens: int
    margin: float


def examine(file: Path, public: Path, rules: Competition, weight: float, encoder: RowEncoder) -> Examined:
    """Examine ``file`` as a sealed set beside the evaluation set ``public``. Each is searched for the other's
    answers, like a dataset. Raises UsageError for a file that is not valid or shares a row, with the lines.
    """
    try:
        known = load_rows(public, rules.limits, encoder.special_tokens)
    except MinerFault as fault:
        raise UsageError(
            f"The public evaluation set is not valid under these rules: {fault.message}",
            remedy="Nothing can be sealed beside it: name another in [evaluation].",
        ) from fault
    try:
        judgement = judge_dataset(file, rules.limits, rules.contamination, encoder, EvaluationAnswers(known))
        if not judgement.report.valid:
            raise fault_of(judgement.report)
        back = AnswerSearch(
            EvaluationAnswers(load_rows(file, rules.limits, encoder.special_tokens)), rules.contamination
        )
    except MinerFault as fault:
        raise UsageError(
            f"{file} is no sealed set: {fault.message}", remedy=f"flockoff check {file} says more."
        ) from fault
    if judgement.answers:
        raise UsageError(
            f"{file} is no sealed set: it has answers of the public one, in {_lines(judgement.answers)}.",
            remedy="Remove those rows: what can be learnt from the public set tells nothing there.",
        )
    for line, row in enumerate(known, start=1):
        back.add(line, row, 0)
    if found := back.found():
        raise UsageError(
            f"{file} is no sealed set: the public one has answers of it, in {_lines(found)}.",
            remedy="Remove their rows from the file: everybody knows them.",
        )
    public_rows = rules.evaluation.rows or len(known)
    digest = digest_of(file)
    sealed = SealedSet(repo="", commit="0" * 40, sha256=digest.sha256, weight=weight)
    report = judgement.report
    margin = sealed_margin(public_rows, report.rows, sealed)
    return Examined(digest.sha256, report.rows, report.assistant_tokens, margin)


def _lines(found: tuple[FoundAnswer, ...]) -> str:
    shown = ", ".join(str(each.line) for each in found[:_LINES_SHOWN])
    more = f" and {len(found) - _LINES_SHOWN} more" if len(found) > _LINES_SHOWN else ""
    return f"{'line' if len(found) == 1 else 'lines'} {shown}{more}"


def seal(hub: HubClient, file: Path, repo_id: str, examined: Examined, weight: float) -> SealedSet:
    """Upload the examined ``file`` to a private repo, created if necessary, and pin it. Raises UsageError for
    a public repo, before anything is sent, and HubError's kinds.
    """
    state = hub.repo_state(repo_id)
    if state is not None and not state.private:
        raise UsageError(
            f"{repo_id} is public, so a sealed set in it would be everybody's.",
            remedy="Name a repo that does not exist: it is created private.",
        )
    upload = hub.upload(repo_id, file)
    sealed = SealedSet(repo=upload.repo_id, commit=upload.commit, sha256=examined.sha256, weight=weight)
    hub.require_private(sealed)
    return sealed


def seal_competition(
    hub: HubClient,
    file: Path,
    repo_id: str,
    *,
    public: Path,
    rules_file: Path | None,
    weight: float,
    encoder: RowEncoder,
    write: Path,
) -> tuple[Examined, Competition]:
    """A competition with ``file`` as its sealed set, written to ``write``: the rules of ``rules_file`` (None:
    FLock OFF's own), whose public evaluation set is ``public``, and what ``examine`` and ``seal`` make.

    Raises as those two and ``write_sealed_competition``.
    """
    rules = load_competition(rules_file)
    if write.exists():
        raise UsageError(f"{write} exists.", remedy="Name a new file.")
    examined = examine(file, public, rules, weight, encoder)
    sealed = seal(hub, file, repo_id, examined, weight)
    return examined, write_sealed_competition(write, rules_file, rules, sealed)


def publish(hub: HubClient, sealed: SealedSet, directory: Path) -> None:
    """Make a retired set's repo public, after verifying that it holds what was pinned.

    ``directory``: where the set is downloaded to. Raises as ``HubClient.fetch_evaluation_set``.
    """
    hub.fetch_evaluation_set(sealed, directory, retired=True)
    hub.publish(sealed.repo)


def with_sealed_set(text: str, sealed: SealedSet) -> str:
    """The competition file ``text`` with ``sealed`` as its sealed set, replacing any other."""
    table = {"repo": sealed.repo, "commit": sealed.commit, "sha256": sealed.sha256}
    lines = [f'{key} = "{value}"' for key, value in table.items()]
    kept = _TABLE.sub("", text).rstrip()
    section = "\n".join(["[sealed]", *lines, f"weight = {sealed.weight!r}"])
    return f"{kept}\n\n{section}\n" if kept else f"{section}\n"


def write_sealed_competition(
    path: Path, old: Path | None, rules: Competition, sealed: SealedSet
) -> Competition:
    """Write to the new file ``path`` the rules of ``old`` (None: FLock OFF's own) with ``sealed``.

    Raises UsageError for a ``path`` that exists, and where ``old`` writes its sealed set in a way that cannot
    be replaced; SetupError where it cannot be written.
    """
    text = hand_written(old) or "" if old is not None else ""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(with_sealed_set(text, sealed))
    except FileExistsError as error:
        raise UsageError(f"{path} exists.", remedy="Name a new file.") from error
    except OSError as error:
        raise SetupError(f"Cannot write {path}: {error.strerror}.", remedy=remedy_for(error, path)) from error
    written = load_competition(path)
    if written != dataclasses.replace(rules, sealed=sealed):
        raise UsageError(
            f"{path} does not say what it should: {old} has its sealed set in a form that was not replaced.",
            remedy="Write its [sealed] as a table of its own.",
        )
    return written
