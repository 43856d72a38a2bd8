"""``flockoff competition`` over the real hub client: an owner, a validator and anybody else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from typer.testing import Result

from flockoff.competition import Competition, competition_hash, load_competition
from flockoff.errors import SetupError
from flockoff.hub import HubClient
from flockoff.localnet.hub import HubServer, HubSettings
from flockoff.sealing import with_sealed_set
from tests.support.contamination_cases import evaluation_rows
from tests.support.tiny_model import row, write_dataset, write_tokenizer

SECRET = [
    row(f"How far is it to town {n}?", f"Town number {n} lies {n * 7} miles beyond the old stone bridge " * 2)
    for n in range(2, 14)
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with HubServer(HubSettings(state_dir=tmp_path_factory.mktemp("hub"))) as server:
        yield server


@pytest.fixture(scope="module")
def rules_file(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLock OFF's evaluation set with a tiny model's tokenizer; some of its prompts fill the context."""
    folder = tmp_path_factory.mktemp("model")
    write_tokenizer(folder / "model")
    (folder / "model" / "config.json").write_text("{}", encoding="utf-8")
    api = HfApi(endpoint=hub.endpoint, token=hub.add_user("lab"))
    api.create_repo("lab/tiny", repo_type="model")
    model = api.upload_folder(repo_id="lab/tiny", folder_path=folder / "model", repo_type="model")
    file = folder / "competition.toml"
    file.write_text(
        f'[base_model]\nrepo = "lab/tiny"\nrevision = "{model.oid}"\n'
        "[scoring]\ntemperature = 0.1\n[training]\ncontext_length = 430\n",
        encoding="utf-8",
    )
    return file


@pytest.fixture
def as_user(
    hub: HubServer, command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Runs ``flockoff competition`` under a hub user's token, in a cache of that user's own."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

    def run(user: str, *arguments: str) -> Result:
        monkeypatch.setenv("HF_TOKEN", hub.add_user(user))
        return command("competition", *arguments, "--cache_dir", str(tmp_path / user))

    return run


def test_competition_is_shown_with_its_hash_and_what_it_changes(
    command: Callable[..., Result], rules_file: Path
) -> None:
    told = json.loads(command("competition", "--competition", str(rules_file), "--json").stdout)
    assert told["hash"] == competition_hash(load_competition(rules_file))
    assert told["changed"] == [
        "base_model.repo",
        "base_model.revision",
        "training.context_length",
        "scoring.temperature",
    ]
    said = command("competition", "--competition", str(rules_file)).stdout
    assert "scoring.temperature *" in said and told["hash"] in said
    own = json.loads(command("competition", "--json").stdout)
    assert (own["hash"], own["changed"]) == (competition_hash(Competition()), [])


@pytest.mark.slow
def test_sealed_set_lives_from_its_making_to_its_verification(
    hub: HubServer, as_user: Callable[..., Result], rules_file: Path, tmp_path: Path
) -> None:
    secret, made = tmp_path / "secret.jsonl", tmp_path / "sealed.toml"
    write_dataset(secret, SECRET)
    arguments = ["seal", str(secret), "--repo", "owner/sealed", "--write", str(made)]
    done = as_user("owner", *arguments, "--competition", str(rules_file), "--weight", "0.4", "--json")
    assert done.exit_code == 0, done.stderr
    told, rules = json.loads(done.stdout), load_competition(made)
    assert rules.sealed is not None and rules.sealed.weight == 0.4
    assert told["hash"] == competition_hash(rules) and told["rows"] == len(SECRET)
    assert rules.scoring.temperature == 0.1  # all else as in the file that it was made from
    assert HubClient(hub.add_user("owner"), hub.endpoint).repo_state("owner/sealed").private  # type: ignore[union-attr]

    checked = as_user("owner", "check", "--competition", str(made))
    assert checked.exit_code == 0 and "shares nothing with the public one" in checked.stdout
    hidden = as_user("anybody", "verify", "--competition", str(made))
    assert hidden.exit_code == 1 and "refuses the competition's sealed evaluation set" in hidden.stderr

    assert as_user("owner", "publish", "--competition", str(made), "--yes").exit_code == 0
    verified = as_user("anybody", "verify", "--competition", str(made))
    assert verified.exit_code == 0 and competition_hash(rules) in verified.stdout
    with pytest.raises(SetupError, match="is public"):  # a validator that still plays by it
        HubClient(None, hub.endpoint).fetch_evaluation_set(rules.sealed, tmp_path / "owner" / "evaluation")
    again = as_user("owner", *arguments[:-1], str(tmp_path / "more.toml"), "--competition", str(made))
    assert again.exit_code == 2 and "owner/sealed is public" in again.stderr


def test_sealed_set_that_is_not_what_was_pinned_is_told(
    hub: HubServer, as_user: Callable[..., Result], rules_file: Path, tmp_path: Path
) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.add_user("cheat"))
    api.create_repo("cheat/sealed", repo_type="dataset")
    info = api.upload_file(
        path_or_fileobj=b"another\n", path_in_repo="data.jsonl", repo_id="cheat/sealed", repo_type="dataset"
    )
    file = tmp_path / "cheat.toml"
    table = f'[sealed]\nrepo = "cheat/sealed"\ncommit = "{info.oid}"\nsha256 = "{"0" * 64}"\nweight = 0.5\n'
    file.write_text(rules_file.read_text(encoding="utf-8") + table, encoding="utf-8")
    done = as_user("anybody", "verify", "--competition", str(file))
    assert done.exit_code == 1 and "is not the competition's sealed evaluation set" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([*SECRET, evaluation_rows()[4]], "it has answers of the public one, in line 13"),
        ([], "is no sealed set"),
    ],
)
def test_sealed_set_that_is_empty_or_shares_rows_is_refused_before_anything_is_sent(
    hub: HubServer,
    as_user: Callable[..., Result],
    rules_file: Path,
    tmp_path: Path,
    rows: list[object],
    complaint: str,
) -> None:
    secret, made = tmp_path / "secret.jsonl", tmp_path / "sealed.toml"
    write_dataset(secret, rows)  # type: ignore[arg-type]
    arguments = ["--repo", "owner/refused", "--write", str(made), "--competition", str(rules_file)]
    done = as_user("owner", "seal", str(secret), *arguments)
    assert done.exit_code == 2 and complaint in done.stderr
    assert not made.exists()
    assert HubClient(hub.add_user("owner"), hub.endpoint).repo_state("owner/refused") is None


def test_sealed_set_replaces_the_one_before_it_and_nothing_else(tmp_path: Path) -> None:
    table = {"repo": "a/b", "commit": "1" * 40, "sha256": "2" * 64, "weight": 0.5}
    old = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    text = f"id = 'x'\n[sealed]\n{old}# its end\n[scoring]\ntemperature = 0.2\n"
    (tmp_path / "old.toml").write_text(text, encoding="utf-8")
    sealed = load_competition(tmp_path / "old.toml").sealed
    assert sealed is not None
    (tmp_path / "new.toml").write_text(with_sealed_set(text, sealed), encoding="utf-8")
    assert load_competition(tmp_path / "new.toml") == load_competition(tmp_path / "old.toml")
