"""Opens what neurons and commands share: hub, subnet, tokenizer, evaluation sets."""

import threading
from collections.abc import Callable
from pathlib import Path

from flockoff.chain import SubtensorChain, WalletRef, open_chain, resolve_endpoint
from flockoff.competition import Competition
from flockoff.dataset import EvaluationAnswers, Sketch, Sketcher, load_numbered_rows, load_rows
from flockoff.errors import SetupError
from flockoff.flags import PROJECT_ROOT
from flockoff.hub import HubClient
from flockoff.pinned import PinnedFile
from flockoff.ports import RowEncoder
from flockoff.settings import Credentials, NeuronSettings
from flockoff.tokens import TokenizerEncoder, load_encoder
from flockoff.training.prepare import resolve_base_model


def open_hub(
    credentials: Credentials,
    stop: threading.Event | None = None,
    *,
    on_retry: Callable[[], None] = lambda: None,
) -> HubClient:
    """Calls waiting for the hub give up once ``stop`` is set; ``on_retry`` is called before each retry."""
    return HubClient(credentials.hf_token, credentials.hf_endpoint, stop=stop, on_retry=on_retry)


def open_subnet(settings: NeuronSettings, stop: threading.Event | None = None) -> SubtensorChain:
    """The subnet through the settings' wallet. Raises SetupError for a missing wallet.

    Calls waiting for the chain give up a few seconds after ``stop`` is set.
    """
    return open_chain(
        endpoint=resolve_endpoint(settings.network, settings.chain_endpoint),
        netuid=settings.netuid,
        wallet=WalletRef(settings.wallet_name, settings.wallet_hotkey, settings.wallet_path),
        stop=stop,
    )


def model_directory(
    competition: Competition, hub: HubClient, cache_dir: Path, *, tokenizer_only: bool = False
) -> Path:
    """The base model's files on this machine, downloaded or converted if necessary.

    Raises SetupError or HubError's kinds, with the remedy.
    """
    base = competition.base_model
    if base.package is None:
        return hub.fetch_base_model(base, cache_dir, tokenizer_only=tokenizer_only)
    return resolve_base_model(base, cache_dir)


def open_encoder(competition: Competition, hub: HubClient, cache_dir: Path) -> TokenizerEncoder:
    """The base model's tokenizer and chat template, without its weights."""
    directory = model_directory(competition, hub, cache_dir, tokenizer_only=True)
    return load_encoder(directory, competition.training.context_length)


def evaluation_file(competition: Competition, hub: HubClient, eval_data_dir: Path) -> Path:
    """The competition's evaluation set in ``eval_data_dir``, downloaded if it names a repo for it.

    Raises SetupError if the file is not the pinned one, and HubError's kinds.
    """
    evaluation = competition.evaluation
    if evaluation.repo is not None:
        return hub.fetch_evaluation_set(evaluation, eval_data_dir)
    pinned = PinnedFile(eval_data_dir / "data.jsonl", evaluation.sha256, "competition's evaluation set")
    pinned.check("Restore it (git checkout eval_data), or give its folder with --eval_data_dir.")
    return pinned.path


def sealed_evaluation_file(competition: Competition, hub: HubClient, eval_data_dir: Path) -> Path | None:
    """The competition's sealed evaluation set in ``eval_data_dir``, downloaded; None where it names none.

    Raises as ``evaluation_file``.
    """
    if competition.sealed is None:
        return None
    return hub.fetch_evaluation_set(competition.sealed, eval_data_dir)


def open_answers(file: Path, competition: Competition, encoder: TokenizerEncoder) -> EvaluationAnswers:
    """The answers of the evaluation set in ``file``, to find in datasets."""
    return EvaluationAnswers(load_rows(file, competition.limits, encoder.special_tokens))


def open_public_sample(
    competition: Competition, hub: HubClient, eval_data_dir: Path, encoder: RowEncoder, key: bytes
) -> Sketch | None:
    """The sketch of the competition's public sample under a ledger's ``key``; None if it names none.

    Raises as ``evaluation_file``.
    """
    public = competition.overlap.public
    if public is None:
        return None
    file = hub.fetch_evaluation_set(public, eval_data_dir)
    sketcher = Sketcher(key)
    for line, row in load_numbered_rows(file, competition.limits, encoder.special_tokens):
        sketcher.add(line, row, 0)
    return sketcher.sketch()


def answers_here(
    competition: Competition, hub: HubClient, encoder: TokenizerEncoder
) -> EvaluationAnswers | None:
    """The evaluation set's answers; None if this repository's copy is not the competition's set."""
    try:
        file = evaluation_file(competition, hub, PROJECT_ROOT / "eval_data")
    except SetupError:
        return None
    return open_answers(file, competition, encoder)


def ledger_path(data_dir: Path) -> Path:
    return data_dir / "ledger.sqlite"
