"""Flags, each declared once, as a type that defines its spelling, parser and help.

A neuron's settings record uses them as field types, a command as parameter types. Every flag may be spelled
with dots, dashes or underscores, and with ``btcli``'s short name where there is one. A flag beats ``btcli``'s
environment variable, which beats the default.
"""

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from platformdirs import user_cache_path, user_data_path
from typer.core import TyperCommand, TyperGroup

from flockoff import __version__
from flockoff.env_files import stored_variables
from flockoff.errors import FlockoffError
from flockoff.launch import output_may_fail, tell_error
from flockoff.records import is_repo_id

PROJECT_ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("finney", "test", "local")

T = TypeVar("T")

_WALLETS = "~/.bittensor/wallets"
_WALLET, _CHAIN, _MACHINE, _EPOCHS = "Wallet", "Chain", "Machine", "Epochs"
_DATASET, _WATCHING, _LOGGING = "Dataset", "Watching", "Logging"

_HEADINGS = ("Arguments", _DATASET, _EPOCHS, _WALLET, _CHAIN, _MACHINE, _WATCHING, _LOGGING, "Options")


def normalised(name: str) -> str:
    """A flag's name without leading dashes, equal for all its spellings."""
    return name.replace(".", "-").replace("_", "-")


_HELP = {"-h", "--help", "--version"}

# Settings of every command-line parser in this project.
CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": normalised,
}


def default_cache_dir() -> Path:
    """Where converted and downloaded models are kept between runs. Raises as ``default_data_dir``."""
    return _of_the_user(user_cache_path)


def default_data_dir() -> Path:
    """Where a validator's ledger and downloaded datasets are kept. Raises typer.BadParameter for a user
    without a home folder, as in a container.
    """
    return _of_the_user(user_data_path)


def _of_the_user(folder: Callable[[str], Path]) -> Path:
    try:
        return folder("flockoff")
    except RuntimeError:
        raise typer.BadParameter("this user has no home folder; set HOME, or name every folder") from None


# --- what a flag's text may be ---------------------------------------------------------------------------


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise typer.BadParameter(
            f"{text!r} is in a home folder that does not exist; set HOME, or give the full path"
        ) from None


def _repo_id(text: str) -> str:
    if not is_repo_id(text):
        raise typer.BadParameter(f"{text!r} is not a dataset repo id of the form owner/name")
    return text


def _workers(text: str) -> int | str | None:
    """A number, a Ray cluster's address, or None for "auto"."""
    if text == "auto":
        return None
    if text.isdecimal() and 0 < int(text) < 2**31:
        return int(text)
    parts = re.fullmatch(r"ray://[^\s/@:]+:(\d{1,5})", text)
    if parts is not None and 0 < int(parts[1]) < 2**16:
        return text
    if text.startswith("ray://"):
        raise typer.BadParameter(f"{text!r} is not an address of the form ray://HOST:PORT")
    raise typer.BadParameter(f"{text!r} is neither auto, nor a number above 0, nor ray://HOST:PORT")


def _positive_number(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"{text} is not a positive number")
    return number


# --- declaring -------------------------------------------------------------------------------------------


class _Default:
    """A flag's default, the same in every program; ``str`` of it is what the help shows."""

    def __init__(self, value: Callable[[], Any], shown: str) -> None:
        self._value, self._shown = value, shown

    def __call__(self) -> Any:
        return self._value()

    def __str__(self) -> str:
        return self._shown


def _flag(*names: str, group: str, shown: str | None = None, **more: Any) -> Any:
    """A flag's declaration. ``default``: a value or a factory; ``shown``: how the help shows it."""
    if "default" in more:
        default = more.pop("default")
        make = default if callable(default) else lambda: default
        more["default_factory"] = _Default(make, shown or str(default))
        more["show_default"] = shown is not None or default is not None
    return typer.Option(*names, rich_help_panel=group, **more)


_folder = partial(_flag, metavar="DIR", parser=_path)
_file = partial(_flag, metavar="FILE", parser=_path)
_count = partial(_flag, metavar="N", min=1, max=2**31 - 1)
_seconds = partial(_flag, metavar="S", parser=_positive_number)
_port = partial(_flag, metavar="PORT", min=1, max=2**16 - 1)

# For paths that only one command takes. Typer's own check of them would come before ours, and not say whose
# a file is that cannot be read.
file_argument = partial(typer.Argument, metavar="FILE", readable=False)
folder_argument = partial(typer.Argument, metavar="DIR", readable=False)
file_option = partial(typer.Option, metavar="FILE", readable=False)
folder_option = partial(typer.Option, metavar="DIR", readable=False)

