"""Puts the adapters together from settings, so that every program does it the same way."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from flockoff.chain import SubtensorChain, WalletRef, open_chain, resolve_endpoint
from flockoff.cluster.plans import cluster_plans
from flockoff.competition import Competition, load_competition
from flockoff.dataset import EvaluationAnswers, Sketch, Sketcher, load_numbered_rows, load_rows
from flockoff.errors import SetupError
from flockoff.flags import PROJECT_ROOT
from flockoff.hub import DatasetCache, HubClient
from flockoff.launch import require_installed
from flockoff.ledger import Ledger
from flockoff.ports import RowEncoder
from flockoff.report import dashboard, kept_fresh
from flockoff.retry import outlast
from flockoff.settings import Credentials, NeuronSettings, ValidatorSettings
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.tracking import tracked
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.limits import WorkerLimits
from flockoff.training.plans import local_plans, usable_cores, visible_gpus
from flockoff.training.prepare import resolve_base_model
from flockoff.training.seat import WorkerPlan
from flockoff.validate import Validator


def open_hub(credentials: Credentials, stop: threading.Event | None = None) -> HubClient:
    """What waits for the hub gives up once ``stop`` is set."""
    return HubClient(token=credentials.hf_token, endpoint=credentials.hf_endpoint, stop=stop)


def open_subnet(settings: NeuronSettings, stop: threading.Event | None = None) -> SubtensorChain:
    """The subnet through the settings' wallet. Raises SetupError for a missing wallet.

    What waits for the chain gives up a few seconds after ``stop`` is set.
    """
    return open_chain(
        endpoint=resolve_endpoint(settings.network, settings.chain_endpoint),
        netuid=settings.netuid,
        wallet=WalletRef(settings.wallet_name, settings.wallet_hotkey, settings.wallet_path),
        stop=stop,
    )


def model_directory(
    competition: Competition, hub: HubClient, cache_dir: Path, *, tokenizer_only: bool = False
) -> Path:
    """The base model's files on this machine, fetched or converted if they are not there yet.

    Raises SetupError or HubError's kinds, with the remedy.
    """
    base = competition.base_model
    if base.package is None:
        return hub.fetch_base_model(base, cache_dir, tokenizer_only=tokenizer_only)
    return resolve_base_model(base, cache_dir)


def open_encoder(competition: Competition, hub: HubClient, cache_dir: Path) -> TokenizerEncoder:
    """The base model's tokenizer and chat template, without the model."""
    directory = model_directory(competition, hub, cache_dir, tokenizer_only=True)
    return load_encoder(directory, competition.training.context_length)


def evaluation_file(competition: Competition, hub: HubClient, eval_data_dir: Path) -> Path:
    """The competition's evaluation set in ``eval_data_dir``, downloaded if it names a repo for it.

    Raises SetupError where the file is not the one that the competition pins, and HubError's kinds.
    """
    evaluation = competition.evaluation
    if evaluation.repo is not None:
        return hub.fetch_evaluation_set(evaluation, eval_data_dir)
    file = eval_data_dir / "data.jsonl"
    try:
        actual = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise SetupError(
            f"Cannot read the evaluation set {file}: {error.strerror}.",
            remedy="Give the folder that holds it with --eval_data_dir.",
        ) from error
    if actual != evaluation.sha256:
        raise SetupError(
            f"{file} is not the competition's evaluation set: its SHA-256 is {actual}.",
            remedy="Restore it (git checkout eval_data) or update this repository.",
        )
    return file


def sealed_evaluation_file(competition: Competition, hub: HubClient, eval_data_dir: Path) -> Path | None:
    """The competition's sealed evaluation set in ``eval_data_dir``, downloaded; None where it names none.

    Raises as ``evaluation_file``.
    """
    if competition.sealed is None:
        return None
    return hub.fetch_evaluation_set(competition.sealed, eval_data_dir)


def open_answers(file: Path, competition: Competition, encoder: TokenizerEncoder) -> EvaluationAnswers:
    """The answers of the evaluation set in ``file``, to find in datasets."""
    return EvaluationAnswers(load_rows(file, competition.limits, encoder.special_tokens))


def open_public_sample(
    competition: Competition, hub: HubClient, eval_data_dir: Path, encoder: RowEncoder, key: bytes
) -> Sketch | None:
    """What the competition's public sample looks like under a ledger's ``key``; None where it names none.

    Raises as ``evaluation_file``.
    """
    public = competition.overlap.public
    if public is None:
        return None
    file = hub.fetch_evaluation_set(public, eval_data_dir)
    sketcher = Sketcher(key)
    for line, row in load_numbered_rows(file, competition.limits, encoder.special_tokens):
        sketcher.add(line, row, 0)
    return sketcher.sketch()


