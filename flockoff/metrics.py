"""What a running program counts, for Prometheus to read: names are stable, dashboards are built on them."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from flockoff.errors import SetupError

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
WEIGHTS_SET_AT = Gauge(
    "flockoff_weights_set_timestamp_seconds",
    "When weights were last set, in UTC seconds; 0 before the first time.",
    registry=REGISTRY,
)


@contextmanager
def served(port: int | None) -> Iterator[None]:
    """Let Prometheus read the metrics on loopback while this lasts; None: not.

    Raises SetupError where the port is taken.
    """
    if port is None:
        yield
        return
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
