"""The interfaces of the adapters that miner and validator use."""

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

OnProgress = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Chain(Protocol):
    """One subnet of the chain through one wallet. Every method may raise ChainError's kinds.

    Blocking, for one thread; every call has its own timeout. Once the program is asked to stop, a call in
    progress has a few seconds left, then raises Interrupted; its submission may have landed.
    """

    hotkey: str  # ss58 address of the wallet's hotkey

    def block(self) -> int: ...

    def block_hash(self, block: int) -> bytes:
        """The 32 bytes of a block's hash. Raises ChainPruned if the node does not have that block."""
        ...

    def genesis(self) -> bytes:
        """The 32 bytes of block 0's hash, which identifies the chain."""
        ...

    def epoch_status(self) -> EpochStatus: ...

    def uid(self) -> int | None:
        """This wallet's uid on the subnet; None if not registered."""
        ...

    def snapshot(self, block: int | None = None) -> SubnetSnapshot:
        """The metagraph and all commitments at one block (None: the latest).

        Requests do not grow with the number of miners. Raises ChainPruned for a ``block`` whose state the
        node does not have.
        """
        ...

    def commitment(self) -> RawCommitment | None:
        """This wallet's hotkey's commitment now."""
        ...

    def commit(self, text: str) -> Receipt:
        """Commit ``text`` for this hotkey. After ChainTransient it may still have landed."""
        ...

    def set_weights(self, weights: Mapping[int, float], *, since: int | None = None) -> Receipt:
        """Submit weights by uid, non-negative, of any positive sum. After ChainTransient as ``commit``.

        If the chain shows weights set after block ``since``, these are they: nothing is sent, and the receipt
        has no extrinsic. They are sent with the subnet's WeightsVersionKey.
        """
        ...

    def weights_on_chain(self) -> ChainWeights:
        """This hotkey's weights on chain now; empty if not registered. Under commit-reveal, weights just set
        are ``sealed`` first.
        """
        ...

    def wait_for_block(self, block: int, *, timeout: float) -> bool:
        """Wait, without polling, until the chain reaches ``block``; False after ``timeout`` seconds."""
        ...

    def close(self) -> None: ...


class Hub(Protocol):
    """The dataset side of a Hugging Face Hub under one token.

    Once the program is asked to stop, calls waiting for the hub raise Interrupted immediately.
    """

    def account(self) -> HubAccount:
        """The token's account. Raises HubUnauthorized for a missing or wrong token."""
        ...

    def repo_state(self, repo_id: str) -> RepoState | None:
        """The repo as this token sees it; None if missing or invisible to it."""
        ...

    def holds(self, repo_id: str, file: Path) -> bool:
        """Whether the repo's head already has ``file`` as its ``data.jsonl``."""
        ...

    def upload(self, repo_id: str, file: Path, card: str | None = None) -> Upload:
        """Make ``file`` the repo's ``data.jsonl``. A repo that does not exist is created private.

        The same content at the repo's head makes no new commit. ``card``: a README for a repo that has none,
        in the same commit.
        """
        ...

    def publish(self, repo_id: str) -> None:
        """Make the repo public; no-op if it is."""
        ...

    def download(self, namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path:
        """``data.jsonl`` of one dataset at one commit, verified against the hub's hash of it.

        The size is known and bounded before the first byte; the file appears under ``directory`` complete or
        not at all, under a name that contains no outside text. An existing file is not downloaded again. Safe
        to call from several threads. Raises MinerFault (REPO_MISSING, COMMIT_MISSING, FILE_MISSING,
        TOO_LARGE), HubError's kinds, or SetupError for the disk.
        """
        ...


class Datasets(Protocol):
    """The datasets on this machine, within a disk budget."""

    def begin(self, needed: Collection[tuple[str, str]]) -> None:
        """An epoch starts that needs these (namespace, commit) pairs. Raises SetupError for the disk."""
        ...

    def get(self, namespace: str, commit: str, *, max_bytes: int, needed: bool = True) -> Path:
        """``data.jsonl`` of one dataset at one commit, downloaded unless present and intact.

        ``needed``: whether it must stay for the epoch; else it may go as soon as room is needed. Safe to call
        from several threads. Raises what ``Hub.download`` does.
        """
        ...


class RowEncoder(Protocol):
    """The base model's tokenizer and chat template."""

    special_tokens: frozenset[str]

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """The rows under the chat template, each cut at the competition's context length.

        Safe to call from several threads. Raises MinerFault (``SPECIAL_TOKEN``) if a row imitates the
        template's delimiters.
        """
        ...


class Evaluator(Protocol):
    """Trains and measures datasets in worker processes that keep the base model loaded.

    The same dataset content and seed give the same loss, to the last bit, on the same kind of device.
    Concurrent calls are served in order of arrival.
    """

    devices: int  # datasets trained on at the same time
    slots: int  # useful concurrent calls of ``evaluate``, each from its own thread

    @property
    def seconds_per_token(self) -> float | None:
        """Training time on one device per dataset token; None if not calibrated."""
        ...

    def base_loss(self, *, on_progress: OnProgress, should_stop: ShouldStop) -> Measurement:
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
        on_progress: OnProgress,
        should_stop: ShouldStop,
    ) -> Measurement:
        """Train a fresh adapter on ``dataset``, of ``tokens`` tokens a pass, and measure it.

        ``left_out``: 1-based lines of the file, in order; they and their copies are not trained on.
        ``should_stop`` is called about once a second; once it returns True the worker is stopped and
        EvaluationStopped raised; if ``on_progress`` was never called nothing was begun. A worker that dies,
        hangs, runs out of memory or meets a device error is replaced and the dataset retried, at most twice;
        then EvaluationFault is raised. EvaluationTooSlow is raised, without a retry, if a working worker
        exceeds its time limit.
        """
        ...

    def close(self) -> None:
        """Stop all workers; no process is left behind. No call may be in progress."""
        ...
