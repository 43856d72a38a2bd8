import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from flockoff.errors import UsageError
from flockoff.flags import PROJECT_ROOT, default_data_dir
from flockoff.logs import TRACE
from flockoff.settings import login_file, miner_settings, read_credentials, validator_settings

MINER = ["--netuid", "1", "--hf_repo_id", "yourusername/my-dataset"]


def readme_command(script: str) -> list[str]:
    """The arguments of the README's own command for ``script``, its netuid filled in."""
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(rf"^python3 {script} \\\n(?:.*\\\n)*.*$", readme, re.MULTILINE)
    assert command, f"the README has no command for {script}"
    text = command.group().replace("\\\n", " ").replace("--netuid netuid", "--netuid 7")
    return shlex.split(text)[2:]


def test_miner_settings_readme_command_is_understood() -> None:
    settings = miner_settings(readme_command("neurons/miner.py"))
    assert settings.neuron.wallet_name == "your_coldkey_name"
    assert settings.repo_id == "yourusername/my-dataset"
    assert settings.neuron.wallet_hotkey == "your_hotkey_name"
    assert settings.neuron.netuid == 7
    assert settings.neuron.log.level == TRACE
    assert settings.dataset_path == Path("data/data.jsonl")
    assert settings.retry_seconds == 120
    assert not settings.dry_run
    assert not settings.keep_private


def test_validator_settings_readme_command_has_the_documented_defaults() -> None:
    settings = validator_settings(readme_command("neurons/validator.py"))
    assert settings.neuron.network == "finney"
    assert settings.neuron.wallet_hotkey == "default"
    assert (settings.miner_sample_size, settings.block_threshold) == (32, 50)
    assert settings.blocks_per_epoch is None
    assert settings.epochs is None
    assert settings.eval_data_dir.joinpath("data.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "workers"), [((), None), (("auto",), None), (("2",), 2), (("ray://h:10001",), "ray://h:10001")]
)
def test_validator_settings_workers_are_one_a_gpu_or_so_many_or_a_clusters(
    flags: tuple[str, ...], workers: int | str | None
) -> None:
    given = [part for flag in flags for part in ("--workers", flag)]
    settings = validator_settings(["--netuid", "1", *given])
    assert settings.workers == workers
    assert not settings.allow_mixed_devices


