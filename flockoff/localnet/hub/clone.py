"""``git clone`` and ``git fetch`` of the hub double's repositories, over git's smart HTTP protocol."""

import io

from dulwich.protocol import ReceivableProtocol
from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend, UploadPackHandler
from starlette.requests import Request
from starlette.responses import Response

from flockoff.localnet.hub.access import Refusal, readable_repo, store_of

_SERVICE = "git-upload-pack"
_REPO = "/"  # the answer's repository


def advertise_refs(request: Request) -> Response:
    """The branches, which a client asks for first. Pushing goes through the hub's commit API only."""
    if request.query_params.get("service") != _SERVICE:
        raise Refusal(403, "This hub takes no pushes")
    return _answer(request, b"", advertise=True)


def upload_pack(request: Request, body: bytes) -> Response:
    """The objects that the client asks for in ``body``, in a pack."""
    return _answer(request, body, advertise=False)


def _answer(request: Request, body: bytes, *, advertise: bool) -> Response:
    try:
        meta = readable_repo(request)
    except Refusal as refusal:
        if "authorization" in request.headers:
            raise
        # git sends credentials only on request.
        return Response(refusal.message, 401, {"WWW-Authenticate": 'Basic realm="FLock OFF local hub"'})
    out = io.BytesIO()
    protocol = ReceivableProtocol(io.BytesIO(body).read, out.write)
    if advertise:
        protocol.write_pkt_line(f"# service={_SERVICE}\n".encode())
        protocol.write_pkt_line(None)
    with Repo(str(store_of(request).path(meta))) as repo:
        known: dict[str, BackendRepo] = {_REPO: repo}
        server = DictBackend(known)
        UploadPackHandler(server, [_REPO], protocol, stateless_rpc=True, advertise_refs=advertise).handle()
    kind = "advertisement" if advertise else "result"
    return Response(out.getvalue(), media_type=f"application/x-{_SERVICE}-{kind}")
