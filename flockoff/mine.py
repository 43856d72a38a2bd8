"""One submission of a miner: check, upload, commit on chain, read back, publish.

Every step first checks what already exists, so a run that was interrupted anywhere can simply be started
again: nothing is uploaded or committed twice.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flockoff.competition import Competition
from flockoff.dataset import TOO_SMALL, EvaluationAnswers, judge_dataset, too_small
from flockoff.dataset.format import described
from flockoff.errors import (
    ChainCooldown,
    ChainTransient,
    HubTransient,
    Interrupted,
)
from flockoff.hub import require_write
from flockoff.logs import event
from flockoff.ports import Chain, Hub, RowEncoder
from flockoff.records import MAX_COMMITMENT_BYTES, DatasetReport, HubAccount, ModelId
from flockoff.text import counted, printable

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a miner wants on chain. ``retry_seconds`` is the pause after a cooldown or a transient fault."""

    repo_id: str
    dataset: Path
    competition: Competition
    keep_private: bool = False
    retry_seconds: float = 120.0
    card: str | None = None  # README for a repo without one

    def expected_id(self) -> ModelId:
        """What will be committed, with zeros for the commit hash, so of the same length. Raises MinerFault
        for a repo id that makes it too long.
        """
        return ModelId(self.repo_id, self.competition.id, "0" * 40)


@dataclass(frozen=True, slots=True)
class Submitted:
    model_id: ModelId
    block: int  # of the commitment on chain
    public: bool


def checked_dataset(
    submission: Submission, encoder: RowEncoder, answers: EvaluationAnswers | None
) -> DatasetReport:
    """Check the dataset as a validator will. Raises MinerFault, after logging each problem. Without
    ``answers`` it is not searched for the evaluation set's answers.
    """
    rules = submission.competition
    judgement = judge_dataset(submission.dataset, rules.limits, rules.contamination, encoder, answers)
    report = judgement.report
    for problem in report.problems:
        log.error("%s: %s (%s)", submission.dataset, described(problem), problem.reason)
    for found in judgement.answers:
        log.warning(
            "%s line %d: holds %d %% of an answer in row %d of the evaluation set and is not trained on.",
            submission.dataset,
            found.line,
            round(100 * found.share),
            found.row,
        )
    if judgement.fault is not None:
        raise judgement.fault
    if too_small(report.rows - len(judgement.left_out), rules.training):
        log.warning("%s", TOO_SMALL)
    if answers is None:
        log.warning("The competition's evaluation set is not here, so contamination is not checked.")
    log.info(
        "Dataset %s is valid: %s, %s, %d of them the assistant's.",
        submission.dataset,
        counted(report.rows, "row"),
        counted(report.tokens, "token"),
        report.assistant_tokens,
    )
    if report.cut_rows:
        log.warning(
            "%s longer than the context of %d tokens and will be cut there.",
            counted(report.cut_rows, "row is", "rows are"),
            rules.training.context_length,
        )
    return report


def checked_account(submission: Submission, hub: Hub) -> None:
    """Make sure that the hub token can write and that the commitment will fit; raises as ``account_for``."""
    log.info("Hugging Face account: %s, with write access.", account_for(submission, hub).name)


def account_for(submission: Submission, hub: Hub) -> HubAccount:
    """The account that can write to the submission's repo.

    Raises HubUnauthorized, another HubError, or MinerFault for a repo id that makes the ModelId too long.
    """
    submission.expected_id()
    account = hub.account()
    require_write(account, submission.repo_id)
    return account


def dataset_card(submission: Submission, report: DatasetReport) -> str:
    """A README that makes the hub show the rows in its viewer, with what is known about them."""
    name = submission.repo_id.partition("/")[2]
    return f"""---
task_categories:
- text-generation
tags:
- conversational
- bittensor
- flock-off
configs:
- config_name: default
  data_files:
  - split: train
    path: data.jsonl
---

# {name}

{counted(report.rows, "conversation")} for instruction tuning, {counted(report.tokens, "token")} under the \
chat template of {submission.competition.base_model.repo}, submitted to the FLock OFF subnet (competition \
`{submission.competition.id}`).

One JSON object a line: `system` (a string or null) and `conversations`, turns that alternate between `user` \
and `assistant`.
"""


