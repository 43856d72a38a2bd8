"""Bare git repositories on disk: the commits, trees and blobs behind the hub double.

Everything here is real git, written by dulwich: ``git log`` in a repository's folder reads it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

MAIN = "main"
_FILE_MODE = 0o100644
_FOLDER_MODE = 0o040000
# Zlib at its fastest: a 64 MiB dataset is written in about a second instead of several.
_CONFIG = b"\tlooseCompression = 1\n"

_sizes: dict[ObjectID, int] = {}  # a blob's size never changes, and reading it means unpacking the blob


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file or folder in a tree. ``size`` is in bytes, 0 for a folder."""

    path: str
    oid: str
    size: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class LogEntry:
    oid: str
    title: str
    message: str
    author: str
    timestamp: int


class RevisionMissing(Exception):
    """The repository has neither a branch nor a commit of that name."""


class PathMissing(Exception):
    """The commit has no such file or folder."""


class HeadMoved(Exception):
    """The branch is not at the commit that the caller expects."""


@contextmanager
def _opened(path: Path) -> Iterator[Repo]:
    repo = Repo(str(path))
    try:
        yield repo
    finally:
        repo.close()


def create(path: Path, author: str) -> str:
    """Make a repository with one commit, which holds a ``.gitattributes`` as on the real hub."""
    repo = Repo.init_bare(str(path), mkdir=True, default_branch=MAIN.encode())
    repo.close()
    config = path / "config"
    config.write_bytes(config.read_bytes().replace(b"[core]\n", b"[core]\n" + _CONFIG, 1))
    return commit(
        path, MAIN, {".gitattributes": b"*.bin filter=lfs\n"}, author=author, message="initial commit"
    )


def _branch(name: str) -> Ref:
    return Ref(b"refs/heads/" + name.encode())


def branches(path: Path) -> dict[str, str]:
    """The commit of every branch, by name."""
    with _opened(path) as repo:
        return {
            name.decode(): repo.refs[Ref(b"refs/heads/" + name)].decode()
            for name in repo.refs.subkeys(Ref(b"refs/heads/"))
        }


def resolve(path: Path, revision: str) -> str:
    """The commit that a branch name or a full commit hash stands for. Raises RevisionMissing."""
    found = branches(path).get(revision)
    if found is not None:
        return found
    with _opened(path) as repo:
        oid = ObjectID(revision.encode())
        known = len(revision) == 40 and _is_hex(revision) and oid in repo.object_store
        if known and isinstance(repo.object_store[oid], Commit):
            return revision
    raise RevisionMissing(revision)


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


def create_branch(path: Path, name: str, start: str) -> None:
    """Point a new branch at the commit ``start``. Raises HeadMoved where the branch exists."""
    with _opened(path) as repo:
        if not repo.refs.add_if_new(_branch(name), ObjectID(start.encode())):
            raise HeadMoved(name)


def commit(
    path: Path,
    branch: str,
    changes: Mapping[str, bytes | None],
    *,
    author: str,
    message: str,
    parent: str | None = None,
) -> str:
    """Commit ``changes`` (content by path, None to delete) on top of a branch and return the new commit.

    Raises HeadMoved if ``parent`` is given and is not the branch's head, PathMissing for deleting a missing
    path.
    """
    with _opened(path) as repo:
        head = repo.refs.as_dict().get(_branch(branch))
        if parent is not None and (head is None or head.decode() != parent):
            raise HeadMoved(branch)
        tree = _changed(repo, _tree_of(repo, head) if head else Tree(), changes)
        made = _committed(repo, tree, [head] if head else [], author=author, message=message)
        if not repo.refs.set_if_equals(_branch(branch), head or ObjectID(b"0" * 40), made):
            raise HeadMoved(branch)
        return made.decode()


def _committed(repo: Repo, tree: ObjectID, parents: list[ObjectID], *, author: str, message: str) -> ObjectID:
    made = Commit()
    made.tree = tree
    made.parents = parents
    made.author = made.committer = f"{author} <{author}@users.noreply.localhost>".encode()
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    made.message = message.encode()
    repo.object_store.add_object(made)
    return made.id


