"""A server on this machine that takes the alerts which Apprise sends as JSON."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.gate.wait()
            found.refuse -= 1
            if found.refuse < 0:
                found.told.append(body)
            self.send_response(200 if found.refuse < 0 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"json://ann:hunter2hunter2@127.0.0.1:{server.server_port}/private-path"
    yield found
    found.gate.set()
    server.shutdown()
    server.server_close()
    thread.join()
