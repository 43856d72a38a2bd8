"""The hub's commit request: one JSON object a line, a header and then the operations."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from flockoff.localnet.hub.access import Refusal


@dataclass(frozen=True, slots=True)
class CommitRequest:
    message: str
    parent: str | None
    changes: dict[str, bytes | None]  # content by path, None to delete the file or folder


def parse_commit(body: bytes) -> CommitRequest:
    """Read the NDJSON of a commit. Raises Refusal for anything but a header, regular files and deletions."""
    header: dict[str, Any] = {}
    changes: dict[str, bytes | None] = {}
    try:
        for line in filter(None, body.split(b"\n")):
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                changes[checked_path(value["path"])] = _file_content(value)
            elif key in ("deletedFile", "deletedFolder"):
                changes[checked_path(value["path"].rstrip("/"))] = None
            else:
                raise Refusal(400, f"This hub takes no {key} operations: upload modes are always regular")
        message = "\n\n".join(filter(None, [header["summary"], header.get("description")]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(400, f"Malformed commit: {error!r}") from error
    return CommitRequest(message, header.get("parentCommit"), changes)


def _file_content(value: dict[str, Any]) -> bytes:
    if value.get("encoding", "utf-8") == "utf-8":
        return bytes(value["content"].encode())
    try:
        return base64.b64decode(value["content"], validate=True)
    except binascii.Error as error:
        raise Refusal(400, "The content of a file is not base64") from error


def checked_path(path: str) -> str:
    """``path`` if a file may have it inside a repository. Raises Refusal."""
    if not path or any(part in ("", ".", "..", ".git") for part in path.split("/")) or "\0" in path:
        raise Refusal(400, f"Invalid path in repository: {path!r}")
    return path
