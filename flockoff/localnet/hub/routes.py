"""The hub double's API: the requests that huggingface_hub makes, answered in the real hub's shapes."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qs, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from flockoff.localnet.hub import git
from flockoff.localnet.hub.access import (
    Refusal,
    readable_repo,
    refusal_response,
    revision_of,
    signed_in,
    store_of,
    visible_repo,
    visible_repos,
    writable_repo,
    writer,
)
from flockoff.localnet.hub.clone import advertise_refs, upload_pack
from flockoff.localnet.hub.commits import parse_commit
from flockoff.localnet.hub.files import file_response
from flockoff.localnet.hub.store import HubStore, Kind, RepoExists, RepoMeta

MAX_BODY_BYTES = 256 * 1024 * 1024
KINDS = ("datasets", "models")
PAGE = """<!doctype html><title>FLock OFF local hub</title><h1>FLock OFF local hub</h1>
<p>A double of the Hugging Face Hub for development and tests. It listens on this machine only, keeps
everything in one folder, and nothing here reaches huggingface.co. Point <code>HF_ENDPOINT</code> at
this address to use it.</p>"""

Handler = Callable[[Request, bytes], Response]


def build_app(store: HubStore, page_size: int) -> Starlette:
    """The ASGI application. ``page_size``: entries on a page of a listing."""
    repo, rev = "/api/{kind}/{owner}/{name}", "{revision}"
    routes = [
        Route("/", lambda _: HTMLResponse(PAGE)),
        Route("/api/agent-harnesses", lambda _: JSONResponse({})),
        Route("/api/validate-yaml", lambda _: JSONResponse({"errors": [], "warnings": []}), methods=["POST"]),
        Route("/api/whoami-v2", whoami),
        Route("/api/repos/create", with_body(create_repo), methods=["POST"]),
        Route("/api/repos/delete", with_body(delete_repo), methods=["DELETE"]),
        Route(f"{repo}/settings", with_body(change_settings), methods=["PUT"]),
        Route(f"{repo}/preupload/{rev}", with_body(preupload), methods=["POST"]),
        Route(f"{repo}/commit/{rev}", with_body(commit), methods=["POST"]),
        Route(f"{repo}/branch/{{branch}}", with_body(create_branch), methods=["POST"]),
        Route(f"{repo}/revision/{rev}", repo_info),
        Route(f"{repo}/paths-info/{rev}", with_body(paths_info), methods=["POST"]),
        Route(f"{repo}/tree/{rev}", tree),
        Route(f"{repo}/tree/{rev}/{{path:path}}", tree),
        Route(f"{repo}/commits/{rev}", commits),
        Route(f"{repo}/refs", refs),
        Route(repo, repo_info),
        Route("/api/{kind}", list_repos),
        *(
            route
            for page in ("/{kind}/{owner}/{name}", "/{owner}/{name}")
            for route in (
                Route(f"{page}/resolve/{rev}/{{path:path}}", resolve),
                Route(f"{page}/info/refs", advertise_refs),
                Route(f"{page}/git-upload-pack", with_body(upload_pack), methods=["POST"]),
            )
        ),
    ]
    app = Starlette(routes=routes, exception_handlers={Refusal: refusal_response})
    app.state.store = store
    app.state.page_size = page_size
    return app


def with_body(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that reads the whole request body, within bounds, and answers from a worker thread."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Refusal(413, f"The request is larger than {MAX_BODY_BYTES} bytes")
        return await run_in_threadpool(handler, request, bytes(body))

    return endpoint


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise Refusal(400, "The request is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400, "The request is not a JSON object")
    return value


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _repo_url(request: Request, kind: str, repo_id: str) -> str:
    return f"{request.base_url}{'' if kind == 'models' else kind + '/'}{repo_id}"


def whoami(request: Request) -> Response:
    account = signed_in(request)
    token = {"displayName": f"{account.name}, {account.role}", "role": account.role}
    return JSONResponse(
        {
            "type": "user",
            "id": account.name,
            "name": account.name,
            "fullname": account.name,
            "email": None,
            "isPro": False,
            "orgs": [
                {"type": "org", "name": name, "fullname": name, "roleInOrg": role}
                for name, role in store_of(request).roles(account.name).items()
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _kind_and_id(payload: dict[str, Any], default_owner: str) -> tuple[Kind, str]:
    kind = f"{payload.get('type') or 'model'}s"
    if kind not in KINDS:
        raise Refusal(400, f"This hub has datasets and models, no {kind}")
    return cast(Kind, kind), f"{payload.get('organization') or default_owner}/{payload.get('name')}"


def _is_private(payload: dict[str, Any], default: bool) -> bool:
    if "visibility" in payload:
        return bool(payload["visibility"] == "private")
    return bool(payload.get("private", default))


def create_repo(request: Request, body: bytes) -> Response:
    account = writer(request)
    payload = _json(body)
    kind, repo_id = _kind_and_id(payload, account.name)
    if not store_of(request).may_create(account.name, repo_id.partition("/")[0]):
        raise Refusal(403, f"You don't have the rights to create a {kind[:-1]} under this namespace")
    url = _repo_url(request, kind, repo_id)
    try:
        private = _is_private(payload, False)
        store_of(request).create_repo(kind, repo_id, private=private, creator=account.name)
    except RepoExists as error:
        raise Refusal(409, f"You already created this {kind[:-1]} repo", url=url) from error
    except ValueError as error:
        raise Refusal(400, str(error)) from error
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


def delete_repo(request: Request, body: bytes) -> Response:
    kind, repo_id = _kind_and_id(_json(body), signed_in(request).name)
    store_of(request).delete_repo(writable_repo(request, kind, repo_id))
    return JSONResponse({})


def change_settings(request: Request, body: bytes) -> Response:
    meta = writable_repo(request)
    payload = _json(body)
    private = _is_private(payload, meta.private)
    gated = payload.get("gated", meta.gated) or ""
    store_of(request).update_repo(meta, private=private, gated=gated)
    return JSONResponse({"private": private, "gated": gated or False})


def create_branch(request: Request, body: bytes) -> Response:
    meta = writable_repo(request)
    path = store_of(request).path(meta)
    start = _json(body).get("startingPoint", git.MAIN)
    try:
        git.create_branch(path, request.path_params["branch"], git.resolve(path, start))
    except git.RevisionMissing as error:
        raise Refusal(404, f"Invalid rev id: {start}", code="RevisionNotFound") from error
    except git.HeadMoved as error:
        raise Refusal(409, "Reference already exists") from error
    return JSONResponse({})


def preupload(request: Request, body: bytes) -> Response:
    """Upload modes are always regular: with hf_xet installed, the client sends LFS files to Xet only."""
    meta = writable_repo(request)
    head = revision_of(request, meta)
    answers = []
    for file in _json(body).get("files", []):
        answer = {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
        known = git.entry(store_of(request).path(meta), head, file["path"])
        if known is not None and known.is_file:
            answer["oid"] = known.oid
        answers.append(answer)
    return JSONResponse({"files": answers})


def commit(request: Request, body: bytes) -> Response:
    meta = writable_repo(request)
    if request.query_params.get("create_pr"):
        raise Refusal(400, "This hub has no pull requests")
    revision_of(request, meta)
    wanted = parse_commit(body)
    try:
        oid = store_of(request).commit(
            meta,
            request.path_params["revision"],
            wanted.changes,
            author=writer(request).name,
            message=wanted.message,
            parent=wanted.parent,
        )
    except git.HeadMoved as error:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.") from error
    except git.PathMissing as error:
        raise Refusal(404, "A file with this name doesn't exist", code="EntryNotFound") from error
    url = f"{_repo_url(request, meta.kind, meta.id)}/commit/{oid}"
    return JSONResponse({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


def list_repos(request: Request) -> Response:
    """The repositories of a kind that the caller may see, found by ``author`` and a part of their id."""
    kind, asked = request.path_params["kind"], request.query_params
    if kind not in KINDS:
        raise Refusal(404, "Not found")
    found = [
        {"_id": meta.id, "id": meta.id, "author": meta.owner, "private": meta.private}
        for meta in visible_repos(request, kind)
        if asked.get("author", meta.owner) == meta.owner and asked.get("search", "") in meta.id
    ]
    return _page(request, found)


def repo_info(request: Request) -> Response:
    meta = visible_repo(request)
    oid = revision_of(request, meta)
    wanted = [name for key in ("expand", "expand[]") for name in request.query_params.getlist(key)]
    full = _full_info(request, meta, oid)
    return JSONResponse({"_id": meta.id, "id": meta.id} | {key: full[key] for key in wanted or full})


def _full_info(request: Request, meta: RepoMeta, oid: str) -> dict[str, Any]:
    path = store_of(request).path(meta)
    blobs = request.query_params.get("blobs", "").lower() in ("1", "true")
    files = [item for item in git.entries(path, oid, recursive=True) if item.is_file]
    return {
        "author": meta.owner,
        "sha": oid,
        "createdAt": _date(meta.created),
        "lastModified": _date(git.log(path, oid)[0].timestamp),
        "private": meta.private,
        "gated": meta.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [
            {"rfilename": item.path} | ({"size": item.size, "blobId": item.oid} if blobs else {})
            for item in files
        ],
    }


def _path_info(item: git.TreeEntry) -> dict[str, Any]:
    kind = "file" if item.is_file else "directory"
    return {"type": kind, "path": item.path, "oid": item.oid, "size": item.size}


def paths_info(request: Request, body: bytes) -> Response:
    meta = visible_repo(request)
    oid = revision_of(request, meta)
    paths = parse_qs(body.decode("utf-8", "replace")).get("paths", [])
    found = [git.entry(store_of(request).path(meta), oid, path) for path in paths]
    return JSONResponse([_path_info(item) for item in found if item is not None])


def _page(request: Request, items: list[dict[str, Any]]) -> Response:
    """The page of ``items`` that the query's cursor names, with a Link to the next one."""
    size = request.app.state.page_size
    cursor = request.query_params.get("cursor", "0")
    start = int(cursor) if cursor.isdecimal() else 0
    headers = {}
    if start + size < len(items):
        following = request.url.include_query_params(cursor=start + size)
        headers["Link"] = f'<{following}>; rel="next"'
    return JSONResponse(items[start : start + size], headers=headers)


