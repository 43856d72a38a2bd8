"""The hub adapter: ``ports.Hub`` over huggingface_hub, and the competition's own files."""

import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from flockoff.competition import BaseModel, EvaluationSet, PublicSample, SealedSet
from flockoff.errors import HubTransient, HubUnauthorized, MinerFault, Reason, SetupError, UsageError
from flockoff.hub.files import ContentGone, Missing, RemoteFile, dataset_key, digest_of
from flockoff.hub.retries import Patience, Stop, retrying
from flockoff.hub.rights import account_of, require_write
from flockoff.pinned import PinnedFile
from flockoff.records import PUBLIC_HUB, HubAccount, RepoState, Upload, is_commit, is_repo_id

if TYPE_CHECKING:
    from flockoff.hub.remote import Remote

DATA_FILE = "data.jsonl"
CARD_FILE = "README.md"
MAX_EVALUATION_BYTES = 64 * 1024 * 1024

_RECORDS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
_MAX_RECORD_FILES = 500
_TOKEN_MEMORY = 600.0  # seconds for which a verified token counts as valid
_CONTENT_MEMORY = 3600.0  # seconds after a download for which the hub's storage counts as working
_SET_NAMES = {
    EvaluationSet: "evaluation set",
    SealedSet: "sealed evaluation set",
    PublicSample: "public sample",
}
_COMPLETE, _TOKENIZER_COMPLETE = ".complete", ".tokenizer-complete"  # marker files in a model's folder
_WEIGHTS = re.compile(r"[\w.-]+\.safetensors")
_TOKENIZER_FILES = re.compile(
    r"tokenizer\.json|tokenizer_config\.json|chat_template[\w.-]*|special_tokens_map\.json"
    r"|added_tokens\.json|config\.json"
)
_MODEL_FILES = re.compile(
    rf"{_WEIGHTS.pattern}|[\w.-]+\.json|chat_template\.jinja|tokenizer\.model|merges\.txt|vocab\.txt"
)

T = TypeVar("T")


