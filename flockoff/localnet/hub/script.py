"""Scripted misbehaviour of the hub, or of the network in front of it.

A script selects requests and wraps the application for them::

    server.faults.add("GET", "/resolve/", cut(after=1000), times=2)
"""

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Behaviour = Callable[[ASGIApp], ASGIApp]

ANY = "*"


@dataclass(slots=True)
class _Script:
    method: str
    pattern: re.Pattern[str]
    behaviour: Behaviour
    left: float  # how many more requests; inf for all


class FaultScript:
    """The list of scripts; the first that matches a request applies, until its ``times`` are used up."""

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self._lock = threading.Lock()

    def add(self, method: str, pattern: str, behaviour: Behaviour, *, times: float = 1) -> None:
        """Misbehave for the next ``times`` requests of ``method`` whose path ``pattern`` is found in.

        ``method`` may be ANY. Raises re.error for a pattern that is not a regular expression.
        """
        with self._lock:
            self._scripts.append(_Script(method, re.compile(pattern), behaviour, times))

    def clear(self) -> None:
        with self._lock:
            self._scripts.clear()

    def take(self, method: str, path: str) -> Behaviour | None:
        """The behaviour for this request, counting it."""
        with self._lock:
            for script in self._scripts:
                fits = script.method in (method, ANY) and script.pattern.search(path)
                if script.left > 0 and fits:
                    script.left -= 1
                    return script.behaviour
        return None


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """This response instead of the real one; the request is not processed."""
    return lambda _: Response(body, status, headers)


def cut(after: int) -> Behaviour:
    """Close the connection after ``after`` bytes of the real response's body.

    The request is processed: ``cut(0)`` of a commit is a commit whose response was lost.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def cutting(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_part(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                elif body := message["body"][:after]:
                    await send({"type": message["type"], "body": body, "more_body": True})

            await app(scope, receive, send_part)

        return cutting

    return wrap


def altered(change: Callable[[bytes], bytes]) -> Behaviour:
    """The real response with its body changed and its Content-Length adjusted."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def altering(scope: Scope, receive: Receive, send: Send) -> None:
            start: Message = {}

            async def send_changed(message: Message) -> None:
                if message["type"] == "http.response.start":
                    start.update(message)
                    return
                body = await run_in_threadpool(change, message["body"])
                others = [(key, value) for key, value in start["headers"] if key != b"content-length"]
                length = (b"content-length", str(len(body)).encode())
                await send({**start, "headers": [*others, length]})
                await send({**message, "body": body})

            await app(scope, receive, send_changed)

        return altering

    return wrap


def drip(piece: int, seconds: float) -> Behaviour:
    """The real response, ``piece`` bytes of body at a time, ``seconds`` apart."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def dripping(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_slowly(message: Message) -> None:
                body = message.get("body", b"")
                for start in range(0, len(body), piece):
                    part = body[start : start + piece]
                    await send({"type": message["type"], "body": part, "more_body": True})
                    await asyncio.sleep(seconds)
                await send({**message, "body": b""} if body else message)

            await app(scope, receive, send_slowly)

        return dripping

    return wrap


def redirected(to: str) -> Behaviour:
    """A redirect to the same path at ``to``, such as ``http://127.0.0.1:1``; to itself for an empty one."""

    def wrap(_: ASGIApp) -> ASGIApp:
        async def redirecting(scope: Scope, receive: Receive, send: Send) -> None:
            query = scope["query_string"].decode("ascii")
            location = to + scope["path"] + ("?" + query if query else "")
            await Response(status_code=307, headers={"Location": location})(scope, receive, send)

        return redirecting

    return wrap


def silence(seconds: float) -> Behaviour:
    """The real response after a delay."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.sleep(seconds)
            await app(scope, receive, send)

        return waiting

    return wrap