def answers_here(
    competition: Competition, hub: HubClient, encoder: TokenizerEncoder
) -> EvaluationAnswers | None:
    """The evaluation set's answers; None where this repository's copy is not the competition's set."""
    try:
        file = evaluation_file(competition, hub, PROJECT_ROOT / "eval_data")
    except SetupError:
        return None
    return open_answers(file, competition, encoder)


def ledger_path(data_dir: Path) -> Path:
    return data_dir / "ledger.sqlite"


@contextmanager
def shown(settings: ValidatorSettings) -> Iterator[None]:
    """Show the validator's ledger as a report while this lasts: in a folder, on loopback, as settings say.

    The ledger may be made later. Raises SetupError for a port that is taken, and as ``load_competition``.
    """
    rules = load_competition(settings.neuron.competition)
    ledger = ledger_path(settings.data_dir)
    with kept_fresh(ledger, settings.report, rules), dashboard(ledger, settings.dashboard, rules):
        yield


@contextmanager
def open_validator(settings: ValidatorSettings, stop: threading.Event) -> Iterator[Validator]:
    """A validator ready for its first epoch; closes all it opened, however the context ends.

    What can fail cheaply fails first; chain and hub are waited for. Raises UsageError, SetupError,
    NotRegistered, LedgerError, HubUnauthorized, what else waiting does not heal, and Interrupted at ``stop``.
    """
    require_installed("torch", "transformers", "peft", "trl")
    plans = _worker_plans(settings)
    neuron = settings.neuron
    competition = load_competition(neuron.competition)
    with ExitStack() as stack:
        chain = stack.enter_context(closing(open_subnet(neuron, stop)))
        ledger = stack.enter_context(
            Ledger.open(
                ledger_path(settings.data_dir),
                netuid=neuron.netuid,
                competition=competition.id,
                hotkey=chain.hotkey,
            )
        )
        hub = stack.enter_context(closing(open_hub(neuron.credentials, stop)))
        file = outlast(lambda: evaluation_file(competition, hub, settings.eval_data_dir), stop)
        sealed = outlast(lambda: sealed_evaluation_file(competition, hub, settings.eval_data_dir), stop)
        outlast(chain.require_uid, stop)
        outlast(hub.account, stop)
        directory = outlast(lambda: model_directory(competition, hub, settings.cache_dir), stop)
        encoder = load_encoder(directory, competition.training.context_length)
        key, folder = ledger.sketches.key, settings.eval_data_dir
        public_sample = outlast(lambda: open_public_sample(competition, hub, folder, encoder, key), stop)
        evaluator = WorkerEvaluator(
            competition,
            model_dir=directory,
            evaluation_file=file,
            sealed_file=sealed,
            workers=plans,
            limits=WorkerLimits(dataset=settings.max_seconds_per_miner),
            mixed=settings.allow_mixed_devices,
        )
        stack.enter_context(closing(evaluator))
        tell = stack.enter_context(_tracked(settings, chain.hotkey, competition))
        yield Validator(
            chain=chain,
            datasets=_dataset_cache(settings, hub),
            evaluator=evaluator,
            ledger=ledger,
            encoder=encoder,
            answers=open_answers(file, competition, encoder),
            sealed_answers=open_answers(sealed, competition, encoder) if sealed else None,
            public_sample=public_sample,
            competition=competition,
            netuid=neuron.netuid,
            miner_sample_size=settings.miner_sample_size,
            blocks_per_epoch=settings.blocks_per_epoch,
            block_threshold=settings.block_threshold,
            allow_mixed_devices=settings.allow_mixed_devices,
            after_epoch=(tell,),
            stop=stop,
        )


def _worker_plans(settings: ValidatorSettings) -> list[WorkerPlan]:
    if isinstance(settings.workers, str):
        require_installed("ray", extra="cluster")
        return cluster_plans(settings.workers)
    return local_plans(settings.device, settings.workers, gpus=visible_gpus(os.environ), cores=usable_cores())


def _dataset_cache(settings: ValidatorSettings, hub: HubClient) -> DatasetCache:
    return DatasetCache(
        hub,
        settings.data_dir / "datasets",
        max_bytes=int(settings.max_disk_gb * 1e9),
        others=[settings.cache_dir],
    )


def _tracked(
    settings: ValidatorSettings, hotkey: str, competition: Competition
) -> AbstractContextManager[Callable[[int], None]]:
    return tracked(
        settings.wandb_project,
        settings.wandb_entity,
        ledger=ledger_path(settings.data_dir),
        directory=settings.data_dir / "wandb",
        config={"netuid": settings.neuron.netuid, "hotkey": hotkey} | asdict(competition),
    )