class HubClient:
    """A Hugging Face Hub under one token (None: anonymous).

    ``endpoint``: the hub's address; None: HF_ENDPOINT, or the public hub. Requests are retried according to
    ``patience``, and only if that is safe. Once ``stop`` is set, calls waiting for the hub raise Interrupted
    within a moment. ``on_retry`` is called before each retry. Thread-safe.
    """

    def __init__(
        self,
        token: str | None,
        endpoint: str | None = None,
        *,
        patience: Patience | None = None,
        stop: threading.Event | None = None,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self._token = token
        self._endpoint = endpoint
        self._patience = patience or Patience()
        self._on_retry = on_retry
        self._closed = threading.Event()
        self._stop = Stop(stop, self._closed) if stop is not None else Stop(self._closed)
        self._token_was_good_at = -math.inf  # time.monotonic()
        self._content_came_at = -math.inf  # of any file

    def close(self) -> None:
        """Interrupt calls in progress in other threads."""
        self._closed.set()

    @cached_property
    def _remote(self) -> "Remote":
        from flockoff.hub.remote import Remote

        return Remote(self._endpoint, self._token, self._patience, self._stop)

    def _retrying(self, attempt: Callable[[], T], *, deadline: float | None = None) -> T:
        return retrying(attempt, self._patience, self._stop, deadline=deadline, on_retry=self._on_retry)

    # --- the miner's side --------------------------------------------------------------------------------

    def account(self) -> HubAccount:
        """The token's account. Raises HubUnauthorized for a missing or wrong token."""
        return account_of(self._whoami())

    def _whoami(self) -> Mapping[str, Any]:
        if self._token is None:
            raise HubUnauthorized(
                "There is no Hugging Face token.",
                remedy="Make one at https://huggingface.co/settings/tokens and set HF_TOKEN in .env.",
            )
        answer = self._retrying(self._remote.whoami)
        self._token_was_good_at = time.monotonic()
        return answer

    def repo_state(self, repo_id: str) -> RepoState | None:
        """The repo as this token sees it; None if missing or invisible to it."""
        try:
            return self._retrying(lambda: self._remote.state(repo_id, None))
        except Missing:
            return None

    def holds(self, repo_id: str, file: Path) -> bool:
        """Whether the repo's head already has ``file`` as its ``data.jsonl``."""
        state = self.repo_state(repo_id)
        return state is not None and self._retrying(lambda: self._holds(repo_id, state.head, file))

    def upload(self, repo_id: str, file: Path, card: str | None = None) -> Upload:
        """Make ``file`` the repo's ``data.jsonl``. A repo that does not exist is created private.

        ``card`` becomes the README, in the same commit, of a repo that has none. Checks before every commit:
        an upload whose answer was lost is recognised by its content.
        """
        require_write(self.account(), repo_id)
        return self._retrying(lambda: self._upload_once(repo_id, file, card))

    def _upload_once(self, repo_id: str, file: Path, card: str | None) -> Upload:
        try:
            state = self._remote.state(repo_id, None)
        except Missing:
            state = self._created(repo_id)
        head = state.head
        if self._holds(repo_id, head, file):
            return Upload(state.repo_id, commit=head, changed=False)
        if card is not None and self._remote.files(repo_id, head, [CARD_FILE]):
            card = None
        more = {} if card is None else {CARD_FILE: card.encode()}
        commit = self._remote.commit(repo_id, DATA_FILE, file, more, parent=head)
        if not self._holds(repo_id, commit, file):
            raise HubTransient(f"{repo_id} changed while {DATA_FILE} was uploaded to it.")
        return Upload(state.repo_id, commit=commit, changed=commit != head)

    def _created(self, repo_id: str) -> RepoState:
        created = self._remote.create_private(repo_id)
        try:
            return self._remote.state(repo_id, None)
        except Missing as error:
            if created:
                raise HubTransient(
                    f"The hub has just created {repo_id}, but does not show it yet."
                ) from error
            raise HubUnauthorized(
                f"The dataset repo {repo_id} exists, but this Hugging Face token does not see it.",
                remedy="Give the token access to the repo, or choose another repo.",
            ) from error

    def _holds(self, repo_id: str, commit: str, file: Path) -> bool:
        found = self._remote.files(repo_id, commit, [DATA_FILE])
        return bool(found) and found[0].is_same(digest_of(file))

    def dataset_url(self, repo_id: str, commit: str) -> str:
        """Where people see a dataset repo at a commit."""
        return f"{self._remote.address}/datasets/{repo_id}/tree/{commit}"

    def publish(self, repo_id: str) -> None:
        """Make the repo public; no-op if it is."""

        def attempt() -> None:
            if self._remote.state(repo_id, None).private:
                self._remote.publish(repo_id)

        self._retrying(attempt)

    # --- the validator's side ----------------------------------------------------------------------------

    def download(self, namespace: str, commit: str, directory: Path, *, max_bytes: int) -> Path:
        """``data.jsonl`` of one dataset at one commit, verified against the hub's hash of it.

        As ``ports.Hub`` specifies. A file that exists is complete. Content that differs from its announced
        hash is HubTransient, however often: a corrupted hub cannot be told apart from a miner's trick.
        """
        target = directory / f"{dataset_key(namespace, commit)}.jsonl"
        if target.exists():
            return target
        try:
            self._fetch_dataset(namespace, commit, target, max_bytes)
        except HubUnauthorized as refusal:
            self._explain(refusal, namespace, commit)
        except Missing as missing:
            self._blame(missing.reason, namespace, commit)
        except ContentGone:
            if time.monotonic() - self._content_came_at > _CONTENT_MEMORY:
                raise  # the hub may have lost its storage, without the miner deleting anything
            self._blame(Reason.FILE_MISSING, namespace, commit)
        return target

    def _fetch_dataset(self, namespace: str, commit: str, target: Path, max_bytes: int) -> None:
        if not is_repo_id(namespace):
            raise Missing(Reason.REPO_MISSING, f"{namespace!r} is not a repo id.")
        file = self._retrying(lambda: self._located(namespace, commit))
        if file.size > max_bytes:
            raise MinerFault(
                Reason.TOO_LARGE,
                f"{DATA_FILE} of {namespace} has {file.size:,} bytes; {max_bytes:,} are allowed.",
                remedy="Commit a smaller dataset.",
            )
        self._fetch(file, target)

    def _located(self, repo_id: str, commit: str) -> RemoteFile:
        """The hub's description of ``data.jsonl`` in a dataset repo at a commit. Raises Missing."""
        if not is_commit(commit) or self._remote.state(repo_id, commit).head != commit:
            raise Missing(Reason.COMMIT_MISSING, f"{repo_id} has no commit {commit}.")
        found = self._remote.files(repo_id, commit, [DATA_FILE])
        if not found:
            raise Missing(Reason.FILE_MISSING, f"{repo_id} has no {DATA_FILE} at {commit}.")
        return found[0]

    def _fetch(self, file: RemoteFile, target: Path) -> None:
        deadline = self._patience.deadline(file.size)
        self._retrying(lambda: self._remote.fetch(file, target, deadline), deadline=deadline)
        self._content_came_at = time.monotonic()

    def _explain(self, refusal: HubUnauthorized, namespace: str, commit: str) -> NoReturn:
        """Raise the fault behind a refused download.

        A token that the hub does not know is our fault, a repo closed to the public the miner's. If the hub
        refuses a valid token a public repo, nothing shows that it is the miner's fault.
        """
        if self._token is not None:
            self._whoami()
        try:
            self._retrying(lambda: self._remote.check_open(namespace))
        except Missing as missing:
            self._blame(missing.reason, namespace, commit)
        raise HubTransient(
            f"The hub refuses this machine {namespace}, although it is public: {refusal.message}"
        ) from refusal

    def _blame(self, reason: Reason, namespace: str, commit: str) -> NoReturn:
        """Raise the miner's fault, after making sure that it is not ours.

        The hub gives the same answer for a missing repo and to an expired token.
        """
        if self._token is not None and time.monotonic() - self._token_was_good_at > _TOKEN_MEMORY:
            self._whoami()
        message, remedy = {
            Reason.REPO_MISSING: (
                f"The dataset repo {namespace} is missing, private or gated.",
                "Make it public in its settings on the hub.",
            ),
            Reason.COMMIT_MISSING: (f"{namespace} has no commit {commit}.", "Submit the dataset again."),
            Reason.FILE_MISSING: (
                f"{namespace} has no file {DATA_FILE} at {commit}.",
                "Submit the dataset again.",
            ),
        }[reason]
        raise MinerFault(reason, message, remedy=remedy)

    # --- anybody's records --------------------------------------------------------------------------------

    def record_files(self, repo_id: str) -> list[RemoteFile]:
        """The files of a dataset repo's head that may hold records, in order of their names.

        Raises SetupError for a repo that is missing, or that the hub keeps from this token.
        """
        try:
            head = self._retrying(lambda: self._remote.state(repo_id, None)).head
            names = self._retrying(lambda: self._remote.listing(repo_id, head, "dataset"))
        except (Missing, HubUnauthorized) as refusal:
            raise SetupError(
                f"The hub has no dataset {repo_id}, or keeps it from this token.",
                remedy="Check the name; a private or gated dataset needs the HF_TOKEN of who may read it.",
            ) from refusal
        wanted = sorted(name for name in names if name.lower().endswith(_RECORDS))[:_MAX_RECORD_FILES]
        return self._retrying(lambda: self._remote.files(repo_id, head, wanted)) if wanted else []

    def fetch_records(self, file: RemoteFile, target: Path) -> None:
        """Make ``target`` one of the ``record_files``, verified against the hub's hash of it."""
        self._fetch(file, target)

    # --- the competition's files -------------------------------------------------------------------------

    def fetch_base_model(self, base: BaseModel, cache_dir: Path, *, tokenizer_only: bool) -> Path:
        """The folder under ``cache_dir`` with the model's files at its pinned commit, downloaded if
        necessary.

        Weights come as safetensors, and nothing that could run as code is downloaded; with ``tokenizer_only``
        only the tokenizer's files. Every file is verified against the hub's hash. A complete folder is used
        without contacting the hub. Raises HubError's kinds, SetupError for the disk.
        """
        if not is_repo_id(base.repo):
            raise UsageError(f"base_model.repo must be of the form owner/name, not {base.repo!r}.")
        here = cached_base_model(base, cache_dir, tokenizer_only=tokenizer_only)
        if here is not None:
            return here
        directory = _model_directory(base, cache_dir)
        for file in self._model_files(base, tokenizer_only):
            if not (directory / file.path).exists():
                self._fetch(file, directory / file.path)
        (directory / (_TOKENIZER_COMPLETE if tokenizer_only else _COMPLETE)).touch()
        return directory

    def _model_files(self, base: BaseModel, tokenizer_only: bool) -> list[RemoteFile]:
        wanted = _TOKENIZER_FILES if tokenizer_only else _MODEL_FILES
        try:
            names = self._retrying(lambda: self._remote.listing(base.repo, base.revision))
        except Missing as missing:
            raise SetupError(
                f"The hub at {self._remote.address} has no model {base.repo} at commit {base.revision}.",
                remedy="Name the competition of this network with --competition; the local network's is "
                "flockoff/localnet/smollm2.toml."
                if self._remote.address != PUBLIC_HUB
                else "Correct base_model in the competition file.",
            ) from missing
        names = [name for name in names if wanted.fullmatch(name)]
        for pattern in (r"tokenizer\.json", r"config\.json") + (
            () if tokenizer_only else (_WEIGHTS.pattern,)
        ):
            if not any(re.fullmatch(pattern, name) for name in names):
                raise SetupError(
                    f"The base model {base.repo} at {base.revision} has no file {pattern}.",
                    remedy="Correct base_model in the competition file.",
                )
        return self._retrying(lambda: self._remote.files(base.repo, base.revision, names, "model"))

    def fetch_evaluation_set(
        self, evaluation: EvaluationSet | SealedSet | PublicSample, directory: Path, *, retired: bool = False
    ) -> Path:
        """The set of rows that the competition names by repo and commit, checked against its SHA-256.

        Raises SetupError where the hub has no such file, keeps it from this token or has another one, where a
        sealed set that is not ``retired`` is public, and HubError's kinds.
        """
        if isinstance(evaluation, SealedSet) and not retired:
            self.require_private(evaluation)
        if evaluation.repo is None or evaluation.commit is None:
            raise UsageError("The competition names no repo for its evaluation set.")
        repo, commit, pinned = evaluation.repo, evaluation.commit, evaluation.sha256
        name = _SET_NAMES[type(evaluation)]
        target = directory / f"{pinned}.jsonl"
        file = PinnedFile(target, pinned, f"competition's {name}")
        if not file.is_here():
            try:
                self._fetch_evaluation_set(repo, commit, target, name)
            except (Missing, HubUnauthorized) as refusal:
                raise SetupError(
                    f"The hub refuses the competition's {name}: {refusal.message}",
                    remedy=f"Check HF_TOKEN, and ask the subnet's owner to let its account read {repo}.",
                ) from refusal
        file.check(
            f"{DATA_FILE} of {repo} at {commit} is a different file: correct the set in the competition file."
        )
        return target

    def require_private(self, sealed: SealedSet) -> None:
        """Raises SetupError for a sealed set in a public repo, and HubError's kinds."""
        state = self.repo_state(sealed.repo)
        if state is not None and not state.private:
            raise SetupError(
                f"{sealed.repo} is public, so the competition's sealed evaluation set is everybody's.",
                remedy="Make a competition with a new one: flockoff competition seal.",
            )

    def _fetch_evaluation_set(self, repo: str, commit: str, target: Path, name: str) -> None:
        file = self._retrying(lambda: self._located(repo, commit))
        if file.size > MAX_EVALUATION_BYTES:
            raise SetupError(f"The {name} {repo} has {file.size:,} bytes, which cannot be right.")
        self._fetch(file, target)


def cached_base_model(base: BaseModel, cache_dir: Path, *, tokenizer_only: bool) -> Path | None:
    """The folder under ``cache_dir`` with the complete model, or its tokenizer; None if incomplete."""
    directory = _model_directory(base, cache_dir)
    marks = (_COMPLETE, _TOKENIZER_COMPLETE) if tokenizer_only else (_COMPLETE,)
    return directory if any((directory / mark).exists() for mark in marks) else None


def _model_directory(base: BaseModel, cache_dir: Path) -> Path:
    return cache_dir / "models" / base.repo.replace("/", "--") / base.revision