def rewrite(path: Path, branch: str, *, author: str, forget: bool) -> str:
    """Force a branch to a new commit without parent or files, and return it. The old commits stay readable by
    hash; with ``forget`` they are deleted, as in a squash.
    """
    with _opened(path) as repo:
        old = [step.commit.id for step in repo.get_walker(include=[repo.refs[_branch(branch)]])]
        made = _committed(repo, _changed(repo, Tree(), {}), [], author=author, message="rewritten")
        repo.refs[_branch(branch)] = made
        for oid in old if forget else []:
            repo.object_store.delete_loose_object(oid)
        return made.decode()


def _tree_of(repo: Repo, commit_oid: ObjectID) -> Tree:
    found = repo.object_store[commit_oid]
    assert isinstance(found, Commit)
    return _tree(repo, found.tree)


def _tree(repo: Repo, oid: ObjectID) -> Tree:
    found = repo.object_store[oid]
    assert isinstance(found, Tree)
    return found


def _changed(repo: Repo, tree: Tree, changes: Mapping[str, bytes | None]) -> ObjectID:
    """Write ``tree`` with ``changes`` applied; empty folders disappear, since git has none."""
    nested: dict[bytes, dict[str, bytes | None]] = {}
    for path, content in changes.items():
        name, _, rest = path.partition("/")
        if rest:
            nested.setdefault(name.encode(), {})[rest] = content
        elif content is not None:
            blob = Blob.from_string(content)
            repo.object_store.add_object(blob)
            tree[name.encode()] = (_FILE_MODE, blob.id)
        elif name.encode() in tree:
            del tree[name.encode()]
        else:
            raise PathMissing(path)
    for name_bytes, inner in nested.items():
        is_folder = name_bytes in tree and tree[name_bytes][0] == _FOLDER_MODE
        oid = _changed(repo, _tree(repo, tree[name_bytes][1]) if is_folder else Tree(), inner)
        if len(_tree(repo, oid)):
            tree[name_bytes] = (_FOLDER_MODE, oid)
        elif name_bytes in tree:
            del tree[name_bytes]
    repo.object_store.add_object(tree)
    return tree.id


def entries(path: Path, commit_oid: str, folder: str = "", *, recursive: bool = False) -> list[TreeEntry]:
    """A commit's folder's content, by path. Raises PathMissing for a missing folder."""
    with _opened(path) as repo:
        tree = _tree_of(repo, ObjectID(commit_oid.encode()))
        for part in filter(None, folder.split("/")):
            if part.encode() not in tree or tree[part.encode()][0] != _FOLDER_MODE:
                raise PathMissing(folder)
            tree = _tree(repo, tree[part.encode()][1])
        prefix = folder.strip("/")
        return list(_walk(repo, tree, prefix + "/" if prefix else "", recursive))


def _walk(repo: Repo, tree: Tree, prefix: str, recursive: bool) -> Iterator[TreeEntry]:
    for item in tree.items():
        path = prefix + item.path.decode()
        if item.mode != _FOLDER_MODE:
            yield TreeEntry(path, item.sha.decode(), _size(repo, item.sha), True)
            continue
        yield TreeEntry(path, item.sha.decode(), 0, False)
        if recursive:
            yield from _walk(repo, _tree(repo, item.sha), path + "/", recursive)


def _size(repo: Repo, oid: ObjectID) -> int:
    if oid not in _sizes:
        _sizes[oid] = len(repo.object_store.get_raw(oid)[1])
    return _sizes[oid]


def entry(path: Path, commit_oid: str, name: str) -> TreeEntry | None:
    """One file or folder of a commit; None if missing."""
    folder, _, _ = name.rpartition("/")
    try:
        return next((item for item in entries(path, commit_oid, folder) if item.path == name), None)
    except PathMissing:
        return None


def content(path: Path, blob_oid: str) -> bytes:
    with _opened(path) as repo:
        return repo.object_store.get_raw(ObjectID(blob_oid.encode()))[1]


def log(path: Path, commit_oid: str) -> list[LogEntry]:
    """A commit and its ancestors, newest first."""
    with _opened(path) as repo:
        walker = repo.get_walker(include=[ObjectID(commit_oid.encode())])
        return [_log_entry(step.commit) for step in walker]


def _log_entry(made: Commit) -> LogEntry:
    title, _, message = made.message.decode().partition("\n\n")
    author = made.author.decode().partition(" <")[0]
    return LogEntry(made.id.decode(), title, message, author, made.commit_time)
