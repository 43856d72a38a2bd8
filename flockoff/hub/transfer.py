"""Downloads one file: bounded, resumable, verified and atomic."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2

from flockoff.errors import HubTransient, SetupError
from flockoff.hub.deadline import HubCall, under_way
from flockoff.hub.files import ContentGone, RemoteFile, digest_of, move_into_place
from flockoff.hub.library import hf_raise_for_status
from flockoff.hub.retries import Stop
from flockoff.hub.session import check_scheme, session
from flockoff.hub.translation import translated

_MAX_REDIRECTS = 5
_GONE = frozenset({404, 410})


class _Spoiled(HubTransient):
    """The data received so far is wrong: the next try must not resume from it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The terms of a download. ``headers`` carry the token and are sent only to ``endpoint``'s host."""

    endpoint: str
    headers: dict[str, str] = field(repr=False)
    timeout: float  # seconds of silence
    deadline: float  # time.monotonic()
    stop: Stop


def fetch(remote: RemoteFile, target: Path, transfer: Transfer) -> None:
    """Download the file to ``target``, in one attempt; a later one resumes where it broke off.

    Raises HubTransient for transient faults (cut, slow, wrong content), SetupError for the disk, HubError's
    other kinds, and Interrupted.
    """
    doing = f"download {remote.path}"
    with translated(doing), under_way(HubCall(doing, transfer.stop, transfer.deadline, home=None)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(target) as part:
            with part.open("ab") as file:
                _receive(remote, file, transfer)
                file.flush()
                os.fsync(file.fileno())
            if not remote.is_same(digest_of(part, transfer.stop)):
                raise _Spoiled(f"What the hub sent for {remote.path} is not what it announced.")
            move_into_place(part, target)


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """An exclusive file to receive into: what an earlier try left, unless someone else is using it.

    Renaming claims it, so of several threads or processes one gets the old part and the others start from
    zero. If the attempt fails the part is put back for the next one, unless it is spoiled or the disk failed.
    """
    shelved = target.with_name(target.name + ".part")
    own = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    try:
        shelved.rename(own)
    except FileNotFoundError:
        own.touch()
    try:
        yield own
        shelved.unlink(missing_ok=True)
    except BaseException as error:
        of_disk = isinstance(error, OSError) and not isinstance(error, httpx2.HTTPError)
        if of_disk or isinstance(error, _Spoiled):
            own.unlink(missing_ok=True)
        else:
            own.replace(shelved)
        raise


def _receive(remote: RemoteFile, file: BinaryIO, transfer: Transfer) -> None:
    """Append to ``file`` exactly the missing bytes of ``remote``."""
    have = file.seek(0, os.SEEK_END)
    if have >= remote.size:
        return
    free = shutil.disk_usage(Path(file.name).parent).free
    if free < remote.size - have:
        raise SetupError(
            f"The disk has {free:,} bytes free, {remote.path} needs {remote.size - have:,}.",
            remedy="Free some space, or choose another folder.",
        )
    with _body(remote.url, have, transfer) as response:
        if have and response.status_code != 206:
            file.truncate(have := 0)
        for chunk in response.iter_raw():  # as it arrives: waiting for full chunks could miss the deadline
            have += len(chunk)
            if have > remote.size:
                raise _Spoiled(f"The hub sent more than the {remote.size} bytes of {remote.path}.")
            file.write(chunk)
    if have < remote.size:
        raise HubTransient(f"The hub sent {have} of the {remote.size} bytes of {remote.path}.")


@contextmanager
def _body(url: str, start: int, transfer: Transfer) -> Iterator[httpx2.Response]:
    """The response whose body is the file from byte ``start`` on (status 206) or from 0 (200)."""
    home = httpx2.URL(transfer.endpoint)
    here = httpx2.URL(url)
    plain = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(_MAX_REDIRECTS + 1):
        headers = plain | (transfer.headers if _origin(here) == _origin(home) else {})
        with session().stream(
            "GET", here, headers=headers, timeout=transfer.timeout, follow_redirects=False
        ) as response:
            if not response.has_redirect_location:
                _check(response, start, at_home=_origin(here) == _origin(home))
                yield response
                return
            target = here.join(response.headers["location"])
        check_scheme(here, target)
        here = target
    raise HubTransient(f"The hub redirects more than {_MAX_REDIRECTS} times.")


def _check(response: httpx2.Response, start: int, *, at_home: bool) -> None:
    """Raises unless the response's body can be the file from byte ``start`` on.

    External storage that the hub redirects to does not decide on access, so its refusals say nothing about
    the repo or our token: an expired link, for example, is a 403.
    """
    path = response.request.url.path
    if response.status_code == 416:
        raise _Spoiled(f"The hub has no byte {start} of {path}.")
    if response.status_code in _GONE and not (at_home and "x-error-code" in response.headers):
        raise ContentGone(f"The hub has no content for {path}.")
    if not at_home and response.is_error:
        host = response.request.url.host
        raise HubTransient(f"{host}, where the hub keeps {path}, answered {response.status_code}.")
    hf_raise_for_status(response)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Spoiled(f"The hub sent {path} compressed, which was not requested.")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
