"""All of the hub client's operations, as functions of one shape, to test each under the same fault."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd

from flockoff.competition import BaseModel, EvaluationSet
from flockoff.hub import HubClient
from tests.support.hub_users import Owner

MAX_BYTES = 1000


@dataclass(frozen=True)
class Ground:
    """What the operations work on: ``file`` is to be uploaded to ``repo``, the rest is on the hub."""

    owner: Owner
    repo: str
    commit: str  # of ``repo``, holding CONTENT
    base: BaseModel
    evaluation: EvaluationSet
    file: Path
    directory: Path  # where downloads go


CONTENT = b"0123456789" * 10
MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def prepare_ground(owner: Owner, folder: Path) -> Ground:
    commit = owner.upload(CONTENT)
    model = f"{owner.name}/model"
    owner.api.create_repo(model)
    operations = [CommitOperationAdd(name, name.encode() * 10) for name in MODEL_FILES]
    revision = owner.api.create_commit(model, operations, commit_message="model").oid
    file = folder / "mine.jsonl"
    file.write_bytes(CONTENT + b"more")
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    evaluation = EvaluationSet(sha256=sha256, repo=owner.repo, commit=commit)
    base = BaseModel(repo=model, revision=revision)
    return Ground(owner, owner.repo, commit, base, evaluation, file, folder / "downloads")


Operation = Callable[[HubClient, Ground], object]

OPERATIONS: dict[str, Operation] = {
    "account": lambda client, on: client.account(),
    "repo_state": lambda client, on: client.repo_state(on.repo),
    "holds": lambda client, on: client.holds(on.repo, on.file),
    "upload": lambda client, on: client.upload(on.repo, on.file),
    "publish": lambda client, on: client.publish(on.repo),
    "download": lambda client, on: client.download(on.repo, on.commit, on.directory, max_bytes=MAX_BYTES),
    "fetch_base_model": lambda client, on: client.fetch_base_model(
        on.base, on.directory, tokenizer_only=False
    ),
    "fetch_evaluation_set": lambda client, on: client.fetch_evaluation_set(on.evaluation, on.directory),
}
