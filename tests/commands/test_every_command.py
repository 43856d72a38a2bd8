"""What all commands have in common."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import Result

from flockoff.cli import app


def commands(group: TyperGroup, before: str = "") -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    for name, command in group.commands.items():
        assert isinstance(command, TyperCommand | TyperGroup)
        yield f"{before}{name}", command
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{before}{name} ")


def all_commands() -> list[tuple[str, TyperCommand | TyperGroup]]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return list(commands(group))


@pytest.mark.parametrize(("name", "command"), all_commands())
def test_every_command_has_json_and_a_help_with_an_example(
    name: str, command: TyperCommand | TyperGroup
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert f"flockoff {name}" in (command.help or "")


def test_fault_list_is_json_for_machines(command: Callable[..., Result]) -> None:
    told = json.loads(command("localnet", "fault", "--json").stdout)
    assert "node.stall" in told and "hub.rate-limit" in told


def test_every_shell_gets_its_completion() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-c", "from flockoff.cli import main; main()", "--show-completion", shell],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and "complet" in done.stdout.lower()
