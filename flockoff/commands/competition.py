"""``flockoff competition``: the validators' common rules, and their sealed evaluation set."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flockoff import openers
from flockoff.commands.asking import require_yes
from flockoff.commands.tables import console, outside, print_json, table
from flockoff.competition import Competition, SealedSet, competition_hash, load_competition
from flockoff.errors import UsageError
from flockoff.flags import (
    CONTEXT,
    PROJECT_ROOT,
    AsJson,
    CacheDir,
    CommandGroup,
    CompetitionFile,
    FlagCommand,
    file_argument,
    file_option,
)
from flockoff.launch import run
from flockoff.logs import say_on_stderr
from flockoff.sealing import examine, seal_competition
from flockoff.sealing import publish as make_public
from flockoff.settings import read_credentials
from flockoff.text import counted

competition = typer.Typer(
    cls=CommandGroup, invoke_without_command=True, add_completion=False, rich_markup_mode=None
)

_Rules = Annotated[
    Path,
    file_option("--competition", help="The competition file that pins the set."),
]


@competition.callback(context_settings=CONTEXT)
def show(
    context: typer.Context,
    rules_file: Annotated[
        Path | None,
        file_option("--competition", help="Without it: FLock OFF's own rules."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a competition's rules and hash; seal an evaluation set, publish and verify a retired one.

    \b
    flockoff competition --competition mine.toml
    flockoff competition check --competition mine.toml
    flockoff competition seal secret.jsonl --repo me/sealed --write sealed.toml

    What differs from FLock OFF's own rules is marked with a *.
    """
    if context.invoked_subcommand:
        return
    say_on_stderr()

    def program(_stop: threading.Event) -> int:
        rules = load_competition(rules_file)
        changed = [name for name, _, default in _rules(rules) if not default]
        if as_json:
            print_json(
                {"id": rules.id, "hash": competition_hash(rules), "changed": changed, "rules": asdict(rules)}
            )
            return 0
        shown = table("Rules", words=("rule", "value"), numbers=())
        for name, value, default in _rules(rules):
            shown.add_row(outside(name if default else f"{name} *"), outside(str(value)))
        screen = console()
        screen.print(shown)
        screen.print(f"competition {rules.id}, hash {competition_hash(rules)}", soft_wrap=True)
        return 0

    raise typer.Exit(run(program))


@competition.command(cls=FlagCommand, context_settings=CONTEXT)
def check(*, rules_file: CompetitionFile, cache_dir: CacheDir, as_json: AsJson = False) -> None:
    """Fetch a competition's evaluation sets as a validator does, and check them against what is pinned.

    \b
    flockoff competition check --competition mine.toml

    With a sealed set it needs a token that may read it, and also looks whether its repo is private and
    whether the two sets share anything.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        rules = load_competition(rules_file)
        with closing(openers.open_hub(credentials, stop)) as hub:
            folder = cache_dir / "evaluation"
            public = _public_file(rules, hub, folder)
            output: dict[str, object] = {"id": rules.id, "hash": competition_hash(rules), "sealed": None}
            if rules.sealed is not None:
                sealed = hub.fetch_evaluation_set(rules.sealed, folder)
                encoder = openers.open_encoder(rules, hub, cache_dir)
                output["sealed"] = asdict(examine(sealed, public, rules, rules.sealed.weight, encoder))
        if as_json:
            print_json(output)
            return 0
        screen = console()
        screen.print("The public evaluation set is the pinned one.")
        if rules.sealed is not None:
            screen.print("The sealed set is the pinned one, private, and shares nothing with the public one.")
        screen.print(f"competition {rules.id}, hash {output['hash']}", soft_wrap=True)
        return 0

    raise typer.Exit(run(program))


@competition.command(cls=FlagCommand, context_settings=CONTEXT)
def seal(
    *,
    file: Annotated[
        Path,
        file_argument(help="The rows to seal, in the datasets' format."),
    ],
    repo: Annotated[
        str, typer.Option("--repo", metavar="OWNER/NAME", help="Private Hub dataset repo; made if need be.")
    ],
    write: Annotated[Path, file_option("--write", help="The new competition file.")],
    weight: Annotated[float, typer.Option("--weight", min=0.01, max=1.0, help="Its part of the loss.")] = 0.5,
    rules_file: CompetitionFile,
    cache_dir: CacheDir,
    as_json: AsJson = False,
) -> None:
    """Make a competition with a sealed evaluation set: check FILE, upload it to a private repo, pin it.

    \b
    flockoff competition seal secret.jsonl --repo me/sealed --write sealed.toml
    flockoff competition seal secret.jsonl --repo me/sealed --competition old.toml --write new.toml

    FILE must be valid and share nothing with the public evaluation set. Validators need a token that may read
    the repo, and the file that this writes.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        rules = load_competition(rules_file)
        with closing(openers.open_hub(credentials, stop)) as hub:
            public = _public_file(rules, hub, cache_dir / "evaluation")
            examined, made = seal_competition(
                hub,
                file,
                repo,
                public=public,
                rules_file=rules_file,
                weight=weight,
                encoder=openers.open_encoder(rules, hub, cache_dir),
                write=write,
            )
        sealed = _sealed_of(made, write)
        if as_json:
            print_json({**asdict(examined), "sealed": asdict(sealed), "hash": competition_hash(made)})
            return 0
        screen = console()
        lines = (
            f"Sealed {counted(examined.rows, 'row')} in {sealed.repo} at {sealed.commit}, private.",
            f"A dataset may gain {100 * examined.margin:.1f} points more on the public set than on this one.",
            f"Wrote {write}: competition {made.id}, hash {competition_hash(made)}.",
            "Let your validators' accounts read the repo, and give them the file.",
        )
        for line in lines:
            screen.print(outside(line), soft_wrap=True)
        return 0

    raise typer.Exit(run(program))


