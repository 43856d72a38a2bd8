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
from flockoff.errors import SetupError

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # memory, processor time and open files of this process; on Linux
PlatformCollector(registry=REGISTRY)

# --- the epoch -------------------------------------------------------------------------------------------

EPOCH_START = Gauge(
    "flockoff_epoch_start_block",
    "First block of the current epoch, which names it.",
    registry=REGISTRY,
)
EPOCH_END = Gauge("flockoff_epoch_end_block", "First block of the next epoch.", registry=REGISTRY)
CHAIN_BLOCK = Gauge(
    "flockoff_chain_block", "The chain's height, as last read or estimated.", registry=REGISTRY
)
PLACES = Gauge("flockoff_epoch_places", "Miners with a place in this epoch.", registry=REGISTRY)
JUDGED = Gauge("flockoff_epoch_judged", "Of these, those with a verdict.", registry=REGISTRY)
QUEUE_AGE = Gauge(
    "flockoff_queue_age_blocks",
    "Longest wait of any miner, in blocks since its last evaluation or else its first commitment.",
    registry=REGISTRY,
)

SECONDS_LEFT = Gauge(
    "flockoff_evaluating_seconds_left",
    "Seconds until evaluating must end in this epoch, as they were when the last verdict fell.",
    registry=REGISTRY,
)
BUILD = Gauge(
    "flockoff_build_info",
    "1 for the version that runs.",
    ["version", "python"],
    registry=REGISTRY,
)
COMPETITION = Gauge(
    "flockoff_competition_info",
    "1 for the competition in force, by its id and the hash of all its rules: equal where validators agree.",
    ["id", "rules"],
    registry=REGISTRY,
)

# --- evaluations -----------------------------------------------------------------------------------------

VERDICTS = Counter(
    "flockoff_verdicts",
    "Verdicts by standing (eligible, at_fault, not_evaluated) and reason.",
    ["standing", "reason"],
    registry=REGISTRY,
)
EVAL_LOSS = Gauge(
    "flockoff_eval_loss",
    "Last measured loss by uid, in nats per assistant token of the evaluation set.",
    ["uid"],
    registry=REGISTRY,
)
BASE_LOSS = Gauge("flockoff_base_loss", "The base model's loss without an adapter.", registry=REGISTRY)
EVALUATION_SECONDS = Histogram(
    "flockoff_evaluation_seconds",
    "Time to train on and measure one dataset.",
    buckets=(5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560),
    registry=REGISTRY,
)
TRAINED_TOKENS = Counter(
    "flockoff_trained_tokens", "Tokens trained on, each pass over a dataset counted.", registry=REGISTRY
)
WORKER_MEMORY = Gauge(
    "flockoff_worker_memory_bytes",
    "Resident memory of each evaluation worker, by number.",
    ["worker"],
    registry=REGISTRY,
)

WORKER_KERNELS = Gauge(
    "flockoff_worker_kernels",
    "Whether each GPU worker trains with the fused kernels, by number and path: dropout, gate.",
    ["worker", "path"],
    registry=REGISTRY,
)

# --- downloads and disk ----------------------------------------------------------------------------------

DOWNLOADS = Counter(
    "flockoff_downloads", "Downloads of datasets: done, or failed.", ["outcome"], registry=REGISTRY
)
DOWNLOADED_BYTES = Counter("flockoff_downloaded_bytes", "Bytes of datasets downloaded.", registry=REGISTRY)
DATASET_BYTES = Gauge("flockoff_dataset_bytes", "Disk space used by downloaded datasets.", registry=REGISTRY)
DISK_FREE = Gauge(
    "flockoff_disk_free_bytes", "Free space on the disk with datasets and ledger.", registry=REGISTRY
)

# --- what went wrong -------------------------------------------------------------------------------------

RETRIES = Counter(
    "flockoff_retries",
    "Retries, by what was retried (hub, chain, dataset).",
    ["of"],
    registry=REGISTRY,
)
FAULTS = Counter(
    "flockoff_faults",
    "Faults that were not a miner's, by what failed.",
    ["kind"],
    registry=REGISTRY,
)
WORKER_RESTARTS = Counter(
    "flockoff_worker_restarts",
    "Evaluation workers replaced, by cause.",
    ["cause"],
    registry=REGISTRY,
)

# --- weights ---------------------------------------------------------------------------------------------

PERMIT = Gauge(
    "flockoff_validator_permit",
    "1 while the chain would accept this validator's weights (permit and stake), else 0.",
    registry=REGISTRY,
)
STAKE = Gauge(
    "flockoff_stake",
    "This validator's stake, TAO and alpha as the subnet counts them.",
    registry=REGISTRY,
)
SCORE = Gauge(
    "flockoff_score", "Score by uid after the last epoch that was closed.", ["uid"], registry=REGISTRY
)
WEIGHT = Gauge("flockoff_weight", "Weight by uid, as it was last set.", ["uid"], registry=REGISTRY)
WEIGHTS_DIFFER = Counter(
    "flockoff_weights_differ",
    "Times that the weights on chain were found to differ from those sent.",
    registry=REGISTRY,
)
WEIGHTS_LATE = Counter(
    "flockoff_weights_late",
    "Failed attempts to set weights after the epoch's evaluation time was over.",
    registry=REGISTRY,
)
EPOCHS_WITHOUT_WEIGHTS = Counter(
    "flockoff_epochs_without_weights",
    "Epochs that ended before their weights could be set.",
    registry=REGISTRY,
)
WEIGHTS_SET_AT = Gauge(
    "flockoff_weights_set_timestamp_seconds",
    "When weights were last set, in UTC seconds; 0 before the first time.",
    registry=REGISTRY,
)


def show_by_uid(gauge: Gauge, values: Mapping[str, float], uids: Mapping[str, int]) -> None:
    """Have ``gauge`` show the ``values`` by hotkey of those who have a uid, and of nobody else."""
    gauge.clear()
    for hotkey, value in values.items():
        if hotkey in uids:
            gauge.labels(uid=uids[hotkey]).set(value)


@contextmanager
def served(port: int | None) -> Iterator[None]:
    """Serve the metrics on loopback while this lasts; None: do not.

    Raises SetupError where the port is taken.
    """
    if port is None:
        yield
        return
    BUILD.labels(version=__version__, python=platform.python_version()).set(1)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
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
