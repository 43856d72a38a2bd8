"""Who is asking, and what the hub double lets them see and do; its refusals, worded as the real hub's."""

import base64

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flockoff.localnet.hub import git
from flockoff.localnet.hub.store import Account, HubStore, RepoMeta


class Refusal(Exception):
    """An answer with an error status. ``code``: by which huggingface_hub chooses its exception."""

    def __init__(self, status: int, message: str, *, code: str = "", url: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.url = url  # of the existing repository


async def refusal_response(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    headers = {"X-Error-Message": refusal.message.encode("ascii", "replace").decode()}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    body = {"error": refusal.message} | ({"url": refusal.url} if refusal.url else {})
    return JSONResponse(body, refusal.status, headers)


def store_of(request: Request) -> HubStore:
    store = request.app.state.store
    assert isinstance(store, HubStore)
    return store


def caller(request: Request) -> Account | None:
    """The account of the request's token; None without one. Refuses an unknown token."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    token = _password(credentials) if scheme.lower() == "basic" else credentials.strip()
    account = store_of(request).account(token) if scheme.lower() in ("basic", "bearer") else None
    if account is None:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return account


def _password(credentials: str) -> str:
    """git sends the token as a user's password."""
    try:
        return base64.b64decode(credentials).decode().partition(":")[2]
    except ValueError:
        return ""


def signed_in(request: Request) -> Account:
    account = caller(request)
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    return account


def writer(request: Request) -> Account:
    account = signed_in(request)
    if account.role != "write":
        raise Refusal(403, "Forbidden: this token has the read role, a write token is needed here")
    return account


def visible_repo(request: Request) -> RepoMeta:
    """The repository that the path names. A private one exists only for its owner and its members."""
    parts = request.path_params
    account = caller(request)
    repo_id = f"{parts['owner']}/{parts['name']}".removesuffix(".git")  # which a clone's address may have
    store = store_of(request)
    return _seen(store, store.repo(parts.get("kind", "models"), repo_id), account)


def visible_repos(request: Request, kind: str) -> list[RepoMeta]:
    """All repositories of a kind that the caller may see, the newest first."""
    account, store = caller(request), store_of(request)
    return [meta for meta in store.repos(kind) if not meta.private or _is_member(store, account, meta)]


def _is_member(store: HubStore, account: Account | None, meta: RepoMeta) -> bool:
    """Whether the account is the repository's owner, or a member of the organisation that is."""
    return account is not None and store.may_see(account.name, meta)


def _seen(store: HubStore, meta: RepoMeta | None, account: Account | None) -> RepoMeta:
    if meta is None or (meta.private and not _is_member(store, account, meta)):
        raise Refusal(404, "Repository not found", code="RepoNotFound")
    return meta


def writable_repo(request: Request, kind: str | None = None, repo_id: str | None = None) -> RepoMeta:
    """The repository that the path (or ``kind`` and ``repo_id``) names, if the caller may change it."""
    account, store = signed_in(request), store_of(request)
    if kind is not None and repo_id is not None:
        meta = _seen(store, store.repo(kind, repo_id), account)
    else:
        meta = visible_repo(request)
    if not store.may_change(account.name, meta):
        raise Refusal(403, "Forbidden: you don't have the rights to change this repository")
    writer(request)
    return meta


def readable_repo(request: Request) -> RepoMeta:
    """As ``visible_repo``, and for a gated one the caller must be its owner, or a member of it."""
    meta = visible_repo(request)
    if meta.gated and not _is_member(store_of(request), caller(request), meta):
        raise Refusal(403, f"Access to {meta.id} is restricted", code="GatedRepo")
    return meta


def revision_of(request: Request, meta: RepoMeta) -> str:
    """The commit that the path's revision stands for."""
    revision = request.path_params.get("revision", git.MAIN)
    try:
        return git.resolve(store_of(request).path(meta), revision)
    except git.RevisionMissing as error:
        raise Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound") from error
