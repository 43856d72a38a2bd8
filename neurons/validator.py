"""The validator: evaluates miners' datasets and sets weights, epoch after epoch.

python3 neurons/validator.py --wallet.name NAME --netuid N
"""

import logging
import sys
import threading
from collections.abc import Sequence

try:
    from flockoff import assemble
    from flockoff.alerts import alerting
    from flockoff.errors import Interrupted
    from flockoff.launch import lenient_output, run
    from flockoff.logs import set_up_logging
    from flockoff.metrics import Metrics, served
    from flockoff.settings import ValidatorSettings, validator_settings
    from flockoff.updates import updates_checked
    from flockoff.validate import run_epochs
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Run 'uv sync' first, then use 'uv run python3 …' or activate .venv.")
except KeyboardInterrupt:
    sys.exit(130)

log = logging.getLogger("flockoff.validator")


def main(argv: Sequence[str] | None = None) -> int:
    lenient_output()
    settings = validator_settings(argv)
    log, secrets = settings.neuron.log, settings.secrets
    set_up_logging(log.level, log.directory, "validator", secrets, as_json=log.as_json)
    return run(lambda stop: validate(settings, stop))


def validate(settings: ValidatorSettings, stop: threading.Event) -> int:
    """Returns 0 also when asked to stop, the normal end of a service."""
    metrics = Metrics()
    try:
        with (
            served(metrics, settings.metrics),
            updates_checked(settings.check_updates),
            assemble.shown(settings),
            alerting(
                settings.alerts,
                settings.data_dir,
                name=f"validator on subnet {settings.neuron.netuid}",
                secrets=settings.secrets,
            ),
            assemble.open_validator(settings, stop, metrics) as validator,
        ):
            all_set = run_epochs(validator, settings.epochs, from_next=settings.from_next_epoch)
            return 0 if all_set else 1
    except Interrupted:
        log.info("Stopped on request. A restart continues where it left off.")
        return 0
    finally:
        log.info("The validator has ended.")


if __name__ == "__main__":
    sys.exit(main())
