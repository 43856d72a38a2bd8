"""Metrics for Prometheus. Names are stable: dashboards depend on them."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

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

        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)

        # --- the epoch -----------------------------------------------------------------------------------

        self.epoch_start = gauge(
            "flockoff_epoch_start_block", "First block of the current epoch, which names it."
        )
        self.epoch_end = gauge("flockoff_epoch_end_block", "First block of the next epoch.")
        self.chain_block = gauge("flockoff_chain_block", "The chain's height, as last read or estimated.")
        self.places = gauge("flockoff_epoch_places", "Miners with a place in this epoch.")
        self.judged = gauge("flockoff_epoch_judged", "Of these, those with a verdict.")
        self.queue_age = gauge(
            "flockoff_queue_age_blocks",
            "Longest wait of any miner, in blocks since its last evaluation or else its first commitment.",
        )

        self.seconds_left = gauge(
            "flockoff_evaluating_seconds_left",
            "Seconds until evaluating must end in this epoch, as they were when the last verdict fell.",
        )
        self.build = gauge("flockoff_build_info", "1 for the version that runs.", ["version", "python"])
        self.competition = gauge(
            "flockoff_competition_info",
            "1 for the competition in force, by its id and the hash of all its rules: equal where "
            "validators agree.",
            ["id", "rules"],
        )

        # --- evaluations ---------------------------------------------------------------------------------

        self.verdicts = counter(
            "flockoff_verdicts",
            "Verdicts by standing (eligible, at_fault, not_evaluated) and reason.",
            ["standing", "reason"],
        )
        self.eval_loss = gauge(
            "flockoff_eval_loss",
            "Last measured loss by uid, in nats per assistant token of the evaluation set.",
            ["uid"],
        )
        self.base_loss = gauge("flockoff_base_loss", "The base model's loss without an adapter.")
        self.evaluation_seconds = histogram(
            "flockoff_evaluation_seconds",
            "Time to train on and measure one dataset.",
            buckets=(5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560),
        )
        self.trained_tokens = counter(
            "flockoff_trained_tokens", "Tokens trained on, each pass over a dataset counted."
        )
        self.worker_memory = gauge(
            "flockoff_worker_memory_bytes",
            "Resident memory of each evaluation worker, by number.",
            ["worker"],
        )

        self.worker_kernels = gauge(
            "flockoff_worker_kernels",
            "Whether each GPU worker trains with the fused kernels, by number and path: dropout, gate.",
            ["worker", "path"],
        )

        # --- downloads and disk --------------------------------------------------------------------------

        self.downloads = counter("flockoff_downloads", "Downloads of datasets: done, or failed.", ["outcome"])
        self.downloaded_bytes = counter("flockoff_downloaded_bytes", "Bytes of datasets downloaded.")
        self.dataset_bytes = gauge("flockoff_dataset_bytes", "Disk space used by downloaded datasets.")
        self.disk_free = gauge("flockoff_disk_free_bytes", "Free space on the disk with datasets and ledger.")

        # --- what went wrong -----------------------------------------------------------------------------

        self.retries = counter(
            "flockoff_retries", "Retries, by what was retried (hub, chain, dataset).", ["of"]
        )
        self.faults = counter("flockoff_faults", "Faults that were not a miner's, by what failed.", ["kind"])
        self.worker_restarts = counter(
            "flockoff_worker_restarts", "Evaluation workers replaced, by cause.", ["cause"]
        )

        # --- weights -------------------------------------------------------------------------------------

        self.permit = gauge(
            "flockoff_validator_permit",
            "1 while the chain would accept this validator's weights (permit and stake), else 0.",
        )
        self.stake = gauge(
            "flockoff_stake", "This validator's stake, TAO and alpha as the subnet counts them."
        )
        self.score = gauge("flockoff_score", "Score by uid after the last epoch that was closed.", ["uid"])
        self.weight = gauge("flockoff_weight", "Weight by uid, as it was last set.", ["uid"])
        self.weights_differ = counter(
            "flockoff_weights_differ", "Times that the weights on chain were found to differ from those sent."
        )
        self.weights_late = counter(
            "flockoff_weights_late",
            "Failed attempts to set weights after the epoch's evaluation time was over.",
        )
        self.epochs_without_weights = counter(
            "flockoff_epochs_without_weights", "Epochs that ended before their weights could be set."
        )
        self.weights_set_at = gauge(
            "flockoff_weights_set_timestamp_seconds",
            "When weights were last set, in UTC seconds; 0 before the first time.",
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
