"""Users of the hub double, for the tests of this folder."""

from dataclasses import dataclass

from huggingface_hub import HfApi

from flockoff.hub import HubClient, Patience
from flockoff.localnet.hub import HubServer

# Few and short pauses, but as much time for an answer as a busy machine may need.
HASTE = Patience(timeout=60.0, tries=3, backoff=0.01, max_retry_after=1.0, grace=60.0, min_rate=1e7)


@dataclass(frozen=True)
class Owner:
    """A user of the double with a write token, and both kinds of client for it."""

    name: str
    token: str
    api: HfApi
    client: HubClient

    @property
    def repo(self) -> str:
        return f"{self.name}/data"

    def upload(self, content: bytes, name: str = "data.jsonl", *, private: bool = False) -> str:
        """Create the repo if need be, commit one file with huggingface_hub, return the commit."""
        self.api.create_repo(self.repo, repo_type="dataset", private=private, exist_ok=True)
        made = self.api.upload_file(
            path_or_fileobj=content, path_in_repo=name, repo_id=self.repo, repo_type="dataset"
        )
        return made.oid


def owner_at(server: HubServer, name: str) -> Owner:
    token = server.add_user(name)
    client = HubClient(token, server.endpoint, patience=HASTE)
    return Owner(name, token, HfApi(endpoint=server.endpoint, token=token), client)
