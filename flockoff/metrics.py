"""Metrics for Prometheus. Names are stable: dashboards depend on them."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from flockoff import __version__
from flockoff.errors import Fault, SetupError


class Metrics:
    """What one validator shows Prometheus, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files of this process; on Linux
        PlatformCollector(registry=registry)

        # --- the epoch -----------------------------------------------------------------------------------

        self.epoch_start = Gauge(
            "flockoff_epoch_start_block",
            "First block of the current epoch, which names it.",
            registry=registry,
        )
        self.epoch_end = Gauge(
            "flockoff_epoch_end_block", "First block of the next epoch.", registry=registry
        )
        self.chain_block = Gauge(
            "flockoff_chain_block", "The chain's height, as last read or estimated.", registry=registry
        )
        self.places = Gauge("flockoff_epoch_places", "Miners with a place in this epoch.", registry=registry)
        self.judged = Gauge("flockoff_epoch_judged", "Of these, those with a verdict.", registry=registry)
        self.queue_age = Gauge(
            "flockoff_queue_age_blocks",
            "Longest wait of any miner, in blocks since its last evaluation or else its first commitment.",
            registry=registry,
        )

        self.seconds_left = Gauge(
            "flockoff_evaluating_seconds_left",
            "Seconds until evaluating must end in this epoch, as they were when the last verdict fell.",
            registry=registry,
        )
        self.build = Gauge(
            "flockoff_build_info",
            "1 for the version that runs.",
            ["version", "python"],
            registry=registry,
        )
        self.competition = Gauge(
            "flockoff_competition_info",
            "1 for the competition in force, by its id and the hash of all its rules: equal where "
            "validators agree.",
            ["id", "rules"],
            registry=registry,
        )

        # --- evaluations ---------------------------------------------------------------------------------

        self.verdicts = Counter(
            "flockoff_verdicts",
            "Verdicts by standing (eligible, at_fault, not_evaluated) and reason.",
            ["standing", "reason"],
            registry=registry,
        )
        self.eval_loss = Gauge(
            "flockoff_eval_loss",
            "Last measured loss by uid, in nats per assistant token of the evaluation set.",
            ["uid"],
            registry=registry,
        )
        self.base_loss = Gauge(
            "flockoff_base_loss", "The base model's loss without an adapter.", registry=registry
        )
        self.evaluation_seconds = Histogram(
            "flockoff_evaluation_seconds",
            "Time to train on and measure one dataset.",
            buckets=(5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560),
            registry=registry,
        )
        self.trained_tokens = Counter(
            "flockoff_trained_tokens",
            "Tokens trained on, each pass over a dataset counted.",
            registry=registry,
        )
        self.worker_memory = Gauge(
            "flockoff_worker_memory_bytes",
            "Resident memory of each evaluation worker, by number.",
            ["worker"],
            registry=registry,
        )

        self.worker_kernels = Gauge(
            "flockoff_worker_kernels",
            "Whether each GPU worker trains with the fused kernels, by number and path: dropout, gate.",
            ["worker", "path"],
            registry=registry,
        )

        # --- downloads and disk --------------------------------------------------------------------------

        self.downloads = Counter(
            "flockoff_downloads", "Downloads of datasets: done, or failed.", ["outcome"], registry=registry
        )
        self.downloaded_bytes = Counter(
            "flockoff_downloaded_bytes", "Bytes of datasets downloaded.", registry=registry
        )
        self.dataset_bytes = Gauge(
            "flockoff_dataset_bytes", "Disk space used by downloaded datasets.", registry=registry
        )
        self.disk_free = Gauge(
            "flockoff_disk_free_bytes", "Free space on the disk with datasets and ledger.", registry=registry
        )

        # --- what went wrong -----------------------------------------------------------------------------

        self.retries = Counter(
            "flockoff_retries",
            "Retries, by what was retried (hub, chain, dataset).",
            ["of"],
            registry=registry,
        )
        self.faults = Counter(
            "flockoff_faults",
            "Faults that were not a miner's, by what failed.",
            ["kind"],
            registry=registry,
        )
        self.worker_restarts = Counter(
            "flockoff_worker_restarts",
            "Evaluation workers replaced, by cause.",
            ["cause"],
            registry=registry,
        )

        # --- weights -------------------------------------------------------------------------------------

        self.permit = Gauge(
            "flockoff_validator_permit",
            "1 while the chain would accept this validator's weights (permit and stake), else 0.",
            registry=registry,
        )
        self.stake = Gauge(
            "flockoff_stake",
            "This validator's stake, TAO and alpha as the subnet counts them.",
            registry=registry,
        )
        self.score = Gauge(
            "flockoff_score", "Score by uid after the last epoch that was closed.", ["uid"], registry=registry
        )
        self.weight = Gauge(
            "flockoff_weight", "Weight by uid, as it was last set.", ["uid"], registry=registry
        )
        self.weights_differ = Counter(
            "flockoff_weights_differ",
            "Times that the weights on chain were found to differ from those sent.",
            registry=registry,
        )
        self.weights_late = Counter(
            "flockoff_weights_late",
            "Failed attempts to set weights after the epoch's evaluation time was over.",
            registry=registry,
        )
        self.epochs_without_weights = Counter(
            "flockoff_epochs_without_weights",
            "Epochs that ended before their weights could be set.",
            registry=registry,
        )
        self.weights_set_at = Gauge(
            "flockoff_weights_set_timestamp_seconds",
            "When weights were last set, in UTC seconds; 0 before the first time.",
            registry=registry,
        )

    def note(self, fault: Fault) -> None:
        """Count a fault that is not a miner's."""
        self.faults.labels(kind=fault.kind).inc()


def show_by_uid(gauge: Gauge, values: Mapping[str, float], uids: Mapping[str, int]) -> None:
    """Have ``gauge`` show the ``values`` by hotkey of those who have a uid, and of nobody else."""
    gauge.clear()
    for hotkey, value in values.items():
        if hotkey in uids:
            gauge.labels(uid=uids[hotkey]).set(value)


@contextmanager
def served(metrics: Metrics, port: int | None) -> Iterator[None]:
    """Serve ``metrics`` on loopback while this lasts; None: do not.

    Raises SetupError where the port is taken.
    """
    if port is None:
        yield
        return
    metrics.build.labels(version=__version__, python=platform.python_version()).set(1)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
    except OSError as error:
        raise SetupError(
            f"Metrics cannot be served on 127.0.0.1:{port}: {error.strerror}.",
            remedy="Give another port with --metrics.",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