@pytest.mark.parametrize("workers", ["ray://h", "ray://h:0", "ray://h:70000", "ray://u:p@h:1"])
def test_validator_settings_workers_of_a_cluster_need_host_and_port(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        validator_settings(["--netuid", "1", "--workers", workers])
    assert f"{workers!r} is not an address of the form ray://HOST:PORT" in capsys.readouterr().err


def test_validator_settings_report_and_dashboard_are_off_unless_asked_for() -> None:
    settings = validator_settings(["--netuid", "1"])
    assert (settings.report, settings.dashboard) == (None, None)
    settings = validator_settings(["--netuid", "1", "--report", "www", "--dashboard", "9200"])
    assert (settings.report, settings.dashboard) == (Path("www"), 9200)


def test_settings_without_a_logging_flag_log_at_info() -> None:
    assert miner_settings(MINER).neuron.log.level == logging.INFO


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--hf_repo_id", "a/b"], "--netuid"),
        (["--netuid", "1"], "--hf_repo_id"),
        (["--netuid", "x", "--hf_repo_id", "a/b"], "valid integer"),
        (["--netuid", "70000", "--hf_repo_id", "a/b"], "less than or equal to 65535"),
        (["--netuid", "1", "--hf_repo_id", "nobody"], "owner/name"),
        ([*MINER, "--retry_seconds", "0"], "not a positive number"),
        ([*MINER, "--retry_seconds", "nan"], "not a positive number"),
        ([*MINER, "--logging.trace", "--logging.debug"], "exclude one another"),
        ([*MINER, "--nonsense"], "No such option"),
    ],
)
def test_miner_settings_wrong_flag_exits_2_and_says_why(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        miner_settings(argv)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("spelled", ["--wallet.name", "--wallet-name", "--wallet_name", "--wallet", "-w"])
@pytest.mark.parametrize("hotkey", ["--wallet.hotkey", "--wallet-hotkey", "--wallet_hotkey", "-H"])
def test_settings_take_every_spelling_of_the_wallets_flags(spelled: str, hotkey: str) -> None:
    for words in ([spelled, "ann", hotkey, "one=1"], [f"{spelled}=ann", f"{hotkey}=one=1"]):
        neuron = miner_settings([*MINER, *words]).neuron
        assert (neuron.wallet_name, neuron.wallet_hotkey) == ("ann", "one=1")


@pytest.mark.parametrize(
    "spelled", ["--subtensor.network", "--subtensor_network", "--subtensor-network", "--network", "-n"]
)
def test_settings_take_every_spelling_of_the_networks_flag(spelled: str) -> None:
    assert validator_settings(["--netuid", "1", spelled, "test"]).neuron.network == "test"


def test_settings_read_btclis_variables_which_flags_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BT_WALLET", "ann")
    monkeypatch.setenv("BT_WALLET_HOTKEY", "one")
    monkeypatch.setenv("BT_WALLET_PATH", "~/wallets")
    monkeypatch.setenv("BT_NETWORK", "test")
    neuron = miner_settings([*MINER, "-w", "bob"]).neuron
    assert (neuron.wallet_name, neuron.wallet_hotkey, neuron.network) == ("bob", "one", "test")
    assert neuron.wallet_path == Path("~/wallets").expanduser()


@pytest.mark.parametrize("flag", ["-h", "--help", "--version"])
def test_settings_help_and_version_end_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        validator_settings([flag])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "flockoff 0." in said or "[default: 32;" in said


def test_credentials_environment_beats_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=from_file\nHF_ENDPOINT=http://file\n", encoding="utf-8")
    credentials = read_credentials({"HF_TOKEN": "from_environment"}, tmp_path)
    assert credentials.hf_token == "from_environment"
    assert credentials.hf_endpoint == "http://file"


def test_credentials_blank_value_counts_as_none(tmp_path: Path) -> None:
    assert read_credentials({"HF_TOKEN": "  "}, tmp_path).hf_token is None


def test_credentials_token_is_not_in_the_repr() -> None:
    assert "hf_secret" not in repr(read_credentials({"HF_TOKEN": "hf_secret"}, Path("/nowhere")))


def test_credentials_set_to_nothing_do_not_hide_those_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=hf_from_file\n", encoding="utf-8")
    assert read_credentials({"HF_TOKEN": ""}, tmp_path).hf_token == "hf_from_file"


def test_credentials_of_a_login_count_where_there_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_of_the_login\n", encoding="utf-8")
    environment = {"HF_HOME": str(tmp_path)}
    assert read_credentials(environment, tmp_path).hf_token == "hf_of_the_login"
    assert read_credentials(environment | {"HF_TOKEN": "hf_own"}, tmp_path).hf_token == "hf_own"
    elsewhere = environment | {"HF_ENDPOINT": "http://127.0.0.1:9945"}
    assert read_credentials(elsewhere, tmp_path).hf_token is None  # not every hub is to learn that token


@pytest.mark.parametrize(
    "variables", [{}, {"HF_HOME": "/there"}, {"XDG_CACHE_HOME": "/x"}, {"HF_TOKEN_PATH": "~/t"}]
)
def test_credentials_login_is_where_huggingface_hub_has_it(variables: dict[str, str]) -> None:
    code = "from huggingface_hub import constants; print(constants.HF_TOKEN_PATH)"
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert Path(done.stdout.strip()).expanduser() == login_file(variables)


@pytest.mark.parametrize(
    "token",
    ["hf_one\nhf_two", "hf_a b", "hf_\u00e9", "hf_\x1b[31m", "hf_\u200b", '"hf_quoted"', "Bearer hf_x"],
)
def test_credentials_that_cannot_be_a_token_are_refused_and_not_shown(token: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The value of HF_TOKEN is not a Hugging Face token") as caught:
        read_credentials({"HF_TOKEN": token}, tmp_path)
    assert "hf_" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_credentials_in_a_file_of_another_encoding_are_said(encoding: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=hf_é\n", encoding=encoding)
    with pytest.raises(UsageError, match=r"\.env is not UTF-8 text\. Save it as UTF-8"):
        read_credentials({}, tmp_path)


def test_credentials_file_that_is_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(UsageError, match="this is a folder"):
        read_credentials({}, tmp_path)


def test_credentials_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HF_TOKEN=hf_marked\n", encoding="utf-8-sig")
    assert read_credentials({}, tmp_path).hf_token == "hf_marked"


@pytest.mark.skipif(sys.platform == "win32", reason="users and modes are POSIX's")
def test_credentials_file_of_another_user_is_said(
    tmp_path: Path, another_user: Callable[[Path], None]
) -> None:
    file = tmp_path / ".env"
    file.write_text("HF_TOKEN=hf_theirs\n", encoding="utf-8")
    another_user(file)
    with pytest.raises(
        UsageError, match=f"belongs to user [0-9]+, and this program runs as user {os.geteuid()}"
    ):
        read_credentials({}, tmp_path)


def test_credentials_under_the_older_name_of_the_variable_count_last(tmp_path: Path) -> None:
    older = {"HUGGING_FACE_HUB_TOKEN": "hf_older"}
    assert read_credentials(older, tmp_path).hf_token == "hf_older"
    (tmp_path / ".env").write_text("HF_TOKEN=hf_from_file\n", encoding="utf-8")
    assert read_credentials(older, tmp_path).hf_token == "hf_from_file"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HF_HUB_DOWNLOAD_TIMEOUT", "ten", "is not a whole number of seconds"),
        ("HF_HUB_ETAG_TIMEOUT", "1.5", "is not a whole number of seconds"),
        ("HF_ENDPOINT", "http://user:hidden-word@[::1", "is not an http:// or https:// address"),
        ("HF_ENDPOINT", "127.0.0.1:9945", "is not an http:// or https:// address"),
        ("HF_ENDPOINT", "http://", "is not an http:// or https:// address"),
    ],
)
def test_credentials_beside_what_the_hubs_library_cannot_even_be_imported_with_say_so(
    name: str, value: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{name} {said}") as caught:
        read_credentials({name: value}, tmp_path)
    assert "hidden-word" not in str(caught.value)


def test_settings_tell_of_a_bad_token_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_one\nhf_two")
    with pytest.raises(SystemExit) as caught:
        miner_settings(MINER)
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.startswith("Error: The value of HF_TOKEN") and "hf_" not in said


def test_settings_without_a_home_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        miner_settings([*MINER, "--wallet.path", "~no-such-user/wallets"])
    assert "set HOME, or give the full path" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")
def test_user_without_a_home_folder_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    os.setresuid(61_234, 0, 0)  # whom no list of users knows, as in a container
    try:
        with pytest.raises(typer.BadParameter) as caught:
            default_data_dir()
    finally:
        os.setresuid(0, 0, 0)
    assert caught.value.message == "this user has no home folder; set HOME, or name every folder"
