"""``flockoff submit``: uploads and commits a dataset, reporting all problems first."""

import logging
import shlex
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flockoff import mine, openers
from flockoff.chain import SubtensorChain
from flockoff.commands.asking import require_yes
from flockoff.commands.findings import show_finding
from flockoff.commands.status import standing_on_chain
from flockoff.commands.tables import console, duration, print_json
from flockoff.competition import load_competition
from flockoff.dataset import TOO_SMALL, check_format, judge_dataset, too_small
from flockoff.doctor.finding import Finding, examined
from flockoff.errors import NoFunds, UsageError
from flockoff.flags import (
    AsJson,
    CacheDir,
    CompetitionFile,
    DatasetFile,
    DryRun,
    Endpoint,
    KeepPrivate,
    Netuid,
    Network,
    RepoId,
    RetrySeconds,
    WalletHotkey,
    WalletName,
    WalletPath,
)
from flockoff.hub import HubClient
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.records import DatasetReport, EpochStatus, ModelId
from flockoff.settings import NeuronSettings
from flockoff.text import counted, printable, without


@dataclass(frozen=True, slots=True)
class _Settings:
    neuron: NeuronSettings
    submission: mine.Submission
    cache_dir: Path
    dry_run: bool
    asked: bool  # already confirmed
    as_json: bool


@dataclass
class _Examined:
    """What the checks opened and read, for the steps after them."""

    report: DatasetReport | None = None
    chain: SubtensorChain | None = None
    model_id: str | None = None  # of the dataset, where the repo's head holds it already
    committed: bool = False  # by this hotkey, already
    fee: float = 0.0  # TAO


