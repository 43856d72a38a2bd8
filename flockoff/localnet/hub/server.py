"""The hub double as a running server: what tests and ``flockoff localnet`` start."""

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from flockoff.errors import LocalnetError
from flockoff.localnet.hub.routes import build_app
from flockoff.localnet.hub.script import FaultScript
from flockoff.localnet.hub.store import HubStore, OrgRole, Role
from flockoff.localnet.hub.switches import HubSwitches

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 0  # 0 takes any free one
    page_size: int = 1000  # entries on a page of a file or commit listing


class HubServer:
    """A Hugging Face Hub on this machine, for development and tests only.

    The unmodified huggingface_hub uses it through ``HF_ENDPOINT``. It runs in its own thread; all state is in
    ``settings.state_dir`` and persists. Start it with ``start`` or as a context manager. ``switches`` and
    ``faults`` make it misbehave, by name or by script.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self.faults = FaultScript()
        self._store = HubStore(settings.state_dir)
        self.switches = HubSwitches(self.faults, self._store, refuse=self.refuse, accept=self.accept)
        self._requests: list[tuple[str, str]] = []
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._endpoint = ""
        self._lock = threading.RLock()
        self._held: socket.socket | None = None  # holds the port without listening
        self._reopening = threading.Timer(0, self.accept)

    @property
    def endpoint(self) -> str:
        """``http://HOST:PORT``; known once started."""
        return self._endpoint

    @property
    def requests(self) -> tuple[tuple[str, str], ...]:
        """Method and path of every request so far, in order of arrival."""
        return tuple(self._requests)

    def add_user(self, name: str, *, role: Role = "write") -> str:
        """The user's token of that role; the same one each time."""
        return self._store.token(name, role)

    def add_member(self, organisation: str, user: str, role: OrgRole) -> None:
        """Make the user a member of the organisation, which need not exist yet."""
        self._store.add_member(organisation, user, role)

    def start(self) -> None:
        """Listen. Raises LocalnetError if the port is taken."""
        with self._lock:
            listener = self._bound(self.settings.port)
            self._endpoint = f"http://{self.settings.host}:{listener.getsockname()[1]}"
            self._run(listener)

    def _run(self, listener: socket.socket) -> None:
        app = build_app(self._store, self.settings.page_size)
        config = uvicorn.Config(
            self._watched(app),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server, listener), daemon=True)
        self._thread.start()
        self._await_start(self._server, self._thread)

    def _bound(self, port: int) -> socket.socket:
        address = (self.settings.host, port)
        # With an explicit protocol, asyncio turns off Nagle's algorithm, which costs 40 ms a request.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return listener
        except OSError as error:
            listener.close()
            raise LocalnetError(
                f"The local hub cannot listen on {address[0]}:{address[1]}: {error.strerror}.",
                remedy="Stop the program that uses the port, or choose another one.",
            ) from error

    @staticmethod
    def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
        with listener:
            server.run(sockets=[listener])

    def _watched(self, app: ASGIApp) -> ASGIApp:
        """``app`` with every request recorded and scripted faults applied."""

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            method, path = scope["method"], scope["path"]
            self._requests.append((method, path))
            behaviour = self.faults.take(method, path)
            await (behaviour(app) if behaviour else app)(scope, receive, send)

        return watching

    @staticmethod
    def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
        pause = threading.Event()
        for _ in range(int(_START_SECONDS / 0.01)):
            if server.started:
                return
            if not thread.is_alive():
                break
            pause.wait(0.01)
        raise LocalnetError("The local hub did not start.")

    def refuse(self, seconds: float) -> None:
        """Refuse connections for ``seconds``, then listen on the same port again.

        Returns once the port is closed; requests in progress have a second to finish. Must not be called from
        a request handler of this hub. Raises LocalnetError if the hub is not running.
        """
        with self._lock:
            if self._held is None:
                if self._server is None:
                    raise LocalnetError("The local hub is not running.")
                self._halt()
                self._held = self._bound(int(self._endpoint.rpartition(":")[2]))
            self._reopening.cancel()
            self._reopening = threading.Timer(seconds, self.accept)
            self._reopening.daemon = True
            self._reopening.start()

    def accept(self) -> None:
        """End ``refuse`` now."""
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                self._run(held)

    def stop(self) -> None:
        """Stop listening; requests in progress have a second to finish. No effect if not running."""
        with self._lock:
            self._reopening.cancel()
            held, self._held = self._held, None
            if held is not None:
                held.close()
            self._halt()

    def _halt(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
