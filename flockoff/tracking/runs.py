"""A Weights & Biases run that follows a validator's ledger. The only importer of wandb.

Key and mode (WANDB_API_KEY, WANDB_MODE=offline …) are wandb's own settings. Its failures never reach the
validator: they are logged, and the next epoch tries again.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flockoff.errors import LedgerError
from flockoff.launch import require_installed
from flockoff.ledger import Ledger, Result
from flockoff.text import printable

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

_INIT_SECONDS = 30.0
_COLUMNS = ("uid", "hotkey", "dataset", "loss", "win_rate", "score", "weight", "verdict")


@contextmanager
def tracked(
    project: str | None,
    entity: str | None,
    *,
    ledger: Path,
    directory: Path,
    config: Mapping[str, object],
) -> Iterator[Callable[[int], None]]:
    """Yields a function to call after each epoch, with its start block; a no-op without a ``project``.

    ``ledger``: the validator's, read concurrently. ``directory``: for wandb's files. ``config``: the run's
    config. Raises SetupError if wandb is not installed.
    """
    if project is None:
        yield lambda _: None
        return
    require_installed("wandb", extra="wandb")
    tracker = _Tracker(project, entity, ledger, directory, config)
    try:
        yield tracker.tell
    finally:
        tracker.close()


class _Tracker:
    def __init__(
        self,
        project: str,
        entity: str | None,
        ledger: Path,
        directory: Path,
        config: Mapping[str, object],
    ) -> None:
        self._project = project
        self._entity = entity
        self._ledger = ledger
        self._directory = directory
        self._config = dict(config)
        self._run: wandb.Run | None = None

    def tell(self, start_block: int) -> None:
        import wandb

        try:
            logged = _epoch(self._ledger, start_block)
            if self._run is None:
                self._run = self._begin()
            self._run.log(logged, step=start_block)
        except (wandb.Error, OSError, LedgerError) as error:
            log.warning(
                "Epoch %d could not be logged to Weights & Biases: %s. The next one will be tried.",
                start_block,
                error,
            )

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _begin(self) -> "wandb.Run":
        import wandb

        self._directory.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._project,
            entity=self._entity,
            dir=str(self._directory),
            job_type="validator",
            config=self._config,
            settings=wandb.Settings(
                init_timeout=_INIT_SECONDS, console="off", quiet=True, disable_git=True, save_code=False
            ),
        )


def _epoch(path: Path, start_block: int) -> dict[str, object]:
    """An epoch as numbers by name, and its leaderboard."""
    import wandb

    with Ledger.look(path) as ledger:
        rows, base = ledger.views.leaderboard(start_block), ledger.base_loss()
        [summary] = [each for each in ledger.views.epochs(50) if each.start_block == start_block]
    losses = sorted(row.loss for row in rows if row.loss is not None)
    logged: dict[str, object] = {
        "epoch/eligible": summary.eligible,
        "epoch/at_fault": summary.at_fault,
        "epoch/not_evaluated": summary.not_evaluated,
        "epoch/evaluating_seconds": summary.seconds or 0.0,
        "leaderboard": wandb.Table(columns=list(_COLUMNS), data=[_cells(row) for row in rows]),
    }
    if base is not None:
        logged["loss/base"] = base.loss
    if losses:
        logged |= {"loss/best": losses[0], "loss/median": losses[len(losses) // 2]}
    for row in rows:
        values = {"loss": row.loss, "score": row.score, "weight": row.weight, "win_rate": row.win_rate}
        logged |= {f"{name}/uid_{row.uid}": value for name, value in values.items() if value is not None}
    return logged


def _cells(row: Result) -> list[object]:
    verdict = row.reason or row.standing or "no turn"
    return [
        row.uid,
        row.hotkey,
        printable(row.model_id or "", 128),
        row.loss,
        row.win_rate,
        row.score,
        row.weight,
        str(verdict),
    ]
