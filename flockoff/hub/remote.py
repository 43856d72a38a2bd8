"""The hub's requests through huggingface_hub: one attempt each, with our records and errors."""

import logging
import threading
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_url, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import default_client_factory, hf_raise_for_status

from flockoff.errors import HubFatal
from flockoff.hub.faults import translated
from flockoff.hub.files import RemoteFile
from flockoff.hub.transfer import Transfer, fetch
from flockoff.records import RepoState

RepoType = Literal["dataset", "model"]

# Seconds. huggingface_hub by itself waits for ever for the answer to whoami, create or commit.
_TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_configuring = threading.Lock()


@cache
def _configure_library() -> None:
    """Once a process: time limits, no telemetry, and no retries but our own.

    By itself huggingface_hub repeats some requests on 429 and 5xx and sleeps for as long as Retry-After
    says. Raising from the response hook ends the request at once.
    """
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # It warns that an upload from a file object goes by LFS and not by Xet. That is what we want.
    logging.getLogger("huggingface_hub._commit_api").addFilter(
        lambda record: "not supported by Xet Storage" not in record.getMessage()
    )
    set_client_factory(_client)


def _client() -> httpx2.Client:
    client = default_client_factory()
    client.timeout = _TIMEOUT
    client.event_hooks = client.event_hooks | {"response": [_raise_busy]}
    return client


def _raise_busy(response: httpx2.Response) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        hf_raise_for_status(response)


class Remote:
    """A hub under one token. Every method is one attempt and raises HubError's kinds; thread-safe."""

    def __init__(self, endpoint: str | None, token: str | None, timeout: float) -> None:
        with _configuring:
            _configure_library()
        self._timeout = timeout
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        # False, not None: None would send whatever token `hf auth login` once left on this machine
        sent = token or False
        self._api = HfApi(self._endpoint, sent, "flockoff", version("flockoff"))
        self._headers = build_hf_headers(
            token=sent, library_name="flockoff", library_version=version("flockoff")
        )

    def whoami(self) -> Mapping[str, Any]:
        with translated("check the hub token"):
            told = self._api.whoami()
            if not isinstance(told.get("name"), str):
                raise HubFatal("The hub does not tell whose token this is.")
            return told

    def state(self, repo_id: str, revision: str | None) -> RepoState:
        """A dataset repo: its visibility, and the commit that ``revision`` (None: main) stands for."""
        with translated(f"look up {repo_id}"):
            # Not all of the info: it lists every file, and a repo may have a million of them.
            info = self._api.dataset_info(
                repo_id, revision=revision, expand=["sha", "private"], timeout=self._timeout
            )
            if not info.sha:
                raise HubFatal(f"The hub tells no commit of {repo_id}.")
            return RepoState(private=bool(info.private), head=info.sha)

    def files(
        self, repo_id: str, revision: str, paths: list[str], kind: RepoType = "dataset"
    ) -> list[RemoteFile]:
        """Those of ``paths`` that are files of the repo at ``revision``."""
        with translated(f"look up the files of {repo_id}"):
            found = self._api.get_paths_info(repo_id, paths, revision=revision, repo_type=kind)
            return [
                self._remote(repo_id, revision, kind, item) for item in found if isinstance(item, RepoFile)
            ]

    def listing(self, repo_id: str, revision: str) -> list[str]:
        """The names of all files of a model repo, which is trusted to be of sane size."""
        with translated(f"list the files of {repo_id}"):
            info = self._api.model_info(repo_id, revision=revision, timeout=self._timeout)
            return [sibling.rfilename for sibling in info.siblings or []]

    def _remote(self, repo_id: str, revision: str, kind: RepoType, item: RepoFile) -> RemoteFile:
        url = hf_hub_url(repo_id, item.path, repo_type=kind, revision=revision, endpoint=self._endpoint)
        sha256 = item.lfs.sha256 if item.lfs else None
        return RemoteFile(item.path, url, item.size, sha256, None if item.lfs else item.blob_id)

    def create_private(self, repo_id: str) -> bool:
        """Create the dataset repo; False where there is one of that name already."""
        with translated(f"create the dataset repo {repo_id}"):
            try:
                self._api.create_repo(repo_id, repo_type="dataset", private=True)
            except HfHubHTTPError as error:
                if error.response.status_code != HTTPStatus.CONFLICT:
                    raise
                return False
            return True

    def publish(self, repo_id: str) -> None:
        with translated(f"make {repo_id} public"):
            self._api.update_repo_settings(repo_id, private=False, repo_type="dataset")

    def commit(self, repo_id: str, name: str, file: Path, parent: str) -> str:
        """Commit ``file`` as ``name`` on top of ``parent`` and return the commit.

        Raises HubTransient also where the branch has moved on from ``parent``.
        """
        with translated(f"upload {name} to {repo_id}"), file.open("rb") as content:
            # A path would go to Xet storage if it is large, which not every hub has.
            operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            made = self._api.create_commit(
                repo_id,
                [operation],
                commit_message=f"Update {name}",
                repo_type="dataset",
                parent_commit=parent,
            )
            return made.oid

    def fetch(self, file: RemoteFile, target: Path, deadline: float, closed: threading.Event) -> None:
        """``transfer.fetch`` from this hub."""
        fetch(file, target, Transfer(self._endpoint, self._headers, self._timeout, deadline, closed))