def tree(request: Request) -> Response:
    meta = visible_repo(request)
    oid = revision_of(request, meta)
    recursive = request.query_params.get("recursive", "").lower() in ("1", "true")
    folder = request.path_params.get("path", "")
    try:
        items = git.entries(store_of(request).path(meta), oid, folder, recursive=recursive)
    except git.PathMissing as error:
        raise Refusal(404, f"{folder} does not exist on this revision", code="EntryNotFound") from error
    return _page(request, [_path_info(item) for item in items])


def commits(request: Request) -> Response:
    meta = visible_repo(request)
    log = git.log(store_of(request).path(meta), revision_of(request, meta))
    shapes = [
        {
            "id": made.oid,
            "title": made.title,
            "message": made.message,
            "date": _date(made.timestamp),
            "authors": [{"user": made.author}],
        }
        for made in log
    ]
    return _page(request, shapes)


def refs(request: Request) -> Response:
    branches = git.branches(store_of(request).path(visible_repo(request)))
    shapes = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in branches.items()
    ]
    return JSONResponse({"branches": shapes, "converts": [], "tags": [], "pullRequests": []})


def resolve(request: Request) -> Response:
    """A file's bytes at a revision, for GET and HEAD."""
    meta = readable_repo(request)
    path = store_of(request).path(meta)
    oid = revision_of(request, meta)
    name = request.path_params["path"]
    found = git.entry(path, oid, name)
    if found is None or not found.is_file:
        raise Refusal(404, "Entry not found", code="EntryNotFound")
    headers = {
        "X-Repo-Commit": oid,
        "ETag": f'"{found.oid}"',
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name.rpartition('/')[2])}",
    }
    if request.method == "HEAD":
        return file_response(request, b"", headers, size=found.size)
    return file_response(request, git.content(path, found.oid), headers, size=found.size)
