"""What mining and validating need of the outside world: the adapters' small interfaces."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from flockoff.records import (
    ChainWeights,
    EncodedRow,
    EpochStatus,
    HubAccount,
    Measurement,
    Progress,
    RawCommitment,
    Receipt,
    RepoState,
    Row,
    SubnetSnapshot,
    Upload,
)


class Chain(Protocol):
    """One subnet of the chain through one wallet. Every method may raise ChainError's kinds.

    Blocking, used from one thread; every call has a time limit of its own. Once the program is asked to stop
    a call under way has a few seconds left, then raises Interrupted; what it was submitting may have landed.
    """

    hotkey: str  # ss58 address of the wallet's hotkey

    def block(self) -> int: ...

    def block_hash(self, block: int) -> bytes:
        """The 32 bytes of a block's hash. Raises ChainPruned where the node does not have that block."""
        ...

    def genesis(self) -> bytes:
        """The 32 bytes of block 0's hash: which chain this is."""
        ...

    def epoch_status(self) -> EpochStatus: ...

    def uid(self) -> int | None:
        """This wallet's uid on the subnet; None where it is not registered."""
        ...

    def snapshot(self, block: int | None = None) -> SubnetSnapshot:
        """The metagraph and all commitments at one block (None: the latest).

        Requests do not grow with the number of miners. Raises ChainPruned for a ``block`` whose state the
        node does not have.
        """
        ...

    def commitment(self) -> RawCommitment | None:
        """What this wallet's hotkey has on chain now."""
        ...

    def commit(self, text: str) -> Receipt:
        """Put ``text`` on chain for this hotkey. After ChainTransient it may have landed all the same."""
        ...

    def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
        """Submit weights by uid, non-negative, of any positive sum. After ChainTransient as ``commit``.

        What the chain shows as set after block ``since`` are these weights: they are not sent again, and the
        receipt has no extrinsic. They are sent under the subnet's own WeightsVersionKey.
        """
        ...

    def weights_on_chain(self) -> ChainWeights:
        """What the chain holds of this hotkey's weights now; none where it is not registered.

        Where the subnet uses commit-reveal, weights just set are ``sealed`` first.
        """
        ...

    def wait_for_block(self, block: int, *, timeout: float) -> bool:
        """Wait, without polling, until the chain reaches ``block``; False after ``timeout`` seconds."""
        ...

    def close(self) -> None: ...


class Hub(Protocol):
    """The dataset side of a Hugging Face Hub under one token.

    Once the program is asked to stop, what waits for the hub gives up at once and raises Interrupted.
    """

    def account(self) -> HubAccount:
        """Who the token belongs to. Raises HubUnauthorized for none or a wrong one."""
        ...

    def repo_state(self, repo_id: str) -> RepoState | None:
        """The repo as this token sees it; None where it is missing or invisible to it."""
        ...

    def holds(self, repo_id: str, file: Path) -> bool:
        """Whether the repo's head has ``file`` as its ``data.jsonl`` already."""
        ...

    def upload(self, repo_id: str, file: Path, card: str | None = None) -> Upload:
        """Make ``file`` the repo's ``data.jsonl``. A repo that does not exist is created private.

        The same content at the repo's head makes no new commit. ``card``: a README for a repo that has none,
        in the same commit.
        """
        ...

    def publish(self, repo_id: str) -> None:
        """Make the repo public; no change where it is."""
        ...

    def download(self, namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path:
        """``data.jsonl`` of one dataset at one commit, verified against the hub's own hash of it.

        The size is known and bounded before the first byte; the file appears under ``directory`` whole
        or not at all, under a name that holds no text from outside. What is there already is not fetched
        again. Safe to call from several threads. Raises MinerFault (REPO_MISSING, COMMIT_MISSING,
        FILE_MISSING, TOO_LARGE), HubError's kinds, or SetupError for the disk.
        """
        ...


class Datasets(Protocol):
    """The datasets kept on this machine, within a budget of disk space."""

    def begin(self, needed: Collection[tuple[str, str]]) -> None:
        """An epoch starts that needs these (namespace, commit) pairs. Raises SetupError for the disk."""
        ...

    def get(self, namespace: str, commit: str, *, max_bytes: int, needed: bool = True) -> Path:
        """``data.jsonl`` of one dataset at one commit, downloaded if it is not here intact.

        ``needed``: whether it must stay for the epoch; else it may go as soon as room is needed. Safe to call
        from several threads. Raises what ``Hub.download`` does.
        """
        ...


class RowEncoder(Protocol):
    """The base model's tokenizer and chat template."""

    special_tokens: frozenset[str]

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """The rows under the chat template, each cut at the competition's context length.

        Safe to call from several threads. Raises MinerFault (``SPECIAL_TOKEN``) where one of the rows
        imitates the template's marks.
        """
        ...


class Evaluator(Protocol):
    """Trains and measures datasets in processes of their own, on a base model that stays loaded.

    The same dataset content and seed give the same loss to the last bit on the same kind of device. Of calls
    under way at the same time, the ones that came first are evaluated first.
    """

    devices: int  # datasets that are trained on at the same time
    slots: int  # calls of ``evaluate`` that can be of use at the same time, each from a thread of its own

    @property
    def seconds_per_token(self) -> float | None:
        """Of training on one device, for each token of a dataset; None where it was not tried out."""
        ...

    def base_loss(
        self, *, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]
    ) -> Measurement:
        """The evaluation set's loss under the base model without any adapter (measured once, then kept)."""
        ...

    def evaluate(
        self,
        dataset: Path,
        content_hash: str,
        seed: int,
        *,
        tokens: int,
        left_out: tuple[int, ...] = (),
        on_progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
    ) -> Measurement:
        """Train a fresh adapter on ``dataset``, of ``tokens`` tokens a pass, and measure it.

        ``left_out``: 1-based lines of the file, in order; they and their copies are not trained on.
        ``should_stop`` is asked about once a second; when it says True the worker is stopped and
        EvaluationStopped raised; nothing was begun where ``on_progress`` was never called. A worker that
        dies, hangs, runs out of memory or meets a device error is replaced and the dataset tried again, twice
        at most; then EvaluationFault is raised, or EvaluationTooSlow without another try where the worker
        went on for longer than it may.
        """
        ...

    def close(self) -> None:
        """Stop all workers; no process is left behind. No call may be under way."""
        ...
