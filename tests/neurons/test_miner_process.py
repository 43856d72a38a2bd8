"""neurons/miner.py: its exit status and its output; and as users start it, as a process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from flockoff.chain import WalletRef
from neurons import miner
from tests.support.forked import Outcome
from tests.support.playground import Playground, running_playground, terminated, until_it_waits
from tests.support.tiny_model import row, write_dataset
from tests.support.typed import run_here

COOLDOWN = 1000  # blocks between two commitments
ROWS = [row("What is two?", "It is one and one."), row("What is three?", "It is two and one.")]


def refused(outcome: Outcome, status: int, *said: str) -> None:
    """The outcome of a fault that a person can fix: one clear message and no traceback."""
    assert outcome.status == status, outcome.said
    assert "Traceback" not in outcome.said
    for text in said:
        assert text in outcome.said


def commits(playground: Playground, repo: str) -> list[str]:
    api = HfApi(endpoint=playground.hub.endpoint, token=playground.hub.add_user(repo.split("/")[0]))
    return [commit.commit_id for commit in api.list_repo_commits(repo, repo_type="dataset")]


@pytest.mark.slow
def test_miner_submits_once_however_often_it_runs(playground: Playground) -> None:
    first = playground.mine_by_script(0, ROWS)
    assert first.status == 0, first.said
    commitment = playground.commitment(0)
    assert commitment is not None
    head = commits(playground, "miner1/data")[0]
    assert commitment.text == f"miner1/data:f127:{head}"
    assert not HfApi(endpoint=playground.hub.endpoint).dataset_info("miner1/data").private

    again = playground.mine(0, ROWS)
    assert again.status == 0
    assert "already" in again.said
    assert commits(playground, "miner1/data")[0] == head
    assert playground.commitment(0) == commitment
    assert "nothing left to do" in playground.mine(0, ROWS, "--dry_run").said


def test_miner_dry_run_changes_nothing(playground: Playground) -> None:
    outcome = playground.mine(1, ROWS, "--dry_run", repo="dry")
    assert outcome.status == 0, outcome.said
    assert "nothing was changed" in outcome.said
    assert playground.commitment(1) is None
    assert not HfApi(endpoint=playground.hub.endpoint).repo_exists("miner2/dry", repo_type="dataset")


def test_miner_dry_run_on_somebody_elses_repo_is_refused_as_the_real_run_is(playground: Playground) -> None:
    arguments = playground.miner_arguments(1, ROWS, "data")
    arguments[arguments.index("--hf_repo_id") + 1] = "miner1/data"
    outcome = playground.run_miner([*arguments, "--dry_run"], playground.hub.add_user("miner2"))
    refused(outcome, 1, "cannot write to miner1/data")


def test_miner_keep_private_leaves_the_repo_private(playground: Playground) -> None:
    outcome = playground.mine(2, ROWS, "--keep_private", repo="secret")
    assert outcome.status == 0, outcome.said
    assert playground.commitment(2) is not None
    api = HfApi(endpoint=playground.hub.endpoint, token=playground.hub.add_user("miner3"))
    assert api.dataset_info("miner3/secret").private


def test_miner_bad_dataset_names_the_line_and_reason(playground: Playground, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"conversations": []}\n{"conversations": [{"role": "user"', encoding="utf-8")
    wallet = playground.subnet.miners[3]
    outcome = playground.run_miner(
        [*playground.flags(wallet), "--hf_repo_id", "miner4/bad", "--dataset_path", str(file)], "hf_any"
    )
    refused(outcome, 1, "line 1", "line 2", "not_json")
    assert playground.commitment(3) is None


def test_miner_missing_dataset_says_so(playground: Playground) -> None:
    wallet = playground.subnet.miners[3]
    outcome = playground.run_miner(
        [*playground.flags(wallet), "--hf_repo_id", "miner4/x", "--dataset_path", "/nowhere/data.jsonl"], None
    )
    refused(outcome, 1, "/nowhere/data.jsonl")


@pytest.mark.parametrize(
    ("token", "said"),
    [(None, "no Hugging Face token"), ("hf_wrong", "HF_TOKEN"), ("read", "write")],
)
def test_miner_token_without_the_right_is_refused_before_anything_happens(
    playground: Playground, tmp_path: Path, token: str | None, said: str
) -> None:
    if token == "read":
        token = playground.hub.add_user("miner4", role="read")
    file = tmp_path / "data.jsonl"
    write_dataset(file, ROWS)
    wallet = playground.subnet.miners[3]
    outcome = playground.run_miner(
        [*playground.flags(wallet), "--hf_repo_id", "miner4/x", "--dataset_path", str(file)], token
    )
    refused(outcome, 1, said)
    assert "hf_wrong" not in outcome.said
    assert playground.commitment(3) is None


def test_miner_missing_wallet_names_the_command_that_makes_it(playground: Playground) -> None:
    nobody = WalletRef("nobody", "default", playground.directory)
    stranger = replace(playground, subnet=replace(playground.subnet, miners=(nobody,)))
    refused(stranger.mine(0, ROWS), 1, "btcli wallet create")


def test_miner_unregistered_hotkey_names_the_command_that_registers_it(playground: Playground) -> None:
    from bittensor import Wallet

    wallet = Wallet("stranger", "default", path=str(playground.directory))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(suppress=True)
    ref = WalletRef("stranger", "default", playground.directory)
    stranger = replace(playground, subnet=replace(playground.subnet, miners=(ref,)))
    refused(stranger.mine(0, ROWS), 1, "not registered", "btcli subnets register")


def test_miner_chain_not_reachable_says_where_it_looked(playground: Playground) -> None:
    outcome = playground.mine(3, ROWS, "--subtensor.chain_endpoint", "ws://127.0.0.1:9")
    refused(outcome, 1, "ws://127.0.0.1:9")


@pytest.mark.slow
def test_miner_hub_not_reachable_says_what_to_check(playground: Playground) -> None:
    arguments = playground.miner_arguments(3, ROWS, "unreachable")
    environment = playground.environment("hf_any") | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    outcome = run_here(miner.main, arguments, environment)
    refused(outcome, 1, "Connection refused", "HF_ENDPOINT")


@pytest.fixture(scope="module")
def cooling(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    """Two miners on a chain with a cooldown."""
    directory = tmp_path_factory.mktemp("cooling")
    with running_playground(directory, miners=2, commitment_cooldown=COOLDOWN) as playground:
        yield playground


@pytest.mark.slow
def test_miner_on_the_cooldown_waits_and_commits_when_it_is_over(cooling: Playground) -> None:
    assert cooling.mine(0, ROWS, repo="first").status == 0
    with cooling.start_miner(0, ROWS[:1], "--retry_seconds", "1", repo="second") as process:
        assert "Trying again in 1 s" in until_it_waits(process)
        cooling.node.advance(COOLDOWN)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    commitment = cooling.commitment(0)
    assert commitment is not None
    assert commitment.text.startswith("miner1/second:")
    assert len(commits(cooling, "miner1/second")) == 2  # the repo's creation and one upload


@pytest.mark.slow
def test_miner_terminated_while_it_waits_goes_on_at_the_next_start(cooling: Playground) -> None:
    assert cooling.mine(1, ROWS, repo="first").status == 0
    with cooling.start_miner(1, ROWS[:1], repo="second") as process:
        until_it_waits(process)
        assert terminated(process).status == 130
    cooling.node.advance(COOLDOWN)
    outcome = cooling.mine(1, ROWS[:1], "--retry_seconds", "1", repo="second")
    assert outcome.status == 0, outcome.said
    assert len(commits(cooling, "miner2/second")) == 2


def test_miner_too_long_repo_id_is_refused(playground: Playground) -> None:
    outcome = playground.mine(3, ROWS, repo="d" * 80)
    refused(outcome, 1, "128 bytes")


def test_miner_wrong_flag_is_a_usage_error(playground: Playground) -> None:
    refused(playground.run_miner(["--netuid", "x"], None), 2, "valid integer")


def test_miner_unknown_network_is_a_usage_error(playground: Playground) -> None:
    arguments = ["--subtensor.network", "nonsense", "--subtensor.chain_endpoint", ""]
    refused(playground.mine(3, ROWS, *arguments), 2, "nonsense")
