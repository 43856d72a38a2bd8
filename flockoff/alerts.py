"""Alerts, sent by Apprise to the given addresses.

An address (discord://, tgram://, mailto://, json:// …) is a secret: messages show only its kind. Sending is
slow and may fail; programs that must not wait use ``Alerts``.
"""

import json
import logging
import queue
import re
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flockoff.errors import FaultKind, FlockoffError, UsageError
from flockoff.text import duration, printable, without

log = logging.getLogger(__name__)

LOW_DISK_BYTES = 2 * 10**9
_TEXT_CHARACTERS = 1500  # Discord takes 2,000
_TRIES = 3
_PAUSE_SECONDS = 20.0
_CLOSE_SECONDS = 5.0  # a validator that is asked to stop ends within ten
_WAITING = 64
_REMEMBERED = 500
_LASTING_TRIES = 8  # consecutive failures of the chain, some minutes, before an alert
_LEDGER_FAULTS = frozenset({FaultKind.LEDGER, FaultKind.LEDGER_UNAVAILABLE})
_CHAIN_FAULTS = frozenset(
    {
        FaultKind.CHAIN,
        FaultKind.COOLDOWN,
        FaultKind.CHAIN_TRANSIENT,
        FaultKind.CHAIN_PRUNED,
        FaultKind.CHAIN_FATAL,
    }
)


@dataclass(frozen=True, slots=True)
class Notice:
    """``well``: a recovery, or good news."""

    title: str
    text: str
    well: bool = False


def kind_of(url: str) -> str:
    """The part of an address that may be shown."""
    scheme = url.partition("://")[0]
    return printable(scheme, 20) if "://" in url and scheme.isalnum() else "an address without a kind"


def check_alerts(urls: Sequence[str]) -> None:
    """Raise UsageError for an address that Apprise cannot use, without showing it."""
    for url in urls:
        if _service(url) is None:
            raise UsageError(
                f"--alert: Apprise does not understand one of the addresses ({kind_of(url)}).",
                remedy="Its forms: https://github.com/caronc/apprise/wiki, such as discord://ID/TOKEN.",
            )


def deliver(urls: Sequence[str], notice: Notice) -> list[str]:
    """Send it to every address; returns those that failed. Takes seconds, bounded."""
    return [url for url in urls if not _sent(url, notice)]


def _service(url: str) -> Any:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it would log addresses
    return apprise.Apprise.instantiate(url)


def _sent(url: str, notice: Notice) -> bool:
    import apprise

    try:
        box = apprise.Apprise()
        return box.add(_service(url)) and bool(
            box.notify(
                body=_lines(notice.text),
                title=printable(notice.title, 200),
                notify_type="success" if notice.well else "failure",
                body_format="text",  # escaped for services that take HTML, such as e-mail and Telegram
            )
        )
    except Exception as error:  # noqa: BLE001 - a hundred services' code, none of which may end this program
        log.debug("Apprise failed with %s.", type(error).__name__)
        return False


def _lines(text: str) -> str:
    """Untrusted text, made printable, without mentions and without links that show as something else."""
    lines = "\n".join(printable(line, _TEXT_CHARACTERS) for line in text.splitlines())
    plain = re.sub(r"@(?=everyone|here|channel)", "@ ", lines).replace("](", "] (")
    return plain[:_TEXT_CHARACTERS]


# --- beside a program that must not wait -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Signal:
    """A problem (``notice``), or its end (None)."""

    key: str
    notice: Notice | None


class Alerts:
    """Sends from its own thread: each problem once, and its recovery once.

    What was sent is stored in ``memory``, across restarts. ``raise_`` and ``clear`` never block and never
    fail; an alert dropped or undelivered is one log line.
    """

    def __init__(
        self,
        urls: Sequence[str],
        memory: Path,
        *,
        name: str,
        pause: float = _PAUSE_SECONDS,
        end: float = _CLOSE_SECONDS,
    ) -> None:
        """``name``: prefix of every title. ``pause``: seconds between tries; ``end``: for all at ``close``.

        Raises UsageError as ``check_alerts``.
        """
        check_alerts(urls)  # here, since it takes seconds to import Apprise
        self._urls = tuple(urls)
        self._memory = memory
        self._name = name
        self._pause = pause
        self._end = end
        self._active = _remembered(memory)
        self._queue: queue.Queue[_Signal | None] = queue.Queue(_WAITING)
        self._full = False
        self._failing: frozenset[str] = frozenset()  # addresses that the last alert did not reach
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def raise_(self, key: str, title: str, text: str) -> None:
        """``key``: the problem; while it lasts, it is not sent again."""
        self._put(_Signal(key, Notice(title, text)))

    def clear(self, key: str) -> None:
        self._put(_Signal(key, None))

    def close(self) -> None:
        """Send pending alerts, without pauses and for some seconds at most."""
        self._closing.set()
        with suppress(queue.Full):
            self._queue.put(None, timeout=1.0)
        self._thread.join(self._end)

    def _put(self, signal: _Signal) -> None:
        try:
            self._queue.put_nowait(signal)
            self._full = False
        except queue.Full:
            if not self._full:
                log.warning("Alerts are not getting through: %d are waiting, more are left out.", _WAITING)
            self._full = True

    def _run(self) -> None:
        while (signal := self._queue.get()) is not None:
            since = self._active.get(signal.key)
            if signal.notice is not None and since is None:
                if self._send(signal.notice):
                    self._active[signal.key] = time.time()
                    self._save()
            elif signal.notice is None and since is not None:
                told = f"{signal.key}: well again after {duration(time.time() - since)}"
                if self._send(Notice(told, f"{told}.", well=True)):
                    del self._active[signal.key]
                    self._save()

    def _send(self, notice: Notice) -> bool:
        """Whether it reached every address, or at least one after all tries."""
        named = Notice(f"{self._name}: {notice.title}", notice.text, notice.well)
        left = list(self._urls)
        for tries in range(_TRIES):
            if tries:
                self._closing.wait(self._pause)
            left = deliver(left, named)
            if not left:
                break
        if fresh := frozenset(left) - self._failing:
            kinds = ", ".join(sorted({kind_of(url) for url in fresh}))
            log.warning(
                "An alert did not arrive by %s: %s. This is not said again until one does.",
                kinds,
                notice.title,
            )
        self._failing = frozenset(left)
        return len(left) < len(self._urls)

    def _save(self) -> None:
        kept = dict(sorted(self._active.items(), key=lambda item: -item[1])[:_REMEMBERED])
        try:
            write_memory(self._memory, {"active": kept})
        except OSError as error:
            log.warning("Which alerts were sent cannot be remembered in %s: %s", self._memory, error.strerror)


