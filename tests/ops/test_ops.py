"""The files in flockoff/ops match the programs' flags, metrics and dependency groups."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flockoff.metrics import Metrics
from flockoff.settings import miner_settings, validator_settings

ROOT = Path(__file__).parents[2]
OPS = ROOT / "flockoff" / "ops"
GIVEN = {
    "NETUID": "7",
    "WALLET_NAME": "ann",
    "WALLET_HOTKEY": "one",
    "NETWORK": "local",
    "WALLET_PATH": "/wallets",
    "HF_REPO_ID": "ann/data",
    "DATASET": "/dataset/data.jsonl",
    "STATE_DIRECTORY": "/state",
    "CACHE_DIRECTORY": "/cache",
}


def substituted(text: str) -> str:
    """``$NAME``, ``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``, all of them given."""
    return re.sub(r"\$\{(\w+)(?::[-?][^}]*)?\}", lambda found: GIVEN[found[1]], text)


def require_understood(neuron: str, arguments: list[str]) -> None:
    settings = (
        validator_settings(arguments).neuron if neuron == "validator" else miner_settings(arguments).neuron
    )
    assert (settings.netuid, settings.wallet_name, settings.wallet_hotkey) == (7, "ann", "one")
    assert settings.network == "local"


def tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if path is None:
        pytest.skip(f"needs {name}")
    return path


@pytest.mark.parametrize("neuron", ["miner", "validator"])
def test_ops_systemd_unit_gives_flags_that_the_neuron_has(neuron: str) -> None:
    unit = (OPS / f"flockoff-{neuron}.service").read_text(encoding="utf-8").replace("\\\n", " ")
    [command] = [
        line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart=")
    ]
    python, script, *arguments = shlex.split(substituted(command))
    assert (Path(python).name, script) == ("python3", f"neurons/{neuron}.py")
    require_understood(neuron, arguments)


def test_ops_systemd_units_are_sound(tmp_path: Path) -> None:
    for unit in OPS.glob("*.service"):
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace("/opt/FLock-subnet/.venv/bin/python3", "/bin/true"))
    units = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", *units], capture_output=True, text=True, timeout=300
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze cannot work in this container")
    assert (len(units), done.returncode, done.stderr) == (2, 0, "")


@pytest.mark.parametrize("neuron", ["miner", "validator"])
def test_ops_image_with_the_compose_file_gives_flags_that_the_neuron_has(neuron: str) -> None:
    recipe = (OPS / "Dockerfile").read_text(encoding="utf-8")
    [entry] = [line for line in recipe.splitlines() if f"neurons/{neuron}.py" in line]
    service = yaml.safe_load((OPS / "compose.yml").read_text(encoding="utf-8"))["services"][neuron]
    python, script, *built_in = json.loads(entry.removeprefix("ENTRYPOINT "))
    assert (python, script) == ("python3", f"neurons/{neuron}.py")
    require_understood(neuron, built_in + [substituted(part) for part in service["command"]])


def test_ops_compose_file_mounts_what_is_there() -> None:
    services = yaml.safe_load((OPS / "compose.yml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"validator", "prometheus", "grafana", "miner", "localnet"}
    named = [mount for service in services.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in named if isinstance(mount, str) and mount.startswith("./")]
    assert files and all((OPS / file).exists() for file in files)


@pytest.mark.parametrize("neuron", ["miner", "validator"])
def test_ops_pm2_file_gives_flags_that_the_neuron_has(neuron: str) -> None:
    code = "console.log(JSON.stringify(require(process.argv[1])))"
    done = subprocess.run(
        [tool("node"), "-e", code, str(OPS / "ecosystem.config.js")],
        env=os.environ | GIVEN,
        capture_output=True,
        check=True,
        timeout=300,
    )
    [app] = [app for app in json.loads(done.stdout)["apps"] if app["name"] == f"flockoff-{neuron}"]
    assert (app["cwd"], app["script"]) == (str(ROOT), f"neurons/{neuron}.py")
    require_understood(neuron, app["args"])


def test_ops_dockerfile_has_nothing_that_the_linter_objects_to() -> None:
    subprocess.run([tool("hadolint"), str(OPS / "Dockerfile")], check=True, timeout=300)


def test_ops_dockerfile_installs_groups_that_there_are() -> None:
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    named = re.findall(r"--group (\w+)", (OPS / "Dockerfile").read_text(encoding="utf-8"))
    assert named and set(named) <= set(groups)


def test_ops_prometheus_takes_its_rules() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "config", str(OPS / "prometheus.yml")], capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["alerts.yml", "grafana/validator.json"])
def test_ops_expressions_name_metrics_that_there_are(file: str) -> None:
    text = (OPS / file).read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:flockoff|process)_\w+", text)) - {"flockoff_subnet"}
    offered = {
        sample for metric in Metrics().registry.collect() for sample in sample_names(metric.name, metric.type)
    }
    assert len(named) > 5
    assert named <= offered


def sample_names(name: str, kind: str) -> list[str]:
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(kind, [""])
    return [name + suffix for suffix in suffixes]


def test_ops_dashboard_has_panels_that_do_not_overlap() -> None:
    panels = json.loads((OPS / "grafana" / "validator.json").read_text(encoding="utf-8"))["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) == 23
    assert len({panel["id"] for panel in panels}) == len(panels)
