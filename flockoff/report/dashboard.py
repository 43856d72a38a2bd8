"""The live report on loopback: the page, and a small JSON resource with news."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flockoff.competition import Competition
from flockoff.errors import LedgerError, SetupError
from flockoff.ledger import Ledger
from flockoff.report.facts import read_facts
from flockoff.report.news import read_news
from flockoff.report.page import content_policy, render_page

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_OWN_NAMES = frozenset({"127.0.0.1", "localhost"})
_NEWS_SECONDS = 1.0  # for which a response is cached
_CLIENT_SECONDS = 10.0  # time limit for a request
_LOOK_SECONDS = 0.05  # for the end
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@contextmanager
def dashboard(ledger_path: Path, port: int | None, rules: Competition) -> Iterator[None]:
    """Serve the report to this machine only while this lasts; ``port`` None: do not.

    Uses its own threads and read-only connections. Raises SetupError if the port is taken.
    """
    if port is None:
        yield
        return
    try:
        server = _Server(port, _Content(ledger_path, rules))
    except OSError as error:
        raise SetupError(
            f"The dashboard cannot be served on {HOST}:{port}: {error.strerror}.",
            remedy="Give another port with --dashboard.",
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=[_LOOK_SECONDS], name="dashboard")
    thread.start()
    log.info("Dashboard: http://%s:%d/", HOST, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Content:
    """The content served, cached for all requests."""

    def __init__(self, ledger_path: Path, rules: Competition) -> None:
        self._ledger_path = ledger_path
        self._rules = rules
        self._lock = threading.Lock()
        self._news: tuple[float, dict[str, Any]] | None = None  # with its time.monotonic()
        self._page: tuple[dict[str, Any], bytes] | None = None  # with the news it shows

    def news(self) -> bytes:
        with self._lock:
            return json.dumps(self._fresh_news()).encode()

    def page(self) -> bytes:
        with self._lock:
            news = self._fresh_news()
            if self._page is None or self._page[0] != news:
                with Ledger.look(self._ledger_path) as ledger:
                    facts = read_facts(ledger, self._rules, time.time())
                self._page = news, render_page(facts, version=news["version"]).encode()
            return self._page[1]

    def _fresh_news(self) -> dict[str, Any]:
        now = time.monotonic()
        if self._news is None or now - self._news[0] > _NEWS_SECONDS:
            self._news = now, read_news(self._ledger_path)
        return self._news[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a browser keeps its connection open

    def __init__(self, port: int, content: _Content) -> None:
        self.content = content
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("A request to the dashboard ended early.", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "flockoff"
    sys_version = ""
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        if not _is_own(self.headers.get("Host", "")):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", b"Wrong host.\n")
            return
        kinds = {
            "/": ("text/html", self.server.content.page),
            "/live.json": ("application/json", self.server.content.news),
        }
        if self.path not in kinds:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is only /.\n")
            return
        kind, make = kinds[self.path]
        try:
            body = make()
        except LedgerError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n".encode())
        else:
            self._answer(HTTPStatus.OK, kind, body)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        policy = f"{content_policy(live=True)}; frame-ancestors 'none'"
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def _is_own(host: str) -> bool:
    """Whether the Host header names this machine: otherwise it may be DNS rebinding. The port may differ, for
    tunnels."""
    try:
        return urlsplit(f"//{host}").hostname in _OWN_NAMES
    except ValueError:
        return False
