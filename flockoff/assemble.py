"""Puts a validator together from its settings."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial

from flockoff import __version__
from flockoff.chain import resolve_endpoint
from flockoff.cluster.plans import cluster_plans
from flockoff.competition import Competition, competition_hash, load_competition
from flockoff.hub import HubClient
from flockoff.hub.datasets import DatasetCache
from flockoff.launch import require_installed
from flockoff.ledger import Ledger
from flockoff.metrics import Metrics
from flockoff.openers import (
    evaluation_file,
    ledger_path,
    model_directory,
    open_answers,
    open_hub,
    open_public_sample,
    open_subnet,
    sealed_evaluation_file,
)
from flockoff.report import dashboard, kept_fresh
from flockoff.retry import outlast
from flockoff.settings import ValidatorSettings
from flockoff.text import without_key
from flockoff.tokens import load_encoder
from flockoff.tracking import tracked
from flockoff.training.evaluator import WorkerEvaluator
from flockoff.training.limits import WorkerLimits
from flockoff.training.plans import local_plans, usable_cores, visible_gpus
from flockoff.training.pool import WorkerPlan
from flockoff.validate import Validator

log = logging.getLogger(__name__)


@contextmanager
def shown(settings: ValidatorSettings) -> Iterator[None]:
    """Write and serve reports on the validator's ledger while this lasts, as configured.

    The ledger may be created later. Raises SetupError if the port is taken, and as ``load_competition``.
    """
    rules = load_competition(settings.neuron.competition)
    ledger = ledger_path(settings.data_dir)
    with kept_fresh(ledger, settings.report, rules), dashboard(ledger, settings.dashboard, rules):
        yield


@contextmanager
def open_validator(
    settings: ValidatorSettings, stop: threading.Event, metrics: Metrics
) -> Iterator[Validator]:
    """A validator ready for its first epoch; closes everything it opened, however the context ends.

    Cheap checks come first; chain and hub are waited for. Raises UsageError, SetupError, NotRegistered,
    LedgerError, HubUnauthorized, other permanent faults, and Interrupted at ``stop``.
    """
    require_installed("torch", "transformers", "peft", "trl")
    plans = _worker_plans(settings)
    neuron = settings.neuron
    competition = load_competition(neuron.competition)
    patiently = partial(outlast, stop=stop, note=metrics.note)
    with ExitStack() as stack:
        chain = stack.enter_context(closing(open_subnet(neuron, stop)))
        ledger = stack.enter_context(
            Ledger.open(
                ledger_path(settings.data_dir),
                netuid=neuron.netuid,
                competition=competition.id,
                hotkey=chain.hotkey,
                genesis=patiently(chain.genesis).hex(),
            )
        )
        on_retry = metrics.retries.labels(of="hub").inc
        hub = stack.enter_context(closing(open_hub(neuron.credentials, stop, on_retry=on_retry)))
        file = patiently(lambda: evaluation_file(competition, hub, settings.eval_data_dir))
        sealed = patiently(lambda: sealed_evaluation_file(competition, hub, settings.eval_data_dir))
        uid = patiently(chain.require_uid)
        log.info(
            "flockoff %s: uid %d (hotkey %s) on subnet %d of %s, %s, competition %s (%s).",
            __version__,
            uid,
            chain.hotkey,
            neuron.netuid,
            without_key(resolve_endpoint(neuron.network, neuron.chain_endpoint)),
            _devices_in_words(settings, plans),
            competition.id,
            competition_hash(competition)[:12],
        )
        patiently(hub.account)
        directory = patiently(lambda: model_directory(competition, hub, settings.cache_dir))
        encoder = load_encoder(directory, competition.training.context_length)
        key, folder = ledger.sketches.key, settings.eval_data_dir
        public_sample = patiently(lambda: open_public_sample(competition, hub, folder, encoder, key))
        evaluator = WorkerEvaluator(
            competition,
            model_dir=directory,
            evaluation_file=file,
            sealed_file=sealed,
            workers=plans,
            limits=WorkerLimits(dataset=settings.max_seconds_per_miner),
            mixed=settings.allow_mixed_devices,
            metrics=metrics,
        )
        stack.enter_context(closing(evaluator))
        tell = stack.enter_context(_tracked(settings, chain.hotkey, competition))
        yield Validator(
            chain=chain,
            datasets=_dataset_cache(settings, hub, metrics),
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
            evaluate_without_permit=settings.evaluate_without_permit,
            allow_mixed_devices=settings.allow_mixed_devices,
            after_epoch=(tell,),
            metrics=metrics,
            stop=stop,
        )


def _worker_plans(settings: ValidatorSettings) -> list[WorkerPlan]:
    if isinstance(settings.workers, str):
        require_installed("ray", extra="cluster")
        return cluster_plans(settings.workers)
    return local_plans(settings.device, settings.workers, gpus=visible_gpus(os.environ), cores=usable_cores())


def _devices_in_words(settings: ValidatorSettings, plans: Sequence[WorkerPlan]) -> str:
    """What the workers train on: of one that takes a GPU where there is one, whether there is one."""
    if isinstance(settings.workers, str):
        return f"Ray cluster {settings.workers}"
    found = "cuda" if visible_gpus(os.environ) else "cpu"
    return f"device {', '.join(plan.device or found for plan in plans)}"


def _dataset_cache(settings: ValidatorSettings, hub: HubClient, metrics: Metrics) -> DatasetCache:
    return DatasetCache(
        hub,
        settings.data_dir / "datasets",
        max_bytes=int(settings.max_disk_gb * 1e9),
        others=[settings.cache_dir],
        metrics=metrics,
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
