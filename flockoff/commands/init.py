"""``flockoff init``: stores common options once in ``.env``."""

import os
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from flockoff.commands.asking import require_yes, typed_secret
from flockoff.commands.tables import console, outside, print_json
from flockoff.env_files import variables_in
from flockoff.errors import SetupError, UsageError
from flockoff.files import hand_written, remedy_for
from flockoff.flags import (
    AsJson,
    CompetitionFile,
    Netuid,
    Network,
    RepoId,
    WalletHotkey,
    WalletName,
    WalletPath,
    folder_option,
)
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.settings import check_token, read_credentials

_PLAIN = re.compile(r"[\w./:@~+=,-]+", re.ASCII)
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=")
_TOKEN, _ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"


def init(
    *,
    wallet_path: WalletPath,
    netuid: Netuid,
    repo_id: RepoId,
    wallet_name: WalletName,
    hotkey: WalletHotkey,
    network: Network,
    competition: CompetitionFile,
    directory: Annotated[Path, folder_option("--directory", help="Folder for the .env file.")] = Path(),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Change stored values without asking.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store wallet, network, subnet, repo and Hugging Face token in .env, for all other commands.

    \b
    flockoff init --netuid 96 -w ann -H one --hf_repo_id ann/data

    The token is taken from HF_TOKEN, or prompted for; there is no flag, since shells record history. Other
    lines of a .env are kept. Flags and environment variables beat stored values.
    """
    say_on_stderr()

    def program(_stop: threading.Event) -> int:
        wanted = {
            "BT_WALLET": wallet_name,
            "BT_WALLET_HOTKEY": hotkey,
            "BT_WALLET_PATH": str(wallet_path.absolute()),
            "BT_NETWORK": network,
            "FLOCKOFF_NETUID": str(netuid),
            "FLOCKOFF_REPO": repo_id,
        }
        if competition is not None:
            wanted["FLOCKOFF_COMPETITION"] = str(competition.absolute())
        file = (directory / ".env").absolute()
        before = hand_written(file) or ""
        stored = variables_in(before)
        known = read_credentials(os.environ, directory).hf_token  # a login's, too
        wanted |= _hub_settings(os.environ, known)
        changed = sorted(name for name, value in wanted.items() if stored.get(name) not in (None, value))
        added = sorted(name for name in wanted if name not in stored)
        if changed and not overwrite:
            _require_yes(file, changed)
        if changed or added:
            _write(file, merged(before, {name: wanted[name] for name in (*changed, *added)}))
        if as_json:
            print_json({"file": str(file), "added": added, "changed": changed})
        else:
            _show(file, added, changed, has_token=_TOKEN in wanted or known is not None)
        return 0

    raise typer.Exit(run(program))


def _hub_settings(environ: Mapping[str, str], known: str | None) -> dict[str, str]:
    """The hub's, from the environment. The token is asked for only if none is ``known``."""
    found = {name: environ[name].strip() for name in (_TOKEN, _ENDPOINT) if environ.get(name, "").strip()}
    if _TOKEN in found:
        check_token(found[_TOKEN], f"The value of {_TOKEN}")
    elif known is None and sys.stdin.isatty():
        token = _typed_token()
        found |= {_TOKEN: token} if token else {}
    return found


def _typed_token() -> str:
    """Asked for until it can be one, or is empty."""
    while token := typed_secret("Hugging Face token with write access (not shown; empty: none)"):
        try:
            check_token(token, "This")
        except UsageError as error:
            typer.echo(str(error), err=True)
        else:
            break
    return token


def _require_yes(file: Path, changed: list[str]) -> None:
    names = ", ".join(changed)
    unasked = UsageError(f"{file} has other values of {names}.", remedy="Add --overwrite to change them.")
    require_yes(f"Change {names} in {file}?", default=False, unasked=unasked)


def merged(before: str, values: Mapping[str, str]) -> str:
    """The text of a ``.env`` with these variables: existing ones are changed in place, new ones appended."""
    left = dict(values)
    lines = []
    for line in before.splitlines():
        found = _ASSIGNMENT.match(line)
        name = found[1] if found else ""
        if name in values:
            if name in left:  # duplicates are merged
                lines.append(f"{name}={_quoted(left.pop(name))}")
            continue
        lines.append(line)
    lines += [f"{name}={_quoted(value)}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _write(file: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    target = file.resolve()  # keep symbolic links
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as made:
            made.write(text)
        new.replace(target)
    except OSError as error:
        with suppress(OSError):  # it, or its folder, may not exist
            new.unlink()
        raise SetupError(f"Cannot write {file}: {error.strerror}.", remedy=remedy_for(error, file)) from error


def _show(file: Path, added: list[str], changed: list[str], *, has_token: bool) -> None:
    screen = console()
    if not added and not changed:
        screen.print(outside(f"{file} has all of this already."), soft_wrap=True)
    else:
        screen.print(outside(f"{file}: {', '.join(added + changed)}"), soft_wrap=True)
    if not has_token:
        screen.print("There is no HF_TOKEN yet: make one at https://huggingface.co/settings/tokens.")
    screen.print("Next: flockoff doctor miner")
