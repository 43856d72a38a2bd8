"""Requests to the hub through huggingface_hub: one attempt each, with our records and errors."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import DatasetInfo, RepoFile

from flockoff.errors import HubFatal, Reason
from flockoff.hub.deadline import HubCall, under_way
from flockoff.hub.files import Missing, RemoteFile
from flockoff.hub.library import build_hf_headers
from flockoff.hub.retries import Patience, Stop
from flockoff.hub.session import configure_library
from flockoff.hub.transfer import Transfer, fetch
from flockoff.hub.translation import translated
from flockoff.logs import TRACE
from flockoff.records import RepoState, is_repo_id
from flockoff.text import without_key

log = logging.getLogger(__name__)

RepoType = Literal["dataset", "model"]


class Remote:
    """A hub under one token. Every method is one attempt and raises HubError's kinds; thread-safe.

    An attempt takes no longer than ``patience`` allows, and raises Interrupted soon after ``stop`` is set.
    """

    def __init__(self, endpoint: str | None, token: str | None, patience: Patience, stop: Stop) -> None:
        configure_library()
        self._patience = patience
        self._stop = stop
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        # False, not None: None would send the token stored by `hf auth login`
        sent = token or False
        self._api = HfApi(self._endpoint, sent, "flockoff", version("flockoff"))
        self._headers = build_hf_headers(
            token=sent, library_name="flockoff", library_version=version("flockoff")
        )

    @property
    def address(self) -> str:
        """The hub's address, without what of it may be a secret."""
        return without_key(self._endpoint)

    @contextmanager
    def _call(self, doing: str, size: int = 0) -> Iterator[None]:
        """One attempt at ``doing``, which moves ``size`` bytes."""
        log.log(TRACE, "hub: %s", doing)
        with translated(doing):
            home = httpx2.URL(self._endpoint)
            with under_way(HubCall(doing, self._stop, self._patience.deadline(size), home)):
                yield

    def whoami(self) -> Mapping[str, Any]:
        with self._call("check the hub token"):
            answer = self._api.whoami()
            if not isinstance(answer.get("name"), str):
                raise HubFatal("The hub does not say whose token this is.")
            return answer

    def state(self, repo_id: str, revision: str | None) -> RepoState:
        """A dataset repo's visibility, and the commit of ``revision`` (None: main)."""
        with self._call(f"look up {repo_id}"):
            # Not the full info: it lists every file, and a repo may have a million of them.
            info = self._info(repo_id, revision, ["sha", "private"])
            if not info.sha:
                raise HubFatal(f"The hub names no commit of {repo_id}.")
            if not is_repo_id(info.id):
                raise HubFatal(f"The hub does not give the full name of {repo_id}.")
            return RepoState(info.id, private=bool(info.private), head=info.sha)

    def check_open(self, repo_id: str) -> None:
        """Raises Missing for a dataset repo that does not exist or is not public."""
        with self._call(f"look up {repo_id}"):
            info = self._info(repo_id, None, ["private", "gated", "disabled"])
            if info.private or info.gated or info.disabled:
                raise Missing(Reason.REPO_MISSING, f"{repo_id} is private, gated or disabled.")

    def _info(self, repo_id: str, revision: str | None, fields: list[Any]) -> DatasetInfo:
        return self._api.dataset_info(
            repo_id, revision=revision, expand=fields, timeout=self._patience.timeout
        )

    def files(
        self, repo_id: str, revision: str, paths: list[str], kind: RepoType = "dataset"
    ) -> list[RemoteFile]:
        """Those of ``paths`` that exist in the repo at ``revision``."""
        with self._call(f"look up the files of {repo_id}"):
            found = self._api.get_paths_info(repo_id, paths, revision=revision, repo_type=kind)
            return [
                self._remote(repo_id, revision, kind, item)
                for item in found
                if isinstance(item, RepoFile) and item.path in paths
            ]

    def listing(self, repo_id: str, revision: str, kind: RepoType = "model") -> list[str]:
        """The names of all files of a repo, which is trusted to be of sane size."""
        look = self._api.model_info if kind == "model" else self._api.dataset_info
        with self._call(f"list the files of {repo_id}"):
            info = look(repo_id, revision=revision, timeout=self._patience.timeout)
            return [sibling.rfilename for sibling in info.siblings or []]

    def _remote(self, repo_id: str, revision: str, kind: RepoType, item: RepoFile) -> RemoteFile:
        url = hf_hub_url(repo_id, item.path, repo_type=kind, revision=revision, endpoint=self._endpoint)
        sha256 = item.lfs.sha256 if item.lfs else None
        return RemoteFile(item.path, url, item.size, sha256, None if item.lfs else item.blob_id)

    def create_private(self, repo_id: str) -> bool:
        """Create the dataset repo; False if it already exists."""
        with self._call(f"create the dataset repo {repo_id}"):
            try:
                self._api.create_repo(repo_id, repo_type="dataset", private=True)
            except HfHubHTTPError as error:
                if error.response.status_code != HTTPStatus.CONFLICT:
                    raise
                return False
            return True

    def publish(self, repo_id: str) -> None:
        with self._call(f"make {repo_id} public"):
            self._api.update_repo_settings(repo_id, private=False, repo_type="dataset")

    def commit(self, repo_id: str, name: str, file: Path, more: Mapping[str, bytes], *, parent: str) -> str:
        """Commit ``file`` as ``name``, and ``more`` by name, on top of ``parent`` and return the commit.

        Raises HubTransient also where the branch has moved on from ``parent``.
        """
        with (
            translated(f"upload {name} to {repo_id}"),
            file.open("rb") as content,
            self._call(f"upload {name} to {repo_id}", file.stat().st_size),
        ):
            # For a file given by path the library would draw a progress bar.
            operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)]
            operations += [CommitOperationAdd(path, small) for path, small in more.items()]
            made = self._api.create_commit(
                repo_id,
                operations,
                commit_message=f"Update {name}",
                repo_type="dataset",
                parent_commit=parent,
            )
            return made.oid

    def fetch(self, file: RemoteFile, target: Path, deadline: float) -> None:
        """``transfer.fetch`` from this hub, until ``deadline`` (monotonic)."""
        fetch(
            file,
            target,
            Transfer(self._endpoint, self._headers, self._patience.timeout, deadline, self._stop),
        )
