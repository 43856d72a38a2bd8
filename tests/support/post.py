"""A server on this machine that takes the alerts which Apprise sends as JSON."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from tests.support.web import web_server


@dataclass
class Post:
    """What was sent to ``url``. ``refuse``: so many are answered with 500 first; all wait for ``gate``."""

    url: str = ""
    told: list[dict[str, str]] = field(default_factory=list)
    refuse: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.told]


@contextmanager
def running_post() -> Iterator[Post]:
    found = Post()
    found.gate.set()

    def take(request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        found.gate.wait()
        found.refuse -= 1
        if found.refuse < 0:
            found.told.append(body)
        request.send_response(200 if found.refuse < 0 else 500)
        request.end_headers()

    with web_server(take) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr("flockoff.alerts._CLOSE_SECONDS", 300.0)  # the first alert imports Apprise
        found.url = f"json://ann:hunter2hunter2@127.0.0.1:{port}/private-path"
        yield found
        found.gate.set()