def write_memory(path: Path, content: Mapping[str, object]) -> None:
    """Write it as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)


def read_memory(path: Path) -> dict[str, Any]:
    """What ``write_memory`` wrote; empty if missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remembered(path: Path) -> dict[str, float]:
    active = read_memory(path).get("active")
    if not isinstance(active, dict):
        return {}
    return {key: float(since) for key, since in active.items() if isinstance(since, int | float)}


# --- a validator's --------------------------------------------------------------------------------------

WEIGHTS, PERMIT, LEDGER = "weights", "permit", "ledger"
CHAIN, DISK, WORKER, DIFFER, ENDED = "chain", "disk", "worker", "weights on chain", "validator"
_TITLES = {
    WEIGHTS: "WEIGHTS NOT SET",
    PERMIT: "no validator permit",
    LEDGER: "the ledger cannot be used",
    CHAIN: "the chain does not answer",
    DISK: "the disk is full",
    WORKER: "a dataset could not be evaluated",
    DIFFER: "the weights on chain are others than were sent",
    ENDED: "the validator has ended",
}
_OF_AN_EPOCH = (DISK, WORKER, DIFFER)  # over once an epoch has passed without them


@contextmanager
def alerting(
    urls: Sequence[str],
    directory: Path,
    *,
    name: str,
    secrets: Collection[str] = frozenset(),
    pause: float = _PAUSE_SECONDS,
    end: float = _CLOSE_SECONDS,
) -> Iterator[None]:
    """Send a validator's alerts while this lasts, from its log events; a no-op without ``urls``.

    ``directory``: its data folder, whose disk is watched, and where sent alerts are stored. An error that
    ends the validator is sent, too. Raises UsageError for an unusable address.
    """
    if not urls:
        yield
        return
    alerts = Alerts(urls, directory / "alerts.json", name=name, pause=pause, end=end)
    listener = _Listener(alerts, directory, frozenset(secrets))
    package = logging.getLogger("flockoff")
    package.addHandler(listener)
    try:
        yield
    except FlockoffError as error:
        alerts.raise_(ENDED, _TITLES[ENDED], listener.shown(str(error)))
        raise
    except Exception as error:
        alerts.raise_(ENDED, _TITLES[ENDED], f"By a bug ({type(error).__name__}): its log says where.")
        raise
    finally:
        package.removeHandler(listener)
        alerts.close()


class _Listener(logging.Handler):
    """Watches log events; in the logging thread it only queues a line."""

    def __init__(self, alerts: Alerts, directory: Path, secrets: frozenset[str]) -> None:
        super().__init__(logging.INFO)
        self._alerts = alerts
        self._directory = directory
        self._secrets = secrets
        self._seen: set[str] = set()  # in the current epoch, of those in _OF_AN_EPOCH

    def shown(self, text: str) -> str:
        return without(text, self._secrets)

    def emit(self, record: logging.LogRecord) -> None:
        name, fields = getattr(record, "event", None), getattr(record, "fields", {})
        if name == "epoch_begun":
            self._alerts.clear(ENDED)
            self._look_at_disk()
        elif name == "epoch_closed":
            for key in (LEDGER, CHAIN, *(key for key in _OF_AN_EPOCH if key not in self._seen)):
                self._alerts.clear(key)
            self._seen.clear()
        elif name == "weights_set":
            for key in (WEIGHTS, PERMIT, CHAIN):
                self._alerts.clear(key)
        else:
            matter = _matter(name, fields)
            if matter is not None:
                self._raise(matter, record.getMessage())

    def _raise(self, key: str, text: str) -> None:
        if key in _OF_AN_EPOCH:
            self._seen.add(key)
        self._alerts.raise_(key, _TITLES[key], self.shown(text))

    def _look_at_disk(self) -> None:
        try:
            free = shutil.disk_usage(self._directory).free
        except OSError:
            return
        if free < LOW_DISK_BYTES:
            self._raise(DISK, f"{free / 1e9:.1f} GB are free where {self._directory} is.")


def _matter(name: object, fields: Mapping[str, object]) -> str | None:
    """The problem that a log event indicates."""
    if name == "weights_not_set":
        return WEIGHTS if "epoch" in fields else None  # else it is tried again
    if name == "fault":
        kind, tries = fields.get("fault"), fields.get("tries")
        if kind in _LEDGER_FAULTS:
            return LEDGER
        lasting = kind in _CHAIN_FAULTS and isinstance(tries, int) and tries >= _LASTING_TRIES
        return CHAIN if lasting else None
    if name == "verdict":
        failed = fields.get("standing") == "not_evaluated" and fields.get("reason") == FaultKind.EVALUATION
        return WORKER if failed else None
    return {"no_permit": PERMIT, "weights_differ": DIFFER, "disk": DISK}.get(str(name))
