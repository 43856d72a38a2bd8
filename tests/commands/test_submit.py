"""A miner's way from chats of another program to a place on the leaderboard, by ``flockoff`` alone."""

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from typer.testing import Result

from flockoff.commands.init import merged
from flockoff.competition import ORIGINAL_COMPETITION_ID
from flockoff.env_files import variables_in
from tests.support.playground import Playground

Command = Callable[..., Result]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n}?"},
            {"role": "assistant", "content": f"It is {n}."},
        ]
    }
    for n in range(4)
]


@pytest.fixture
def home(playground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a token for the local hub in the environment."""
    wallet = playground.subnet.miners[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.hub.add_user(wallet.name))
    return tmp_path


def init_flags(playground: Playground) -> list[str]:
    wallet = playground.subnet.miners[0]
    return [
        *("--netuid", str(playground.subnet.netuid), "-n", playground.node.endpoint),
        *("-w", wallet.name, "-H", wallet.hotkey, "-p", str(wallet.path)),
        *("--hf_repo_id", f"{wallet.name}/chats", "--competition", str(playground.competition)),
    ]


@pytest.mark.slow
def test_miner_gets_from_chats_to_the_leaderboard_in_six_commands(
    playground: Playground, command: Command, home: Path
) -> None:
    (home / "chats.jsonl").write_text("\n".join(map(json.dumps, CHATS)), encoding="utf-8")
    cache = ["--cache-dir", str(playground.directory / "cache")]
    repo = f"{playground.subnet.miners[0].name}/chats"

    done = command("init", *init_flags(playground))
    assert done.exit_code == 0, done.output
    assert "0 problems" not in done.output and "Next: flockoff doctor miner" in done.stdout
    done = command("convert", "chats.jsonl")
    assert "4 rows. Next: flockoff check" in done.stdout
    done = command("check", *cache, "data/data.jsonl")
    assert done.exit_code == 0, done.output
    done = command("submit", "--yes", *cache)
    assert done.exit_code == 0, done.output
    for said in (
        "dataset: 4 rows",
        "uid ",
        "TAO",
        "Committed in block",
        f"/datasets/{repo}/tree/",
        "counts  ",
    ):
        assert said in done.output
    done = command("status")
    assert f"commitment    {repo}:{ORIGINAL_COMPETITION_ID}:" in done.stdout
    done = command("leaderboard", "--netuid", str(playground.subnet.netuid))
    assert done.exit_code == 0 and repo in done.stdout, done.output

    api = HfApi(playground.hub.endpoint, token=False)
    assert not api.dataset_info(repo).private
    card = Path(api.hf_hub_download(repo, "README.md", repo_type="dataset", cache_dir=home / "hf"))
    text = card.read_text(encoding="utf-8")
    assert "path: data.jsonl" in text and "4 conversations" in text

    again = command("submit", "--json", *cache)  # there is nothing to ask
    assert "has committed this dataset already" in again.stderr and "✓ fee" not in again.stderr
    told = json.loads(again.stdout)
    assert f"{repo} holds this dataset already" in again.stderr and told["public"]
    assert told["counts_from"] > told["block"] and told["evaluated_by_block"] > told["counts_from"]
    assert told["status"].startswith("flockoff status --netuid")


def test_submit_says_all_that_is_in_the_way_at_once_and_changes_nothing(
    playground: Playground, command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "bad.jsonl").write_text('{"messages": []}\n', encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    flags = [
        flag if flag != playground.subnet.miners[0].name else "nobody" for flag in init_flags(playground)
    ]
    done = command("submit", "--yes", "bad.jsonl", *flags)
    assert done.exit_code == 1
    for said in (
        "✗ dataset: bad.jsonl has 1 problem in 1 row",
        "flockoff check bad.jsonl",
        "✗ hub: ",
        "✗ wallet: There is no ",
        "btcli wallet create",
        "3 things are in the way. Nothing was changed.",
    ):
        assert said in done.output


def test_submit_asks_before_it_pays_and_needs_yes_where_nobody_is(
    playground: Playground, command: Command, home: Path
) -> None:
    (home / "data.jsonl").write_text(
        json.dumps({"system": None, "conversations": CHATS[0]["messages"]}) + "\n", encoding="utf-8"
    )
    rules = playground.competition.read_text(encoding="utf-8").replace("[training]", "[training]\nepochs = 1")
    assert "epochs = 1\n" in rules
    (home / "rules.toml").write_text(rules, encoding="utf-8")
    flags = [*init_flags(playground), "--cache-dir", str(playground.directory / "cache")]
    flags[flags.index("--hf_repo_id") + 1] = f"{playground.subnet.miners[0].name}/unsent"
    flags[flags.index("--competition") + 1] = "rules.toml"
    done = command("submit", "data.jsonl", *flags)
    assert (done.exit_code, "Add --yes" in done.stderr) == (2, True)
    done = command("submit", "data.jsonl", "--dry_run", "--json", *flags)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["ready"]) == (0, True) and "Dry run: nothing was changed." in done.stderr
    assert {finding["subject"] for finding in told["findings"]} >= {"dataset", "hub", "wallet", "fee"}
    [small] = [finding for finding in told["findings"] if finding["state"] == "doubtful"]
    assert small["found"] == "too small to train anything" and small["remedy"].startswith("Add rows")
    api = HfApi(playground.hub.endpoint, token=playground.hub.add_user(playground.subnet.miners[0].name))
    assert not api.repo_exists(f"{playground.subnet.miners[0].name}/unsent", repo_type="dataset")


def test_init_keeps_what_is_there_and_overwrites_only_when_told(
    playground: Playground, command: Command, home: Path
) -> None:
    file = home / ".env"
    file.write_text("# mine\nexport BT_WALLET=older\nOTHER='a b'\n", encoding="utf-8")
    refused = command("init", *init_flags(playground))
    assert refused.exit_code == 2 and "BT_WALLET" in refused.stderr and "--overwrite" in refused.stderr
    assert "older" in file.read_text(encoding="utf-8")
    done = command("init", "--overwrite", "--json", *init_flags(playground))
    assert json.loads(done.stdout)["changed"] == ["BT_WALLET"]
    found = variables_in(file.read_text(encoding="utf-8"))
    assert (found["BT_WALLET"], found["OTHER"]) == (playground.subnet.miners[0].name, "a b")
    assert file.read_text(encoding="utf-8").startswith("# mine\n")
    assert found["HF_TOKEN"] not in done.output
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "has all of this already" in command("init", *init_flags(playground)).stdout
    missing = command("init", *init_flags(playground), "--directory", str(file / "below"))
    assert missing.exit_code == 1
    assert missing.stderr.startswith(f"Cannot write {file / 'below' / '.env'}: "), missing.stderr


@pytest.mark.parametrize(
    "value", ["plain", "a b", "it's", "back\\slash", 'a "quote"', "#no comment", "$HOME"]
)
def test_stored_value_is_read_as_it_was_written(value: str) -> None:
    text = merged("A=1\nB=2\nA=3", {"A": value})
    assert variables_in(text) == {"A": value, "B": "2"}


def test_flag_beats_environment_beats_stored(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("BT_WALLET=stored\nBT_WALLET_PATH=/nowhere\n", encoding="utf-8")

    def wallet(*flags: str) -> str:
        return command("status", "--netuid", "1", "-n", "ws://127.0.0.1:1", *flags).stderr

    assert "There is no /nowhere/stored/" in wallet()
    monkeypatch.setenv("BT_WALLET", "exported")
    assert "There is no /nowhere/exported/" in wallet()
    assert "There is no /nowhere/given/" in wallet("-w", "given")
