"""A neuron's flags, environment and ``.env``, read once into frozen records.

A flag beats the environment, which beats ``.env``.
"""

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer

from flockoff import flags
from flockoff.env_files import stored_variables
from flockoff.errors import UsageError
from flockoff.files import hand_written
from flockoff.flags import PROJECT_ROOT
from flockoff.logs import TRACE
from flockoff.records import PUBLIC_HUB
from flockoff.text import SECRET_CHARACTERS, secrets_in

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # what RFC 6750 allows
_SECONDS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
# Alerts' addresses whose host is a machine's name; all others keep a key there.
_WITH_HOST = frozenset(
    {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos", "http", "https"}
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the environment or ``.env`` says of the hub and of alerts. ``repr`` shows none of it."""

    hf_token: str | None = field(default=None, repr=False)
    hf_endpoint: str | None = field(default=None, repr=False)  # may hold a password
    alerts: tuple[str, ...] = field(default=(), repr=False)  # Apprise's addresses, secrets all of them

    @property
    def secrets(self) -> frozenset[str]:
        """What no log may show."""
        token = [self.hf_token] if self.hf_token else []
        return secrets_in(self.hf_endpoint or "").union(token, alert_secrets(self.alerts))


def read_credentials(environ: Mapping[str, str] = os.environ, directory: Path | None = None) -> Credentials:
    """HF_TOKEN, HF_ENDPOINT and FLOCKOFF_ALERTS from ``environ``, else from ``.env``.

    That is in ``directory``, or in the project root. Empty values count as unset. Without a token, that of
    ``hf auth login`` is used, on the public hub only. Raises UsageError for an unreadable ``.env``, for an
    address or a timeout of the hub that is none and, without showing it, for a malformed token.
    """
    stored = stored_variables([directory or Path.cwd(), PROJECT_ROOT])

    def value(name: str) -> str | None:
        return (environ.get(name) or "").strip() or stored.get(name)

    endpoint = value("HF_ENDPOINT")
    _check_hub_settings(endpoint, environ)
    source = "HF_TOKEN" if value("HF_TOKEN") else "HUGGING_FACE_HUB_TOKEN"  # its older name
    token = value(source)
    if token is None and endpoint is None:
        login = login_file(environ)
        token, source = (hand_written(login) or "").strip() or None, str(login)
    if token is not None:
        check_token(token, f"The value of {source}")
    alerts = tuple((value("FLOCKOFF_ALERTS") or "").split())
    return Credentials(hf_token=token, hf_endpoint=endpoint, alerts=alerts)


def _check_hub_settings(endpoint: str | None, environ: Mapping[str, str]) -> None:
    """Raise UsageError for what the hub's library would fail on when it is imported."""
    for name in _SECONDS:
        text = (environ.get(name) or "0").strip()
        if not text.lstrip("+-").isdecimal():
            raise UsageError(f"{name} is not a whole number of seconds.", remedy="Correct or unset it.")
    try:
        parts = urlsplit(endpoint or PUBLIC_HUB)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            "HF_ENDPOINT is not an http:// or https:// address.",
            remedy="Correct it, or unset it for huggingface.co.",
        )


def alert_secrets(urls: Collection[str]) -> frozenset[str]:
    """The parts of alert addresses that no log may show: all but their kinds and host names."""
    found: set[str] = set()
    for url in urls:
        kind, _, rest = url.partition("://")
        authority = re.split("[/?#]", rest)[0]
        user = authority.rpartition("@")[0].split(":")
        host = [] if kind in _WITH_HOST else [authority, *re.split("[:@]", authority)]
        pieces = {piece for each in (*user, *host) for piece in (each, unquote(each))}
        found |= secrets_in(url) | {piece for piece in pieces if len(piece) >= SECRET_CHARACTERS}
        found |= {url} - {f"{kind}://"}
    return frozenset(found)


def login_file(environ: Mapping[str, str]) -> Path:
    """Where ``hf auth login`` stores its token."""
    cache = Path(environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(environ.get("HF_HOME") or cache / "huggingface")
    file = Path(environ.get("HF_TOKEN_PATH") or home / "token")
    try:
        return file.expanduser()
    except RuntimeError:  # no home folder
        return file


def check_token(token: str, what: str) -> None:
    """Raise UsageError if ``token`` cannot be one; the message calls it ``what`` and does not show it."""
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{what} is not a Hugging Face token: it has quotation marks, white space or "
            "other characters that no token has, as if more than the token had been pasted.",
            remedy="Copy only the token, from https://huggingface.co/settings/tokens.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    trace: flags.LogTrace = False
    debug: flags.LogDebug = False
    info: flags.LogInfo = False
    directory: flags.LogDir = None
    as_json: flags.LogJson = False

    def __post_init__(self) -> None:
        """Raises typer.BadParameter for more than one level."""
        if self.trace + self.debug + self.info > 1:
            raise typer.BadParameter(
                "--logging.trace, --logging.debug and --logging.info exclude one another"
            )

    @property
    def level(self) -> int:
        return TRACE if self.trace else logging.DEBUG if self.debug else logging.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronSettings:
    """Settings that miner and validator share."""

    netuid: flags.Netuid
    network: flags.Network = field(repr=False)  # a name, or an address that may contain a key
    chain_endpoint: flags.Endpoint = field(repr=False)
    competition: flags.CompetitionFile  # None: FLock OFF's own
    wallet_name: flags.WalletName
    wallet_hotkey: flags.WalletHotkey
    wallet_path: flags.WalletPath
    log: LogSettings = LogSettings()
    credentials: Credentials = field(default_factory=read_credentials)

    @property
    def secrets(self) -> frozenset[str]:
        """Values that must not be logged: the hub's credentials, and keys in the node's address."""
        return self.credentials.secrets | secrets_in(self.network) | secrets_in(self.chain_endpoint or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSettings:
    neuron: NeuronSettings
    repo_id: flags.RepoId
    dataset_path: flags.DatasetPath
    dry_run: flags.DryRun = False
    keep_private: flags.KeepPrivate = False
    retry_seconds: flags.RetrySeconds
    cache_dir: flags.CacheDir


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSettings:
    neuron: NeuronSettings
    miner_sample_size: flags.MinerSampleSize
    blocks_per_epoch: flags.BlocksPerEpoch  # None: the subnet's own tempo
    block_threshold: flags.BlockThreshold
    epochs: flags.Epochs  # None: for ever
    from_next_epoch: flags.FromNextEpoch = False
    cache_dir: flags.CacheDir
    data_dir: flags.DataDir
    eval_data_dir: flags.EvalDataDir
    device: flags.Device  # None: CUDA where there is one, else CPU
    workers: flags.Workers  # how many; or a Ray cluster's address; None: one per GPU
    allow_mixed_devices: flags.AllowMixedDevices = False
    evaluate_without_permit: flags.EvaluateWithoutPermit = False
    max_seconds_per_miner: flags.MaxSecondsPerMiner
    max_disk_gb: flags.MaxDiskGb
    metrics: flags.Metrics  # port; None: not served
    report: flags.Report  # folder; None: not written
    dashboard: flags.Dashboard  # port; None: not served
    alert: flags.Alert = field(default=None, repr=False)
    check_updates: flags.CheckUpdates = False
    wandb_project: flags.WandbProject  # None: not tracked there
    wandb_entity: flags.WandbEntity

    @property
    def alerts(self) -> tuple[str, ...]:
        """Where to send alerts: the flags beat the environment, which beats ``.env``."""
        return tuple(self.alert or ()) or self.neuron.credentials.alerts

    @property
    def secrets(self) -> frozenset[str]:
        """What no log may show."""
        return self.neuron.secrets | alert_secrets(self.alerts)


_ENVIRONMENT = "HF_TOKEN, HF_ENDPOINT and FLOCKOFF_ALERTS are read from the environment or from .env."


def miner_settings(argv: Sequence[str] | None = None) -> MinerSettings:
    """Parse the miner's command line. Prints usage and exits with status 2 on errors."""
    about = f"Upload a dataset to Hugging Face and commit it on the FLock OFF subnet.\n\n{_ENVIRONMENT}"
    return flags.parsed(MinerSettings, argv, program="miner.py", about=about)


def validator_settings(argv: Sequence[str] | None = None) -> ValidatorSettings:
    """Parse the validator's command line. Prints usage and exits with status 2 on errors."""
    about = (
        "Evaluate miners' datasets and set weights on the FLock OFF subnet, epoch after epoch.\n\n"
        + _ENVIRONMENT
    )
    return flags.parsed(ValidatorSettings, argv, program="validator.py", about=about)