@competition.command(cls=FlagCommand, context_settings=CONTEXT)
def publish(
    *,
    rules_file: _Rules,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cache_dir: CacheDir,
    as_json: AsJson = False,
) -> None:
    """Make a retired sealed set public, so that everybody can verify by what they were measured.

    \b
    flockoff competition publish --competition retired.toml

    It cannot be undone: whoever reads the set can train on it, and validators refuse it from then on.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        sealed = _sealed_of(load_competition(rules_file), rules_file)
        question = "Is the set retired, and may everybody read it from now on?"
        unasked = UsageError(
            "Nobody is here to be asked.", remedy="Add --yes to publish without being asked."
        )
        if not yes:
            require_yes(question, default=False, unasked=unasked)
        with closing(openers.open_hub(credentials, stop)) as hub:
            make_public(hub, sealed, cache_dir / "evaluation")
        _say(sealed, f"{sealed.repo} is public now. Anybody can run: flockoff competition verify", as_json)
        return 0

    raise typer.Exit(run(program))


@competition.command(cls=FlagCommand, context_settings=CONTEXT)
def verify(*, rules_file: _Rules, cache_dir: CacheDir, as_json: AsJson = False) -> None:
    """Verify a retired sealed set, now public: is it what was pinned while it was sealed?

    \b
    flockoff competition verify --competition retired.toml

    The competition's hash, which validators show in their log and report, tells whether they played by FILE.
    Ends with status 1 where it is another content, or not there.
    """
    credentials = read_credentials()
    say_on_stderr(credentials.secrets)

    def program(stop: threading.Event) -> int:
        rules = load_competition(rules_file)
        sealed = _sealed_of(rules, rules_file)
        with closing(openers.open_hub(credentials, stop)) as hub:
            hub.fetch_evaluation_set(sealed, cache_dir / "evaluation", retired=True)
        text = f"{sealed.repo} at {sealed.commit} is the set pinned by competition {competition_hash(rules)}."
        _say(sealed, text, as_json)
        return 0

    raise typer.Exit(run(program))


def _rules(rules: Competition) -> Iterator[tuple[str, Any, bool]]:
    """Every rule's name and value, and whether it is FLock OFF's default."""
    own = dict(_flat(asdict(Competition())))
    for name, value in _flat(asdict(rules)):
        yield name, value, name in own and own[name] == value


def _flat(rules: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in rules.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _public_file(rules: Competition, hub: Any, folder: Path) -> Path:
    own = PROJECT_ROOT / "eval_data"
    return openers.evaluation_file(rules, hub, folder if rules.evaluation.repo is not None else own)


def _sealed_of(rules: Competition, file: Path) -> SealedSet:
    if rules.sealed is None:
        raise UsageError(f"{file} has no sealed set.", remedy="Give the competition file that pins it.")
    return rules.sealed


def _say(sealed: SealedSet, text: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(sealed))
    else:
        console().print(outside(text), soft_wrap=True)
