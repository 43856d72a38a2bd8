"""The hub double's faults by name, for tests and for ``flockoff localnet fault hub.NAME key=value ...``."""

import json
from collections.abc import Callable, Mapping

from flockoff.errors import LocalnetError
from flockoff.localnet.hub import git
from flockoff.localnet.hub.script import (
    ANY,
    Behaviour,
    FaultScript,
    altered,
    answer,
    cut,
    drip,
    redirected,
    silence,
)
from flockoff.localnet.hub.store import HubStore, RepoMeta
from flockoff.localnet.injection import inject

# What each fault does and its arguments. ``times``: for how many requests, "inf" for all until "heal";
# ``path``: a regular expression searched in request paths; ``repo``: owner/name of a dataset repo.
FAULTS: Mapping[str, str] = {
    "rate-limit": "answer 429 with Retry-After [seconds=30] [times=1] [path=]",
    "error": "answer with a server error [status=500] [times=1] [path=]",
    "drip": "send answers a few bytes at a time [piece=10] [seconds=0.05] [times=1] [path=]",
    "cut": "carry requests out, but break off in the answer's body [after=0] [times=1] [path=]",
    "corrupt": "send downloads with one bit flipped [times=1]",
    "silence": "answer only after a while [seconds=60] [times=1] [path=]",
    "refuse": "refuse connections for a while [seconds=30]",
    "redirect": "redirect to the same path elsewhere, or round in a circle [to=] [times=1] [path=/resolve/]",
    "huge": "announce a size that is not true [size=50000000000] [lfs=no] [times=inf]",
    "content-gone": "describe data files but have no content for them [times=inf]",
    "delete-repo": "delete a repo: repo=",
    "make-private": "make a repo private: repo=",
    "move-branch": "force main to a commit without files, deleting the old ones or not: repo= [forget=no]",
    "heal": "end all faults; what happened to repos stays",
}

_DOWNLOADS = "/resolve/"


class HubSwitches:
    """Each method starts one fault and returns a line that describes it. Thread-safe."""

    def __init__(
        self,
        script: FaultScript,
        store: HubStore,
        *,
        refuse: Callable[[float], None],
        accept: Callable[[], None],
    ) -> None:
        self._script = script
        self._store = store
        self._refuse = refuse
        self._accept = accept

    def inject(self, name: str, arguments: Mapping[str, str]) -> str:
        """Start the fault ``name`` of FAULTS. Raises UsageError, LocalnetError."""
        return inject("hub", FAULTS, self, name, arguments)

    def _on(self, behaviour: Behaviour, what: str, times: float, path: str, method: str = ANY) -> str:
        self._script.add(method, path, behaviour, times=times)
        meant = "request" if times == 1 else f"{times:g} requests" if times < float("inf") else "requests"
        return f"hub: {what} for the next {meant}" + (f" to {path}" if path else "")

    def rate_limit(self, *, seconds: int = 30, times: float = 1, path: str = "") -> str:
        busy = answer(429, headers={"Retry-After": str(seconds)})
        return self._on(busy, f"429 with Retry-After {seconds}", times, path)

    def error(self, *, status: int = 500, times: float = 1, path: str = "") -> str:
        return self._on(answer(status), f"status {status}", times, path)

    def drip(self, *, piece: int = 10, seconds: float = 0.05, times: float = 1, path: str = "") -> str:
        return self._on(drip(piece, seconds), f"{piece} bytes every {seconds:g} s", times, path)

    def cut(self, *, after: int = 0, times: float = 1, path: str = "") -> str:
        return self._on(cut(after), f"answers end after {after} bytes", times, path)

    def corrupt(self, *, times: float = 1) -> str:
        return self._on(altered(_flipped), "one bit flipped", times, _DOWNLOADS, "GET")

    def silence(self, *, seconds: float = 60, times: float = 1, path: str = "") -> str:
        return self._on(silence(seconds), f"{seconds:g} s of silence", times, path)

    def refuse(self, *, seconds: float = 30) -> str:
        self._refuse(seconds)
        return f"hub: refuses connections for {seconds:g} s"

    def redirect(self, *, to: str = "", times: float = 1, path: str = _DOWNLOADS) -> str:
        return self._on(redirected(to.rstrip("/")), f"redirected to {to or 'itself'}", times, path)

    def huge(self, *, size: int = 50_000_000_000, lfs: bool = False, times: float = float("inf")) -> str:
        def announce(body: bytes) -> bytes:
            return _with_size(body, size, lfs)

        return self._on(altered(announce), f"{size} bytes announced", times, "/paths-info/", "POST")

    def content_gone(self, *, times: float = float("inf")) -> str:
        return self._on(answer(404), "no content", times, _DOWNLOADS, "GET")

    def delete_repo(self, *, repo: str) -> str:
        self._store.delete_repo(self._dataset(repo))
        return f"hub: {repo} is deleted"

    def make_private(self, *, repo: str) -> str:
        meta = self._dataset(repo)
        self._store.update_repo(meta, private=True, gated=meta.gated)
        return f"hub: {repo} is private"

    def move_branch(self, *, repo: str, forget: bool = False) -> str:
        commit = self._store.rewrite(self._dataset(repo), git.MAIN, forget=forget)
        return f"hub: {git.MAIN} of {repo} is forced to {commit}"

    def heal(self) -> str:
        self._script.clear()
        self._accept()
        return "hub: no faults"

    def _dataset(self, repo: str) -> RepoMeta:
        meta = self._store.repo("datasets", repo)
        if meta is None:
            raise LocalnetError(f"The local hub has no dataset repo {repo}.")
        return meta


def _flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:] if body else body


def _with_size(body: bytes, size: int, lfs: bool) -> bytes:
    """A paths-info answer with other file sizes; an answer of another shape, unchanged."""
    items = json.loads(body)
    for item in items if isinstance(items, list) else []:
        item["size"] = size
        if lfs:
            item["lfs"] = {"oid": "0" * 64, "size": size, "pointerSize": 134}
    return json.dumps(items).encode()