def rehearse(submission: Submission, hub: Hub, chain: Chain) -> None:
    """Log what ``submit`` would do, and do nothing."""
    state = hub.repo_state(submission.repo_id)
    committed = chain.commitment()
    if state is not None and hub.holds(submission.repo_id, submission.dataset):
        log.info("Dry run: %s holds this dataset already, at commit %s.", submission.repo_id, state.head)
        there = ModelId(state.repo_id, submission.competition.id, state.head)
        if committed is not None and committed.text == str(there):
            log.info("Dry run: the chain has this commitment already. There is nothing left to do.")
            return
    where = "a new private repo" if state is None else f"the {'private' if state.private else 'public'} repo"
    log.info(
        "Dry run: %s would be uploaded as data.jsonl to %s %s.", submission.dataset, where, submission.repo_id
    )
    if state is not None and not state.private:
        log.warning(
            "Dry run: %s is public: anyone could copy the upload before it is committed. Use a new repo, or "
            "make this one private first.",
            submission.repo_id,
        )
    log.info(
        "Dry run: then %s:%s:<commit> would be committed on chain, in place of %s.",
        submission.repo_id,
        submission.competition.id,
        printable(committed.text, MAX_COMMITMENT_BYTES) if committed else "nothing",
    )
    if not submission.keep_private and (state is None or state.private):
        log.info("Dry run: then %s would be made public.", submission.repo_id)
    log.info("Dry run: nothing was changed.")


def submit(submission: Submission, hub: Hub, chain: Chain, stop: threading.Event) -> Submitted:
    """Upload, commit, read back, publish; waits out cooldowns and transient faults for as long as it takes.
    Raises NotRegistered, NoFunds, ChainFatal, HubUnauthorized or HubFatal for permanent faults, and
    Interrupted once ``stop`` is set: no further step is begun then.
    """
    before = _persist(lambda: hub.repo_state(submission.repo_id), submission, stop)
    public = before is not None and not before.private
    if public and not _persist(lambda: hub.holds(submission.repo_id, submission.dataset), submission, stop):
        log.warning(
            "%s is public: until the commitment is on chain anyone can copy what is uploaded now, and commit "
            "it first. Next time use a new repo, or make this one private before.",
            submission.repo_id,
        )
    upload = _persist(
        lambda: hub.upload(submission.repo_id, submission.dataset, submission.card), submission, stop
    )
    if upload.changed:
        about = event("uploaded", repo=submission.repo_id, commit=upload.commit)
        log.info(
            "Uploaded %s to %s, commit %s.",
            submission.dataset,
            submission.repo_id,
            upload.commit,
            extra=about,
        )
    else:
        log.info("%s holds this dataset already, at commit %s.", submission.repo_id, upload.commit)
    if upload.repo_id != submission.repo_id:
        log.info("The hub calls %s %s: that is what is committed.", submission.repo_id, upload.repo_id)
    model_id = ModelId(upload.repo_id, submission.competition.id, upload.commit)
    block = _persist(lambda: _committed(chain, model_id), submission, stop)
    if not submission.keep_private:
        _persist(lambda: hub.publish(upload.repo_id), submission, stop)
    return Submitted(model_id, block, public=not submission.keep_private)


def report_submitted(submitted: Submitted, netuid: int) -> None:
    """Log the submission's state and what comes next."""
    about = event("committed", netuid=netuid, block=submitted.block, model_id=submitted.model_id)
    log.info(
        "Committed on subnet %d in block %d: %s", netuid, submitted.block, submitted.model_id, extra=about
    )
    if submitted.public:
        message = "The repo is public. Validators will download it when its turn in their queue comes."
        log.info(message, extra=event("published", repo=submitted.model_id.namespace))
    else:
        log.warning(
            "The repo is private (--keep_private): make it public within one epoch, "
            "or validators will count the dataset as missing."
        )


def _committed(chain: Chain, model_id: ModelId) -> int:
    """Commit ``model_id``, wait until it is final, and return its block.

    The chain is read first: an earlier try may have landed although its answer was lost.
    """
    current = chain.commitment()
    if current is None or current.text != str(model_id):
        chain.commit(str(model_id))
    else:
        log.info("The chain has this commitment already.")
        chain.block_hash(current.block)  # waits until the block is final: before that it may be replaced
    current = chain.commitment()
    if current is None or current.text != str(model_id):
        shown = repr(current.text) if current else "nothing"
        raise ChainTransient(f"The chain shows {shown} where {model_id} was committed.")
    return current.block


def _persist(step: Callable[[], T], submission: Submission, stop: threading.Event) -> T:
    """Run ``step`` until it succeeds, pausing after each transient fault."""
    while True:
        if stop.is_set():
            raise Interrupted
        try:
            return step()
        except ChainCooldown as fault:
            pause = submission.retry_seconds
            log.info(
                "The chain's cooldown between two commitments is not over. Trying again in %.0f s.",
                pause,
                extra=event("cooldown", seconds=pause),
            )
            log.debug("%s", fault)
        except (ChainTransient, HubTransient) as fault:
            pause = submission.retry_seconds
            if isinstance(fault, HubTransient) and fault.retry_after is not None:
                pause = max(pause, fault.retry_after)
            about = event("fault", fault=fault.kind, seconds=pause)
            log.warning("%s Trying again in %.0f s.", fault, pause, extra=about)
        stop.wait(pause)
