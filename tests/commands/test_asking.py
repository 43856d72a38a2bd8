"""Questions, at a real terminal."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flockoff.cli import main
from tests.support.forked import Outcome

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

from tests.support.terminal import Answers, run_at_terminal

TOKEN = "hf_typedAtTheTerminal"
ASKED = "empty: none): "
CTRL_C, CTRL_D = "\x03", "\x04"


def init(folder: Path, *answers: tuple[str, str]) -> Outcome:
    arguments = ["init", "--netuid", "1", "--hf_repo_id", "ann/data", "--directory", str(folder)]
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "BT_"))}
    return run_at_terminal(shown, arguments, keep | {"HOME": str(folder), "XDG_CACHE_HOME": ""}, answers)


def shown(_arguments: Sequence[str]) -> None:
    main()


def test_token_is_asked_for_until_it_can_be_one_and_never_shown(tmp_path: Path) -> None:
    done = init(tmp_path, (ASKED, f'"{TOKEN}"\r'), (ASKED, f"{TOKEN}\r"))
    assert done.status == 0, done.said
    assert "This is not a Hugging Face token" in done.said and TOKEN not in done.said
    assert f"HF_TOKEN={TOKEN}" in (tmp_path / ".env").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("typed", [CTRL_C, CTRL_D, f"hf_{CTRL_C}"])
def test_question_for_a_secret_ends_as_its_reader_wants(typed: str, tmp_path: Path) -> None:
    done = init(tmp_path, (ASKED, typed))
    assert (done.status, done.said.splitlines()[1:]) == (
        130,
        ["Stopped on request. Start it again to continue."],
    )
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("typed", "status", "last"),
    [
        (["maybe\r", "n\r"], 1, "Nothing was changed."),
        (["\r"], 1, "Nothing was changed."),
        (["y\r"], 0, "Next: flockoff doctor miner"),
        ([CTRL_C], 130, "Stopped on request. Start it again to continue."),
        ([CTRL_D], 130, "Stopped on request. Start it again to continue."),
    ],
)
def test_question_whether_to_change_what_is_stored(
    typed: list[str], status: int, last: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"HF_TOKEN={TOKEN}\nBT_WALLET=older\n", encoding="utf-8")
    answers: Answers = [("BT_WALLET in", answer) for answer in typed]
    done = init(tmp_path, *answers)
    assert (done.status, done.said.splitlines()[-1]) == (status, last)
    assert done.said.count("Answer y or n.") == len(typed) - 1
    assert ("BT_WALLET=older" in file.read_text(encoding="utf-8").splitlines()) is (status != 0)
