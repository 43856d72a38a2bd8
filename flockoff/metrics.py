"""What a running program counts, for Prometheus to read: names are stable, dashboards are built on them."""

from prometheus_client import CollectorRegistry, Counter

REGISTRY = CollectorRegistry()

FAULTS = Counter(
    "flockoff_faults",
    "Faults that were not a miner's, by the class of the error.",
    ["kind"],
    registry=REGISTRY,
)
WORKER_RESTARTS = Counter(
    "flockoff_worker_restarts",
    "Evaluation workers that were replaced, by what was wrong with the one before.",
    ["cause"],
    registry=REGISTRY,
)
WEIGHTS_LATE = Counter(
    "flockoff_weights_late",
    "Attempts to set weights that failed after the epoch's time for evaluating was over.",
    registry=REGISTRY,
)
EPOCHS_WITHOUT_WEIGHTS = Counter(
    "flockoff_epochs_without_weights",
    "Epochs that ended before their weights could be set.",
    registry=REGISTRY,
)
