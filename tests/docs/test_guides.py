"""The guides under .github/docs: their commands run as written, their links resolve.

A guide's ``bash`` blocks are one script, run in a folder like a clone, with a local chain and hub in place of
the real ones. Three stand-ins on the PATH give what cannot be had here: ``uv run`` just runs, and
``python3 neurons/…`` and ``flockoff`` get the playground's tiny base model. The validator, ``flockoff`` and
their workers are forked; whether they start at all is for other tests.
Blocks marked ``sh`` are for machines with systemd or Docker, for several machines, or are what CI itself
runs; they are only looked at.
"""

import math
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flockoff.competition import Scoring
from flockoff.flags import PROJECT_ROOT
from flockoff.scoring import epoch_pay
from tests.support.playground import Playground, forked_program
from tests.support.tiny_model import row

DOCS = PROJECT_ROOT / ".github" / "docs"
GUIDES = sorted(DOCS.glob("*.md"))
PAGES = [
    PROJECT_ROOT / "README.md",
    *sorted(DOCS.parent.rglob("*.md")),
    *sorted(PROJECT_ROOT.glob("flockoff/**/*.md")),
]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMES = re.compile(r"^export NETUID=.*\n", re.MULTILINE)

UV = '#!/bin/bash\n[ "$1" = run ] || exit 9\nshift\nexec "$@"\n'
PYTHON = """#!/bin/bash
case "$1" in
  neurons/miner.py) exec {python} "$@" {rules} ;;
  neurons/validator.py) shift; exec {validator} "$@" {rules} --eval_data_dir {eval_data} --device cpu ;;
  *) exec {python} "$@" ;;
esac
"""
FLOCKOFF = """#!/bin/bash
given=("$@")
rules={competition}
for ((i = 1; i < $#; i++)); do
  if [ "${{given[i]}}" = --competition ]; then
    cat {competition} "${{given[i + 1]}}" > both.toml
    rules=both.toml
    unset "given[i]" "given[i + 1]"
  fi
done
case "$1" in
  score) more=(--competition $rules --cache-dir {cache} --eval-data-dir {eval_data} --device cpu) ;;
  check|doctor) more=(--competition $rules --cache-dir {cache}) ;;
  submit) more=(--competition $rules --cache-dir {cache}) ;;
  init) more=(-p {wallets}) ;;
  status|explain|competition) more=(--competition $rules) ;;
  *) more=() ;;
esac
exec {flockoff} "${{given[@]}}" "${{more[@]}}"
"""


def blocks(guide: Path, language: str) -> str:
    found = _BLOCK.findall(guide.read_text(encoding="utf-8"))
    return "".join(text for marked, text in found if marked == language)


def clone(playground: Playground, directory: Path) -> Path:
    """A folder like a clone, with the stand-ins in ``bin`` and the playground's wallets in its home."""
    for name in ("neurons", "flockoff", "eval_data", ".github"):
        (directory / name).symlink_to(PROJECT_ROOT / name)
    (directory / "home" / ".bittensor").mkdir(parents=True)
    (directory / "home" / ".bittensor" / "wallets").symlink_to(playground.subnet.miners[0].path)
    cache, eval_data = playground.directory / "cache", playground.eval_data_dir
    stand_ins = {
        "uv": UV,
        "python3": PYTHON.format(
            python=sys.executable,
            validator=" ".join(forked_program("neurons/validator.py")),
            rules=f"--competition {playground.competition} --cache_dir {cache}",
            eval_data=eval_data,
        ),
        "flockoff": FLOCKOFF.format(
            flockoff=" ".join(forked_program("flockoff")),
            competition=playground.competition,
            cache=cache,
            eval_data=eval_data,
            wallets=playground.subnet.miners[0].path,
        ),
    }
    for name, text in stand_ins.items():
        file = directory / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return directory


def run_guide(name: str, folder: Path, playground: Playground, token: str, **values: str) -> str:
    """Run a guide's commands in ``folder``; returns their output."""
    script = _NAMES.sub("", blocks(DOCS / name, "bash"))
    home = folder / "home"
    values |= {
        "NETUID": str(playground.subnet.netuid),
        "NETWORK": playground.node.endpoint,
        "HOME": str(home),
    }
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=playground.environment(token) | values | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_guides_of_miner_and_validator_are_followed_to_the_letter(
    playground: Playground, tmp_path: Path
) -> None:
    folder = clone(playground, tmp_path)
    miner, validator = playground.subnet.miners[0], playground.subnet.validators[0]
    owner = playground.hub.add_user(miner.name)
    repo = f"{miner.name}/my-dataset"
    said = run_guide("miner.md", folder, playground, owner, WALLET=miner.name, HOTKEY=miner.hotkey, REPO=repo)
    assert "All is well." in said and "Dry run: nothing was changed." in said
    assert "Committed in block" in said and f"commitment    {repo}:f127:" in said
    playground.mine(1, [row("Hi", "Hello to you.")])
    playground.next_epoch()
    said = run_guide(
        "validator.md",
        folder,
        playground,
        playground.reader(),
        WALLET=validator.name,
        HOTKEY=validator.hotkey,
        DATA=str(tmp_path / "data-of-the-validator"),
    )
    assert "Weights set in block" in said and "eligible" in said and "win rate" in said
    said = run_guide("subnet-owner.md", folder, playground, owner)
    assert "is valid: 2 rows" in said and "Incentive by strategy" in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_pages_name_and_link_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target
    for name in re.findall(r"`([a-z_]+/[\w./-]+\.py)`", text):
        assert (PROJECT_ROOT / name).exists() or (PROJECT_ROOT / "flockoff" / name).exists(), name


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_guide_blocks_are_of_known_kinds(guide: Path) -> None:
    kinds = {kind for kind, _ in _BLOCK.findall(guide.read_text(encoding="utf-8"))}
    assert kinds <= {"bash", "sh", "toml", "text", "json", "python", ""}
    assert "sh" not in kinds or guide.name in {"operations.md", "development.md", "noise.md", "cluster.md"}


def test_scoring_guide_has_its_numbers_right() -> None:
    text = (DOCS / "scoring.md").read_text(encoding="utf-8")
    assert math.isclose(0.995 * 1.42, 1.4129) and math.isclose(0.995 * 1.425, 1.417875)
    shares = {}
    for gap in (0.5, 1, 2):  # in clear wins
        losses = np.power(1 - gap * 0.005, -np.arange(11, dtype=np.float64))
        pay = epoch_pay(losses, np.arange(11), Scoring())
        shares[gap] = [f"{share:.0%}".removesuffix("%") for share in pay[:3]]
    first, second, third = shares[1]
    assert f"the first has {first} % of the epoch, the second {second} %, the third {third} %" in text
    assert "{}, {} and {} %".format(*shares[0.5]) in text
    assert "{}, {} and {} %".format(*shares[2]) in text
    assert (round(1 - 0.8**5, 2), round(1 - 0.8**10, 2)) == (0.67, 0.89)
