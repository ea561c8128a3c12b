"""The live page: a server on this machine that reads run folders and tells browsers what is new.

It reads only: a run that goes on is not disturbed, whether it runs here or on the nodes of a cluster that write to the
same file system. Everything lies below a secret in the address; other origins and other names of this machine are
refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from simrun.errors import DependencyError, SimrunError, UsageError
from simrun.results.page.document import Document
from simrun.results.page.freezing import video_file
from simrun.results.page.shell import page
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run

LOOPBACK = "127.0.0.1"

_BLOCK = 20_000
"""Episodes that one message carries at most."""

_PAUSE = 0.5
"""Seconds between two looks at the journals."""

_SHARE = 20
"""Computing the overview may take one part in so many of the time, so that a run beside it keeps its processor."""

_NICENESS = 5
"""How far the page steps back where a run beside it wants the same processor."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Feed:
    """What is known of the runs, and who is to be told when there is more.

    Args:
        paths: the run folders.

    Attributes:
        document: the page's data.
        overview: its overview, as JSON text.
        changes: numbers of episodes in the order they came or changed.
        remark: why the last look failed; empty when it did not.

    Raises:
        UsageError: a folder holds no run.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.document = Document([Run.join(path) for path in paths], _address_of_video)
        self.overview = json.dumps(self.document.overview(), separators=(",", ":"))
        self.changes: list[int] = []
        self.version = 0
        self.remark = ""
        self._next_overview = 0.0
        self._stale = False

    def look(self) -> bool:
        """Take in what the journals have gained; returns whether there is anything to tell."""
        before = (len(self.changes), self.version)
        for run in self.document.runs:
            self.changes += self.document.take(run, run.catch_up())
        self._stale |= len(self.changes) != before[0]
        started = time.monotonic()
        if self._stale and started >= self._next_overview:
            self.overview = json.dumps(self.document.overview(), separators=(",", ":"))
            self.version += 1
            self._stale = False
            now = time.monotonic()
            self._next_overview = now + max(1.0, _SHARE * (now - started))
        return (len(self.changes), self.version) != before

    async def watch(self) -> None:
        """Look again and again, in a thread, so that browsers are answered meanwhile."""
        while True:
            try:
                more = await asyncio.to_thread(self.look)
                self.remark = ""
            except SimrunError as error:
                more, self.remark = False, str(error)
            await asyncio.sleep(0 if more else _PAUSE)

    async def events(self, seen: int) -> AsyncIterator[str]:
        """Server-sent events: blocks of episodes from the ``seen``-th change on, and each new overview."""
        version = 0
        while True:
            while seen < len(self.changes):
                numbers = list(dict.fromkeys(self.changes[seen : seen + _BLOCK]))
                seen += min(_BLOCK, len(self.changes) - seen)
                block = await asyncio.to_thread(self.document.episodes, numbers)
                yield _event("episodes", json.dumps(block, separators=(",", ":")), seen)
            if version != self.version:
                version = self.version
                yield _event("overview", self.overview, seen)
            else:
                yield ": still here\n\n"
            await asyncio.sleep(_PAUSE)


def make_app(feed: Feed, token: str, *, watch: bool = True) -> Any:
    """The web application.

    Args:
        feed: what it serves.
        token: the secret that all addresses begin with.
        watch: look for more while it runs.

    Raises:
        DependencyError: Starlette is missing.
    """
    starlette = _import()

    def answer(compute: Callable[..., dict[str, Any]]) -> Callable[[Any], Any]:
        async def endpoint(request: Any) -> Any:
            try:
                numbers = [_number(value) for value in request.path_params.values()]
                found = json.dumps(await asyncio.to_thread(compute, *numbers), separators=(",", ":"), allow_nan=False)
                return starlette.Response(found, media_type="application/json", headers=_HEADERS)
            except SimrunError as error:
                return starlette.PlainTextResponse(str(error), 404, headers=_HEADERS)

        return endpoint

    async def show(request: Any) -> Any:
        # Names of files may be no UTF-8.
        text = page(json.loads(feed.overview), None).encode(errors="backslashreplace")
        return starlette.HTMLResponse(text, headers=_HEADERS)

    async def events(request: Any) -> Any:
        # A browser that goes on says where it was; anything else begins anew.
        told = request.headers.get("last-event-id", "")
        seen = min(int(told), len(feed.changes)) if re.fullmatch("[0-9]{1,9}", told) else 0
        headers = {**_HEADERS, "X-Accel-Buffering": "no"}
        return starlette.StreamingResponse(feed.events(seen), media_type="text/event-stream", headers=headers)

    async def video(request: Any) -> Any:
        file = await asyncio.to_thread(_video_at, feed.document, request.path_params["number"])
        if file is None:
            return starlette.PlainTextResponse("this episode was not filmed", 404, headers=_HEADERS)
        return starlette.FileResponse(file, media_type="video/mp4", headers=_HEADERS)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.watch()) if watch else None
        yield
        if task is not None:
            task.cancel()

    document = feed.document
    routes = [
        starlette.Route("/", show),
        starlette.Route("/events", events),
        starlette.Route("/episode/{number}", answer(document.episode)),
        starlette.Route("/comparison/{a}/{b}", answer(document.comparison)),
        starlette.Route("/parting/{a}/{b}", answer(document.parting)),
        starlette.Route("/video/{number}", video),
    ]
    app = starlette.Starlette(routes=[starlette.Mount(f"/{token}", routes=routes)], lifespan=lifespan)
    return _OnlyThisMachine(app)


class _OnlyThisMachine:
    """Refuses requests of other origins, and those that reached this machine under another name than its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            origin = headers.get("origin")
            foreign = origin is not None and _host_of(origin) not in _NAMES
            host = _host_of(f"//{headers.get('host', '')}")
            if host not in _NAMES or foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body", "body": b"only for pages of this machine"})
                return
        await self._app(scope, receive, send)


_NAMES = ("127.0.0.1", "localhost")


def _host_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _number(text: str) -> int:
    """The number of an episode or a cell.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"{text[:20]!r} is no number of an episode")
    return int(text)


def serve(paths: Sequence[Path], port: int, announce: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted.

    Args:
        paths: the run folders.
        port: where to listen; 0 takes a free one.
        announce: told the address.

    Raises:
        UsageError: a folder holds no run, or the port cannot be listened on.
        DependencyError: Starlette or uvicorn is missing.
    """
    os.nice(_NICENESS)
    _import()
    try:
        import uvicorn
    except ImportError:
        raise DependencyError("the page needs uvicorn: pip install 'simrun[report]'") from None
    token = secrets.token_urlsafe(16)
    app = make_app(Feed(paths), token)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise UsageError(f"port {port} cannot be listened on: {error.strerror}; take another --port") from None
        listener.listen(128)
        announce(f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/")
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def _event(name: str, data: str, seen: int) -> str:
    return f"id: {seen}\nevent: {name}\ndata: {data}\n\n"


def _address_of_video(run: Run, record: EpisodeRecord, number: int) -> str | None:
    return None if video_file(run, record) is None else f"video/{number}"


def _video_at(document: Document, number: str) -> Path | None:
    try:
        return video_file(*document.at(_number(number)))
    except (UsageError, OSError):
        return None


def _import() -> Any:
    """The parts of Starlette that are used."""
    try:
        from starlette.applications import Starlette
        from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
        from starlette.routing import Mount, Route
    except ImportError:
        raise DependencyError("the page needs Starlette: pip install 'simrun[report]'") from None
    parts = (Starlette, FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse, Mount, Route)
    return SimpleNamespace(**{part.__name__: part for part in parts})