def submit(
    *,
    cache_dir: CacheDir,
    wallet_path: WalletPath,
    netuid: Netuid,
    repo_id: RepoId,
    dataset: DatasetFile = Path("data/data.jsonl"),
    wallet_name: WalletName,
    hotkey: WalletHotkey,
    network: Network,
    endpoint: Endpoint,
    competition: CompetitionFile,
    retry_seconds: RetrySeconds,
    dry_run: DryRun = False,
    keep_private: KeepPrivate = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Submit without being asked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a dataset: check everything, upload it, commit it on chain, and say what comes next.

    \b
    flockoff submit --netuid 96 -w ann -H one --hf_repo_id ann/data data.jsonl
    flockoff submit --dry_run
    flockoff submit --yes

    All problems are reported before anything is changed. Options stored by `flockoff init` can be left out.
    Just restart an interrupted run: nothing is uploaded or committed twice.
    """
    neuron = NeuronSettings(
        netuid=netuid,
        network=network,
        chain_endpoint=endpoint,
        competition=competition,
        wallet_name=wallet_name,
        wallet_hotkey=hotkey,
        wallet_path=wallet_path,
    )
    say_on_stderr(neuron.secrets, level=logging.INFO)

    def program(stop: threading.Event) -> int:
        submission = mine.Submission(
            repo_id=repo_id,
            dataset=dataset,
            competition=load_competition(competition),
            keep_private=keep_private,
            retry_seconds=retry_seconds,
        )
        return _submit(_Settings(neuron, submission, cache_dir, dry_run, yes, as_json), stop)

    raise typer.Exit(run(program))


def _submit(settings: _Settings, stop: threading.Event) -> int:
    screen, seen = console(stderr=settings.as_json), _Examined()
    with ExitStack() as stack:
        hub = stack.enter_context(closing(openers.open_hub(settings.neuron.credentials, stop)))
        found = []
        for finding in _findings(settings, hub, seen, stack, stop):
            show_finding(screen, finding)
            found.append(finding)
        bad = sum(finding.state == "bad" for finding in found)
        ready = not bad and seen.report is not None and seen.chain is not None
        if settings.as_json and (settings.dry_run or not ready):
            print_json({"ready": ready, "findings": [asdict(finding) for finding in found]})
        if not ready or seen.chain is None or seen.report is None:
            screen.print(f"{counted(bad, 'thing is', 'things are')} in the way. Nothing was changed.")
            return 1
        if settings.dry_run:
            screen.print("All is ready. Dry run: nothing was changed.")
            return 0
        if not settings.asked and not seen.committed:
            _require_yes(settings, seen.fee)
        card = mine.dataset_card(settings.submission, seen.report)
        submitted = mine.submit(replace(settings.submission, card=card), hub, seen.chain, stop)
        _say_what_comes(settings, screen, submitted, hub, seen.chain)
    return 0


# --- before ----------------------------------------------------------------------------------------------


def _findings(
    settings: _Settings, hub: HubClient, seen: _Examined, stack: ExitStack, stop: threading.Event
) -> Iterator[Finding]:
    yield from examined("dataset", lambda: _dataset(settings, hub, seen))
    yield from examined("hub", lambda: _hub(settings.submission, hub, seen))
    yield from examined("wallet", lambda: _wallet(settings, seen, stack, stop))
    if seen.chain is not None:
        chain = seen.chain
        yield from examined("subnet", lambda: _subnet(settings, chain, seen))
        if not seen.committed:
            yield from examined("fee", lambda: _fee(settings, chain, seen))


def _dataset(settings: _Settings, hub: HubClient, seen: _Examined) -> Iterator[Finding]:
    submission = settings.submission
    rules, file = submission.competition, submission.dataset
    form = check_format(file, rules.limits)
    if form.problems:
        yield Finding(
            "dataset",
            "bad",
            f"{file} has {form.count}",
            f"They are listed by: flockoff check {shlex.quote(str(file))}",
        )
        return
    encoder = openers.open_encoder(rules, hub, settings.cache_dir)
    answers = openers.answers_here(rules, hub, encoder)
    judgement = judge_dataset(file, rules.limits, rules.contamination, encoder, answers)
    if judgement.fault is not None:
        raise judgement.fault
    seen.report = report = judgement.report
    yield Finding("dataset", "good", f"{counted(report.rows, 'row')}, {counted(report.tokens, 'token')}")
    if too_small(report.rows - len(judgement.left_out), rules.training):
        yield Finding("dataset", "doubtful", "too small to train anything", TOO_SMALL)
    if judgement.answers:
        lines = counted(len(judgement.left_out), "row holds", "rows hold")
        remedy = f"They are not trained on; remove them: flockoff check {shlex.quote(str(file))}"
        yield Finding("dataset", "doubtful", f"{lines} answers of the evaluation set", remedy)


def _hub(submission: mine.Submission, hub: HubClient, seen: _Examined) -> Iterator[Finding]:
    account = mine.account_for(submission, hub)
    state = hub.repo_state(submission.repo_id)
    if state is None:
        yield Finding("hub", "good", f"{account.name} will create {submission.repo_id}, private at first")
    elif hub.holds(submission.repo_id, submission.dataset):
        seen.model_id = str(ModelId(state.repo_id, submission.competition.id, state.head))
        yield Finding("hub", "good", f"{state.repo_id} holds this dataset already")
    elif state.private:
        yield Finding("hub", "good", f"{account.name} may write to {state.repo_id}, which is private")
    else:
        yield Finding(
            "hub",
            "doubtful",
            f"{state.repo_id} is public: whoever sees the upload first can commit it first",
            "Take a new repo, or make this one private before.",
        )


def _wallet(
    settings: _Settings, seen: _Examined, stack: ExitStack, stop: threading.Event
) -> Iterator[Finding]:
    seen.chain = stack.enter_context(closing(openers.open_subnet(settings.neuron, stop)))
    name = f"{settings.neuron.wallet_name}/{settings.neuron.wallet_hotkey}"
    yield Finding("wallet", "good", f"{name}: {seen.chain.hotkey}")


def _subnet(settings: _Settings, chain: SubtensorChain, seen: _Examined) -> Iterator[Finding]:
    uid = chain.require_uid()
    yield Finding("subnet", "good", f"uid {uid} on subnet {settings.neuron.netuid}")
    current = chain.commitment()
    if current is not None and current.text == seen.model_id:
        seen.committed = True
        yield Finding("subnet", "good", "it has committed this dataset already: nothing is left to pay")
    elif current is not None:
        shown = printable(current.text, 128)
        yield Finding("subnet", "good", f"it has committed {shown}, which this one replaces")


def _fee(settings: _Settings, chain: SubtensorChain, seen: _Examined) -> Iterator[Finding]:
    submission = settings.submission
    text = str(submission.expected_id())
    seen.fee, balance = chain.commitment_fee(text), chain.balance()
    found = f"{seen.fee:.6f} TAO, of {balance:,.6f} TAO that the coldkey has"
    if balance < seen.fee:
        raise NoFunds(found, remedy=f"Send TAO to the coldkey of {settings.neuron.wallet_name}.")
    yield Finding("fee", "good", found)


def _require_yes(settings: _Settings, fee: float) -> None:
    question = f"Upload to {settings.submission.repo_id} and commit it for {fee:.6f} TAO?"
    unasked = UsageError("Nobody is here to be asked.", remedy="Add --yes to submit without being asked.")
    require_yes(question, default=True, unasked=unasked)


# --- after -----------------------------------------------------------------------------------------------


def _say_what_comes(
    settings: _Settings, screen: Console, submitted: mine.Submitted, hub: HubClient, chain: SubtensorChain
) -> None:
    """The submission's location, when it counts and is evaluated, and how to watch it."""
    rules = settings.submission.competition
    epoch, snapshot = chain.epoch_status(), chain.snapshot()
    standing = standing_on_chain(chain.hotkey, snapshot, epoch, rules)
    counts_from = standing.counts_from or epoch.next_start_block
    turns = -(-max(standing.rivals, 1) // rules.queue.waiting)
    latest = counts_from + turns * (epoch.next_start_block - epoch.start_block)
    url = hub.dataset_url(submitted.model_id.namespace, submitted.model_id.commit)
    watch = without(_status_command(settings.neuron), settings.neuron.secrets)
    if settings.as_json:
        print_json(
            {
                "model_id": str(submitted.model_id),
                "url": url,
                "block": submitted.block,
                "public": submitted.public,
                "counts_from": counts_from,
                "evaluated_by_block": latest,
                "seconds_until_counting": _seconds_until(counts_from, epoch),
                "seconds_until_evaluated": _seconds_until(latest, epoch),
                "status": watch,
            }
        )
        return
    screen.print(
        f"[green]Committed[/green] in block {submitted.block:,}: {submitted.model_id}", soft_wrap=True
    )
    screen.print(url, soft_wrap=True, markup=False)
    if not submitted.public:
        screen.print(
            "The repo is private: make it public before the next epoch begins, or it counts as missing."
        )
    screen.print(f"counts     from block {counts_from:,}, in {duration(_seconds_until(counts_from, epoch))}")
    wait = duration(_seconds_until(latest, epoch))
    screen.print(
        f"evaluated  within {counted(turns, 'epoch')} of then, in {wait} at the latest, by validators that "
        "finish their queue"
    )
    screen.print(f"watch      {watch}", soft_wrap=True, markup=False)


def _seconds_until(block: int, epoch: EpochStatus) -> float:
    return max(0, block - epoch.block) * epoch.seconds_per_block


def _status_command(neuron: NeuronSettings) -> str:
    words = ["flockoff", "status", "--netuid", str(neuron.netuid)]
    words += ["-w", neuron.wallet_name, "-H", neuron.wallet_hotkey, "--wallet-path", str(neuron.wallet_path)]
    if neuron.chain_endpoint is not None:
        words += ["--chain", neuron.chain_endpoint]
    else:
        words += ["-n", neuron.network]
    if neuron.competition is not None:
        words += ["--competition", str(neuron.competition)]
    return shlex.join(words)
