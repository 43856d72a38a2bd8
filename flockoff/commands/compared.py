"""A dataset beside all that is public of a subnet: whose rows are in it, by the validators' own rule.

Validators know more: what was committed before and is replaced by now, and who has won. So what is found here
is a warning; what is not found may still be somebody's.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from flockoff import __version__
from flockoff.competition import Competition
from flockoff.dataset import Claim, Holding, Sketch, Sketcher, check_dataset
from flockoff.epoch.entries import enter_without_memory
from flockoff.errors import FlockoffError, HubTransient, Interrupted, MinerFault, UsageError
from flockoff.hub import HubClient
from flockoff.ports import RowEncoder
from flockoff.records import Commitment, ModelId, SubnetSnapshot

SKETCH_KEY = b"flockoff check"  # for comparing on this machine only
_DOWNLOADS = 4  # at a time


@dataclass(frozen=True, slots=True)
class Compared:
    """The datasets compared with, in order of seniority, and how many could not be, by reason."""

    holdings: tuple[Holding, ...]
    committed: Mapping[str, Commitment]  # by hotkey
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Known:
    content_hash: str
    sketch: Sketch


def download_named(source: str, hub: HubClient, cache_dir: Path, rules: Competition) -> Path:
    """The dataset that ``source``, REPO@COMMIT, names. Raises UsageError, and what ``HubClient.download``
    does.
    """
    repo, separator, commit = source.partition("@")
    if not separator:
        raise UsageError(f"{source!r} names no commit.", remedy="Give REPO@COMMIT with 40 hex digits.")
    return hub.download(repo, commit, cache_dir / "compared", max_bytes=rules.limits.max_bytes)


def committed_on(snapshot: SubnetSnapshot, rules: Competition) -> list[Commitment]:
    """The commitments that will count in the next epoch, the earliest first."""
    found = enter_without_memory(snapshot, snapshot.block + 1, rules.id).counting
    return sorted(found, key=lambda each: (each.block, each.uid))


def known_datasets(
    wanted: Iterable[Commitment],
    hub: HubClient,
    encoder: RowEncoder,
    rules: Competition,
    folder: Path,
    max_bytes: int,
    stop: threading.Event,
    on_progress: Callable[[int, int], None],
) -> Compared:
    """Sketches of the datasets, of those downloaded before from ``folder``; nothing else is kept there.

    At most ``max_bytes`` are downloaded in all. One that cannot be read is left out, whosever fault it is.
    Raises Interrupted once ``stop`` is set.
    """
    listed = list(wanted)
    contents = list(dict.fromkeys(one.model_id for one in listed))  # two hotkeys may have committed the same
    budget = _Budget(max_bytes)
    holdings: list[Holding] = []
    committed: dict[str, Commitment] = {}
    left_out: dict[str, int] = {}

    def look(model_id: ModelId) -> _Known | str:
        try:
            return _known(model_id, hub, encoder, rules, folder, budget, stop)
        except MinerFault:
            return "not public or not valid"
        except HubTransient:
            return "not available from the hub now"
        except FlockoffError as error:
            return error.message

    known: dict[ModelId, _Known | str] = {}
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        for model_id, what in zip(contents, pool.map(look, contents), strict=True):
            known[model_id] = what
            on_progress(len(known), len(contents))
    for one in listed:
        found = known[one.model_id]
        if isinstance(found, str):
            left_out[found] = left_out.get(found, 0) + 1
            continue
        claim = Claim(found.content_hash, one.hotkey, one.block, order=one.uid)
        holdings.append(Holding(claim, found.sketch))
        committed[one.hotkey] = one
    return Compared(tuple(holdings), committed, left_out)


class _Budget:
    """Bytes that may still be downloaded. Threads share it."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def spend(self, most: int) -> bool:
        with self._lock:
            if self._left < most:
                return False
            self._left -= most
            return True

    def give_back(self, unused: int) -> None:
        with self._lock:
            self._left += unused


def _known(
    model_id: ModelId,
    hub: HubClient,
    encoder: RowEncoder,
    rules: Competition,
    folder: Path,
    budget: _Budget,
    stop: threading.Event,
) -> _Known | str:
    if stop.is_set():
        raise Interrupted
    made_by = f"{__version__} {model_id} {rules.base_model.repo} {rules.base_model.revision}"
    file = folder / f"{hashlib.sha256(made_by.encode()).hexdigest()}.sketch"
    found = _stored(file)
    if found is not None:
        return found
    most = rules.limits.max_bytes
    if not budget.spend(most):
        return "not downloaded any more: --max_download_mb"
    size = 0
    try:
        data = hub.download(model_id.namespace, model_id.commit, folder, max_bytes=most)
        size = data.stat().st_size
    finally:
        budget.give_back(most - size)
    sketcher = Sketcher(SKETCH_KEY)
    try:
        report = check_dataset(data, rules.limits, encoder, [sketcher.add])
    finally:
        data.unlink()
    if report.content_hash is None:
        return "not public or not valid"
    found = _Known(report.content_hash, sketcher.sketch())
    _store(file, found)
    return found


def _stored(file: Path) -> _Known | None:
    try:
        head, table = file.read_bytes().split(b"\n", 1)
        kept = json.loads(head)
        return _Known(kept["content"], Sketch.from_bytes(kept["assistant_tokens"], table))
    except (OSError, ValueError, KeyError, TypeError):  # missing, truncated, or of another version
        return None


def _store(file: Path, known: _Known) -> None:
    head = json.dumps({"content": known.content_hash, "assistant_tokens": known.sketch.assistant_tokens})
    part = file.with_suffix(f".{threading.get_ident()}.part")
    part.write_bytes(head.encode() + b"\n" + known.sketch.to_bytes())
    part.replace(file)
