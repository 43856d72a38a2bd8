"""Downloading the competition's base model and evaluation set."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd

from flockoff.competition import BaseModel, EvaluationSet
from flockoff.errors import HubTransient, SetupError, UsageError
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, altered, cut
from tests.support.hub_users import HASTE, Owner

TOKENIZER = ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"]
MODEL = [*TOKENIZER, "generation_config.json", "merges.txt", "model.safetensors"]
NEVER = ["modeling_evil.py", "pytorch_model.bin", "onnx/model.safetensors", "README.md"]


def publish_model(owner: Owner, names: list[str]) -> BaseModel:
    repo = f"{owner.name}/model"
    owner.api.create_repo(repo)
    operations = [CommitOperationAdd(name, name.encode() * 100) for name in names]
    made = owner.api.create_commit(repo, operations, commit_message="model")
    return BaseModel(repo=repo, revision=made.oid)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def test_base_model_brings_weights_and_tokenizer_but_no_code(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    base = publish_model(alice, MODEL + NEVER)
    directory = anybody.fetch_base_model(base, tmp_path, tokenizer_only=False)
    assert names_in(directory) == sorted(MODEL)
    assert (directory / "model.safetensors").read_bytes() == b"model.safetensors" * 100


def test_base_model_tokenizer_only_leaves_the_weights_for_later(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    base = publish_model(alice, MODEL)
    directory = anybody.fetch_base_model(base, tmp_path, tokenizer_only=True)
    assert names_in(directory) == TOKENIZER
    assert anybody.fetch_base_model(base, tmp_path, tokenizer_only=False) == directory
    assert names_in(directory) == sorted(MODEL)
    before = hub.requests
    for tokenizer_only in (True, False):
        anybody.fetch_base_model(base, tmp_path, tokenizer_only=tokenizer_only)
    assert hub.requests == before


def test_base_model_cut_and_corrupted_on_the_way_arrives_right(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    base = publish_model(alice, MODEL)
    hub.faults.add("GET", "/resolve/.*/model.safetensors", cut(100))
    hub.faults.add("GET", "/resolve/.*/model.safetensors", altered(lambda body: b"!" + body[1:]))
    directory = anybody.fetch_base_model(base, tmp_path, tokenizer_only=False)
    assert (directory / "model.safetensors").read_bytes() == b"model.safetensors" * 100


def test_base_model_interrupted_keeps_the_files_it_has(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    base = publish_model(alice, MODEL)
    hub.faults.add("GET", "/resolve/.*/tokenizer.json", cut(0), times=HASTE.tries)
    with pytest.raises(HubTransient):
        anybody.fetch_base_model(base, tmp_path, tokenizer_only=False)
    config = ("GET", f"/{base.repo}/resolve/{base.revision}/config.json")
    assert hub.requests.count(config) == 1
    anybody.fetch_base_model(base, tmp_path, tokenizer_only=False)
    assert hub.requests.count(config) == 1


@pytest.mark.parametrize("lacking", ["config.json", "tokenizer.json", "model.safetensors"])
def test_base_model_without_a_needed_file_is_a_setup_error(
    alice: Owner, anybody: HubClient, tmp_path: Path, lacking: str
) -> None:
    base = publish_model(alice, [name for name in MODEL if name != lacking])
    with pytest.raises(SetupError, match=lacking.rpartition(".")[2]):
        anybody.fetch_base_model(base, tmp_path, tokenizer_only=False)


def test_base_model_that_is_not_there_names_the_competition_as_the_remedy(
    anybody: HubClient, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match=r"no model no/model at commit .* --competition"):
        anybody.fetch_base_model(BaseModel(repo="no/model"), tmp_path, tokenizer_only=True)


def test_base_model_repo_without_owner_is_a_usage_error(anybody: HubClient, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="owner/name"):
        anybody.fetch_base_model(BaseModel(repo="../gpt2"), tmp_path, tokenizer_only=True)


def test_base_model_offline_with_nothing_cached_is_transient_with_remedy(tmp_path: Path) -> None:
    client = HubClient(None, "http://127.0.0.1:9", patience=HASTE)
    with pytest.raises(HubTransient) as error:
        client.fetch_base_model(BaseModel(), tmp_path, tokenizer_only=True)
    assert "Qwen" in error.value.message and error.value.remedy


def evaluation_of(owner: Owner, content: bytes, sha256: str) -> EvaluationSet:
    return EvaluationSet(sha256=sha256, repo=owner.repo, commit=owner.upload(content))


def test_evaluation_set_is_fetched_once_and_checked(
    hub: HubServer, alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    evaluation = evaluation_of(alice, b"rows\n", hashlib.sha256(b"rows\n").hexdigest())
    path = anybody.fetch_evaluation_set(evaluation, tmp_path)
    assert path.read_bytes() == b"rows\n"
    before = hub.requests
    assert anybody.fetch_evaluation_set(evaluation, tmp_path) == path
    assert hub.requests == before


def test_evaluation_set_tampered_with_on_disk_is_fetched_again(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    evaluation = evaluation_of(alice, b"rows\n", hashlib.sha256(b"rows\n").hexdigest())
    path = anybody.fetch_evaluation_set(evaluation, tmp_path)
    path.write_bytes(b"else\n")
    assert anybody.fetch_evaluation_set(evaluation, tmp_path).read_bytes() == b"rows\n"


def test_evaluation_set_with_another_hash_is_a_setup_error(
    alice: Owner, anybody: HubClient, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match="not the competition's"):
        anybody.fetch_evaluation_set(evaluation_of(alice, b"rows\n", "0" * 64), tmp_path)


def test_evaluation_set_that_is_not_there_is_not_a_miners_fault(anybody: HubClient, tmp_path: Path) -> None:
    evaluation = EvaluationSet(repo="no/set", commit="a" * 40)
    with pytest.raises(SetupError, match="no/set"):
        anybody.fetch_evaluation_set(evaluation, tmp_path)


def test_evaluation_set_without_repo_is_a_usage_error(anybody: HubClient, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        anybody.fetch_evaluation_set(EvaluationSet(), tmp_path)