WalletName = Annotated[
    str,
    _flag(
        "--wallet.name",
        "--wallet",
        "--name",
        "-w",
        group=_WALLET,
        metavar="NAME",
        envvar="BT_WALLET",
        default="default",
        help="The coldkey's name.",
    ),
]
WalletHotkey = Annotated[
    str,
    _flag(
        "--wallet.hotkey",
        "--hotkey",
        "-H",
        group=_WALLET,
        metavar="NAME",
        envvar="BT_WALLET_HOTKEY",
        default="default",
        help="The hotkey's name.",
    ),
]
WalletPath = Annotated[
    Path,
    _folder(
        "--wallet.path",
        "-p",
        group=_WALLET,
        envvar="BT_WALLET_PATH",
        default=lambda: _path(_WALLETS),
        shown=_WALLETS,
        help="Where wallets are.",
    ),
]
Network = Annotated[
    str,
    _flag(
        "--subtensor.network",
        "--network",
        "-n",
        group=_CHAIN,
        metavar="NAME",
        envvar="BT_NETWORK",
        default="finney",
        autocompletion=lambda: [*NETWORKS],
        help="finney, test, local or a ws:// address.",
    ),
]
Endpoint = Annotated[
    str | None,
    _flag(
        "--subtensor.chain_endpoint",
        "--chain",
        group=_CHAIN,
        metavar="URL",
        default=None,
        help="A node's address; beats the network.",
    ),
]
Netuid = Annotated[
    int,
    _flag(
        "--netuid",
        group=_CHAIN,
        metavar="N",
        min=0,
        max=2**16 - 1,
        envvar="FLOCKOFF_NETUID",
        help="The subnet's number.",
    ),
]
CompetitionFile = Annotated[
    Path | None,
    _file(
        "--competition",
        group=_CHAIN,
        envvar="FLOCKOFF_COMPETITION",
        default=None,
        shown="FLock OFF's own",
        help="A TOML file with other rules.",
    ),
]
CacheDir = Annotated[
    Path,
    _folder(
        "--cache_dir",
        group=_MACHINE,
        default=default_cache_dir,
        shown="the system's cache folder",
        help="Base models and tokenizers.",
    ),
]
DataDir = Annotated[
    Path,
    _folder(
        "--data_dir",
        group=_MACHINE,
        default=default_data_dir,
        shown="the system's data folder",
        help="The validator's ledger and downloaded datasets.",
    ),
]
EvalDataDir = Annotated[
    Path,
    _folder(
        "--eval_data_dir",
        group=_MACHINE,
        default=lambda: PROJECT_ROOT / "eval_data",
        shown="this repository's eval_data",
        help="Where the evaluation set is, or is downloaded to.",
    ),
]
Device = Annotated[
    str | None,
    _flag(
        "--device",
        group=_MACHINE,
        metavar="NAME",
        default=None,
        shown="cuda where there is one, else cpu",
        help="cuda, cuda:1, cpu …",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
LastEpochs = Annotated[int, typer.Option("--epochs", min=1, help="How many of the last epochs.")]
EpochBlock = Annotated[
    int | None,
    _flag(
        "--epoch",
        group=_EPOCHS,
        metavar="BLOCK",
        default=None,
        shown="the last closed one",
        help="The epoch that begins at this block.",
    ),
]

RepoId = Annotated[
    str,
    _flag(
        "--hf_repo_id",
        group=_DATASET,
        envvar="FLOCKOFF_REPO",
        metavar="OWNER/NAME",
        parser=_repo_id,
        help="Dataset repo on Hugging Face.",
    ),
]
DatasetPath = Annotated[
    Path,
    _file("--dataset_path", group=_DATASET, default=Path("data/data.jsonl"), help="The dataset to submit."),
]
DatasetFile = Annotated[Path, file_argument(help="The dataset, a JSONL file.")]
DryRun = Annotated[
    bool, _flag("--dry_run", group=_DATASET, help="Run all checks, say what would be done, change nothing.")
]
KeepPrivate = Annotated[
    bool, _flag("--keep_private", group=_DATASET, help="Do not make the repo public after the commitment.")
]
RetrySeconds = Annotated[
    float,
    _seconds(
        "--retry_seconds",
        group=_DATASET,
        default=120.0,
        help="Pause before retrying after a cooldown or a network fault.",
    ),
]

MinerSampleSize = Annotated[
    int, _count("--miner_sample_size", group=_EPOCHS, default=32, help="Miners an epoch.")
]
BlocksPerEpoch = Annotated[
    int | None,
    _count(
        "--blocks_per_epoch",
        group=_EPOCHS,
        default=None,
        shown="the subnet's own tempo, 360 on mainnet",
        help="Blocks in an epoch.",
    ),
]
BlockThreshold = Annotated[
    int,
    _count(
        "--block_threshold",
        group=_EPOCHS,
        default=50,
        help="Set weights no later than this many blocks before the epoch ends.",
    ),
]
Epochs = Annotated[
    int | None,
    _count(
        "--epochs",
        group=_EPOCHS,
        default=None,
        shown="run for ever",
        help="Stop after N epochs.",
    ),
]
FromNextEpoch = Annotated[
    bool,
    _flag(
        "--from_next_epoch",
        group=_EPOCHS,
        help="Begin with the next epoch, and load the base model meanwhile.",
    ),
]
Workers = Annotated[
    int | str | None,
    _flag(
        "--workers",
        group=_MACHINE,
        metavar="auto|N|ray://HOST:PORT",
        parser=_workers,
        default="auto",
        help="Evaluate on N GPUs, in N shares of the CPU, or on a Ray cluster; auto: all "
        "GPUs of this machine, else the whole CPU.",
    ),
]
AllowMixedDevices = Annotated[
    bool,
    _flag(
        "--allow_mixed_devices",
        group=_MACHINE,
        help="Compare losses of different kinds of GPU or CPU, whose last digits differ.",
    ),
]
EvaluateWithoutPermit = Annotated[
    bool,
    _flag(
        "--evaluate_without_permit",
        group=_EPOCHS,
        help="Evaluate even while the chain accepts no weights from this hotkey.",
    ),
]
MaxSecondsPerMiner = Annotated[
    float,
    _seconds(
        "--max_seconds_per_miner",
        group=_MACHINE,
        default=3600.0,
        help="Time limit for evaluating one dataset.",
    ),
]
MaxDiskGb = Annotated[
    float,
    _flag(
        "--max_disk_gb",
        group=_MACHINE,
        metavar="GB",
        parser=_positive_number,
        default=50.0,
        help="Disk space for models and downloaded datasets; the least recently used datasets go first.",
    ),
]
Metrics = Annotated[
    int | None,
    _port(
        "--metrics",
        group=_WATCHING,
        default=None,
        help="Serve metrics for Prometheus on this port, to this machine only.",
    ),
]
Report = Annotated[
    Path | None,
    _folder(
        "--report",
        group=_WATCHING,
        default=None,
        help="Write a report as index.html to this folder, updated each epoch.",
    ),
]
Dashboard = Annotated[
    int | None,
    _port(
        "--dashboard",
        group=_WATCHING,
        default=None,
        help="Serve the report live on this port, to this machine only.",
    ),
]
Alert = Annotated[
    list[str] | None,
    typer.Option(
        "--alert",
        metavar="URL",
        rich_help_panel=_WATCHING,
        help="Send alerts there, by Apprise: discord://, tgram://, mailto:// and a hundred more. Once for "
        "each address; or all of them, with spaces between, in FLOCKOFF_ALERTS.",
    ),
]
CheckUpdates = Annotated[
    bool,
    _flag(
        "--check_updates",
        group=_WATCHING,
        help="Ask GitHub once a day whether there is a newer release, and say so. Else nobody is asked.",
    ),
]
WandbProject = Annotated[
    str | None,
    _flag(
        "--wandb.project",
        group=_WATCHING,
        metavar="NAME",
        default=None,
        help="Log each epoch to this Weights & Biases project (extra wandb).",
    ),
]
WandbEntity = Annotated[
    str | None,
    _flag(
        "--wandb.entity",
        group=_WATCHING,
        metavar="NAME",
        default=None,
        shown="yours",
        help="Whose project it is.",
    ),
]

LogTrace = Annotated[
    bool, _flag("--logging.trace", group=_LOGGING, help="Log everything, every training step included.")
]
LogDebug = Annotated[bool, _flag("--logging.debug", group=_LOGGING, help="Log more than usual.")]
LogInfo = Annotated[
    bool, _flag("--logging.info", group=_LOGGING, help="Log the usual, which is the default.")
]
LogDir = Annotated[
    Path | None,
    _folder(
        "--logging.logging_dir",
        group=_LOGGING,
        default=None,
        help="Also write rotated log files here.",
    ),
]
LogJson = Annotated[
    bool, _flag("--logging.json", group=_LOGGING, help="Log one JSON object a line, for collectors.")
]


# --- reading ---------------------------------------------------------------------------------------------


def _short_flags_split(args: Sequence[str]) -> Iterator[str]:
    """``-w=ann`` as ``-w ann``: Typer would take the equals sign for a part of the value."""
    for place, arg in enumerate(args):
        if arg == "--":
            yield from args[place:]
            return
        name, equals, value = arg.partition("=")
        yield from (name, value) if equals and re.fullmatch("-[A-Za-z]", name) else (arg,)


class FlagCommand(TyperCommand):
    """A command whose help lists flags by group, none of them truncated."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """What a ``.env`` says in place of an environment variable is a flag's default.

        Help and completion are there also while a ``.env`` cannot be read.
        """
        unneeded = extra.get("resilient_parsing") or not _HELP.isdisjoint(args)
        try:
            stored = {} if unneeded else stored_variables([Path.cwd(), PROJECT_ROOT])
        except FlockoffError as error:
            typer.echo(f"Error: {error}", err=True)
            tell_error(error.message, error.remedy)
            raise typer.Exit(error.exit_status) from error
        defaults = {
            parameter.name: stored[parameter.envvar]
            for parameter in self.params
            if isinstance(parameter.envvar, str) and parameter.envvar in stored
        }
        spelled = [*_short_flags_split(args)]
        return super().make_context(info_name, spelled, parent, default_map=defaults, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Report errors in the environment like errors in a flag."""
        try:
            return super().invoke(ctx)
        except FlockoffError as error:
            typer.echo(f"Error: {error}", err=True)
            tell_error(error.message, error.remedy)
            raise typer.Exit(error.exit_status) from error

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
                group = getattr(parameter, "rich_help_panel", None) or plain
                sections.setdefault(group, []).append(record)
        for heading, records in sorted(sections.items(), key=lambda section: _HEADINGS.index(section[0])):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """Commands below a command, listed by whole summaries: Typer cuts them at 45 characters."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, " ".join((command.help or "").partition("\n\n")[0].split()))
                    for name, command in self.commands.items()
                ]
            )


def parsed(record: type[T], argv: Sequence[str] | None, *, program: str, about: str) -> T:
    """The settings ``record`` from a command line (None: this process's).

    Prints the usage and exits with status 2 on errors; exits with status 0 after help or version. Fields that
    are themselves records of flags are filled from the same command line; fields that are no flags have their
    defaults.
    """
    found: list[T] = []

    def take(**values: Any) -> None:
        found.append(_filled(record, values))

    parameters = [*_parameters(record), _VERSION]
    take.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    take.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=about, cls=FlagCommand, context_settings=CONTEXT)(take)
    try:
        with output_may_fail():
            app(args=None if argv is None else list(argv), prog_name=program)
    except SystemExit:
        if not found:
            raise
    return found[0]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"flockoff {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
]
_VERSION = inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Version)


def _is_record(kind: Any) -> bool:
    """Whether it is a record that contains flags, at any depth."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return False
    return any(
        get_origin(hint) is Annotated or _is_record(hint)
        for hint in get_type_hints(kind, include_extras=True).values()
    )


def _parameters(record: type) -> list[inspect.Parameter]:
    """A parameter for each flag in ``record``, at any depth, named like its field."""
    hints = get_type_hints(record, include_extras=True)
    found: list[inspect.Parameter] = []
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        if _is_record(hint):
            found += _parameters(hint)
        elif get_origin(hint) is Annotated:
            declared = get_args(hint)[1]
            plain = field.default is dataclasses.MISSING or declared.default_factory is not None
            default = inspect.Parameter.empty if plain else field.default
            # Typer inspects the type even if a parser makes the value, and does not support unions.
            kind = Annotated[str, declared] if declared.parser else hint
            keyword = inspect.Parameter.KEYWORD_ONLY
            found.append(inspect.Parameter(field.name, keyword, default=default, annotation=kind))
    return found


def _filled(record: type[T], values: dict[str, Any]) -> T:
    hints = get_type_hints(record, include_extras=True)
    given = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        if _is_record(hints[field.name]):
            given[field.name] = _filled(hints[field.name], values)
        elif field.name in values:
            given[field.name] = values[field.name]
    return record(**given)


def command_of(function: Callable[..., None]) -> typer.Typer:
    """A program around a function whose parameters are flags."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(getattr(function, "__name__", None), cls=FlagCommand, context_settings=CONTEXT)(function)
    return app
