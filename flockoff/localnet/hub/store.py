"""The hub double's state: users, their tokens, repositories and their visibility.

``hub.json`` in the state folder holds the names and rights, ``repos/<kind>/<owner>/<name>.git`` the content.
"""

import json
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from flockoff.errors import LocalnetError
from flockoff.localnet.hub import git
from flockoff.records import is_repo_id

Role = Literal["read", "write"]
OrgRole = Literal["read", "contributor", "write", "admin"]
Kind = Literal["datasets", "models"]


@dataclass(frozen=True, slots=True)
class Account:
    """A token's user and role."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class RepoMeta:
    kind: Kind
    id: str  # owner/name
    private: bool
    gated: str  # "" for open access, else "auto" or "manual" as the hub names them
    created: float  # seconds since 1970
    creator: str = ""  # its creator, if the owner is an organisation

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]


class RepoExists(Exception):
    """A repository of that kind and id already exists."""


class HubStore:
    """The state folder. Every change is on disk when the method returns; safe to use from several threads."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._file = state_dir / "hub.json"
        self._lock = threading.RLock()
        self._tokens: dict[str, Account] = {}
        self._repos: dict[tuple[str, str], RepoMeta] = {}
        self._members: dict[str, dict[str, OrgRole]] = {}  # by organisation, by user
        state_dir.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._load()

    def _load(self) -> None:
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            self._tokens = {token: Account(**account) for token, account in state["tokens"].items()}
            metas = [RepoMeta(**repo) for repo in state["repos"]]
            self._members = {name: dict(members) for name, members in state.get("members", {}).items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LocalnetError(
                f"{self._file} is not the state of a hub: {error!r}.",
                remedy="Delete the folder to start afresh, or name another one.",
            ) from error
        self._repos = {(meta.kind, meta.id): meta for meta in metas}

    def _save(self) -> None:
        state = {
            "tokens": {token: asdict(account) for token, account in self._tokens.items()},
            "repos": [asdict(meta) for meta in self._repos.values()],
            "members": self._members,
        }
        scratch = self._file.with_suffix(".new")
        scratch.write_text(json.dumps(state, indent=1), encoding="utf-8")
        scratch.replace(self._file)

    def token(self, name: str, role: Role) -> str:
        """The token of this user and role, made on first use."""
        account = Account(name, role)
        with self._lock:
            for token, owner in self._tokens.items():
                if owner == account:
                    return token
            token = "hf_" + secrets.token_hex(17)
            self._tokens[token] = account
            self._save()
            return token

    def account(self, token: str) -> Account | None:
        with self._lock:
            return self._tokens.get(token)

    def add_member(self, organisation: str, user: str, role: OrgRole) -> None:
        with self._lock:
            self._members.setdefault(organisation, {})[user] = role
            self._save()

    def roles(self, user: str) -> dict[str, OrgRole]:
        """The user's role in each organisation that it is a member of."""
        with self._lock:
            return {name: members[user] for name, members in self._members.items() if user in members}

    def may_see(self, user: str, meta: RepoMeta) -> bool:
        """Whether ``user`` may see a private repository."""
        return meta.owner == user or meta.owner in self.roles(user)

    def may_create(self, user: str, owner: str) -> bool:
        return owner == user or self.roles(user).get(owner, "read") != "read"

    def may_change(self, user: str, meta: RepoMeta) -> bool:
        """A contributor may only change what it created."""
        role = self.roles(user).get(meta.owner)
        mine = role == "contributor" and meta.creator == user
        return meta.owner == user or role in ("write", "admin") or mine

    def repo(self, kind: str, repo_id: str) -> RepoMeta | None:
        with self._lock:
            return self._repos.get((kind, repo_id))

    def repos(self, kind: str) -> list[RepoMeta]:
        """All repositories of a kind, the newest first."""
        with self._lock:
            return [meta for meta in reversed(self._repos.values()) if meta.kind == kind]

    def path(self, meta: RepoMeta) -> Path:
        """The folder of the repository's git objects."""
        return self._dir / "repos" / meta.kind / f"{meta.id}.git"

    def create_repo(self, kind: Kind, repo_id: str, *, private: bool, creator: str = "") -> RepoMeta:
        """Raises RepoExists; ValueError for a malformed id."""
        if not is_repo_id(repo_id):
            raise ValueError(f"{repo_id} is not a valid repo id")
        meta = RepoMeta(kind, repo_id, private, "", time.time(), creator)
        with self._lock:
            if (kind, repo_id) in self._repos:
                raise RepoExists(repo_id)
            path = self.path(meta)
            shutil.rmtree(path, ignore_errors=True)  # left behind by a crash between here and _save
            path.parent.mkdir(parents=True, exist_ok=True)
            git.create(path, meta.owner)
            self._repos[kind, repo_id] = meta
            self._save()
        return meta

    def update_repo(self, meta: RepoMeta, *, private: bool, gated: str) -> None:
        with self._lock:
            self._repos[meta.kind, meta.id] = replace(meta, private=private, gated=gated)
            self._save()

    def delete_repo(self, meta: RepoMeta) -> None:
        with self._lock:
            del self._repos[meta.kind, meta.id]
            self._save()
            shutil.rmtree(self.path(meta))

    def commit(
        self,
        meta: RepoMeta,
        branch: str,
        changes: dict[str, bytes | None],
        *,
        author: str,
        message: str,
        parent: str | None,
    ) -> str:
        """``git.commit``, one at a time."""
        with self._lock:
            return git.commit(self.path(meta), branch, changes, author=author, message=message, parent=parent)

    def rewrite(self, meta: RepoMeta, branch: str, *, forget: bool) -> str:
        """``git.rewrite`` in the owner's name."""
        with self._lock:
            return git.rewrite(self.path(meta), branch, author=meta.owner, forget=forget)
