"""A file's bytes as an HTTP answer, whole or in part."""

import re

from starlette.requests import Request
from starlette.responses import Response

from flockoff.localnet.hub.access import Refusal

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_response(request: Request, content: bytes, headers: dict[str, str], *, size: int) -> Response:
    """``content`` (``size`` bytes; ignored for HEAD), or the one range of it that the request asks for."""
    headers = headers | {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    bounds = _range(request.headers.get("range"), size)
    if bounds is None:
        return Response(content, headers=headers | {"Content-Length": str(size)})
    start, stop = bounds
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(content[start:stop], 206, headers | {"Content-Length": str(stop - start)})


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of the requested range; None for the whole file. Raises Refusal (416)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        raise Refusal(416, f"The range is outside the {size} bytes of the file")
    return start, stop
