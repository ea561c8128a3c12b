"""Live sockets: between a client of ours and a policy server somebody damages one message, on its way there or back."""

from __future__ import annotations

import contextlib
import logging
import random
import socket as plain
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from damage import mangle
from judging import bounded, judged
from websockets.exceptions import WebSocketException
from websockets.sync import client, server

from simrun.envs import get_benchmark
from simrun.errors import ServerError
from simrun.policies.dialects import connection
from simrun.policies.dialects.codecs import pack_openpi, unpack_openpi
from simrun.policies.dialects.serving import PolicyServer, ServerSettings
from simrun.policies.fitting import sample_observation
from simrun.policies.registry import load_policy

SERVED = {"openpi": "tabletop", "vlaeval": "tabletop", "xpolicylab": "robotwin_easy"}
"""Dialect -> a benchmark for which our server speaks it."""

PLAYED = {"starvla": "tabletop"}
"""Dialects that have no server of ours."""

DIALECTS = {**SERVED, **PLAYED}
_FRAMES = (
    b"\x02\x01a" * 2000,
    b"\x00\x01a",
    b"\x02\x00" * 20_000,
    b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xf2\x01a",
    b"\x83\x01a",
    b"\x89\x7d" + bytes(125),
    b"\x89\x00" * 20_000,
    b"\x89\x7e\x01\x00" + bytes(256),
    b"\x88\x01x",
    b"\x88\x02\x00\x00",
    b"\x88\x04\x03\xe8\xff\xff",
    b"\x81\x02\xff\xff",
    b"\x82\x7e\x00\x01a",
)
"""Frames in pieces that never end, of other lengths than they say, of reserved kinds, and those that control."""

_FIRST = (
    *(
        b"GET / HTTP/1.1",
        b"GET //[ HTTP/1.1",
        b"GET /?token=%ff HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET /healthz HTTP/1.1",
    ),
    *(b"GET /" + b"x" * 20_000 + b" HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00", b"GET", b""),
)
_HEADERS = (
    *(b"Host: x", b"Host: [", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
    *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 99"),
    *(b"Origin: http://[", b"Origin: null", b"Origin: \xff", b"Authorization: Api-Key \xff", b"Authorization: x"),
    *(b"Sec-WebSocket-Extensions: permessage-deflate; x=" + b"y" * 4000, b"Content-Length: -1", b"X: " + b"y" * 9000),
)

_ANSWERS = 3
_TIMEOUT = 3


class Conversations:
    """Clients and servers of every dialect, with somebody between them; a context manager."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self._places: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._plan: tuple[str, int, Callable[[bytes], bytes], random.Random] | None = None
        self._errors: list[str] = []

    def __enter__(self) -> Conversations:
        # Nobody comes back; waiting for it is tested elsewhere.
        connection._RECONNECT_DELAYS = (0.0, 0.1)
        watch = logging.Handler()
        watch.emit = self._note  # type: ignore[method-assign]
        logger = logging.getLogger("websockets.server")
        logger.addHandler(watch)
        logger.propagate = False
        for dialect, benchmark in DIALECTS.items():
            real = self._resources.enter_context(_server(dialect, benchmark))
            between = server.serve(self._between(real), "127.0.0.1", 0, compression=None, max_size=None)
            self._places[dialect] = self._resources.enter_context(_listening(between))
            self._real[dialect] = real
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def trial(self, dialect: str, draw: random.Random) -> tuple[str, str]:
        """Damage one message; returns who had to bear it (``openpi server``), and what became of it."""
        receiver = draw.choice(("client",) if dialect in PLAYED else ("client", "server"))
        self._plan = (receiver, draw.randrange(_ANSWERS), lambda whole: mangle(whole, draw), draw)
        self._errors.clear()
        outcome = judged(lambda: self._talk(dialect))
        # What a played server makes of a misled client is nobody's fault.
        fault = self._errors and dialect not in PLAYED
        return f"{dialect} {receiver}", f"in the server: {self._errors[0]}" if fault else outcome

    def opening(self, draw: random.Random) -> tuple[str, str]:
        """Open a conversation with a server of ours as nobody does; it must answer the next client."""
        dialect = draw.choice(list(SERVED))
        lines = [draw.choice(_FIRST), *draw.sample(_HEADERS, draw.randrange(len(_HEADERS)))]
        request = b"\r\n".join(lines) + b"\r\n\r\n"
        self._plan = None
        self._errors.clear()

        def talk() -> None:
            host, port = self._real[dialect].split(":")
            with bounded(), contextlib.suppress(OSError), plain.create_connection((host, int(port)), 5) as made:
                made.sendall(mangle(request, draw) if draw.random() < 0.5 else request)
                made.shutdown(plain.SHUT_WR)
                while made.recv(1 << 16):
                    pass
            self._talk(dialect)

        outcome = judged(talk)
        return "opening of a conversation", f"in the server: {self._errors[0]}" if self._errors else outcome

    def _talk(self, dialect: str) -> None:
        benchmark = get_benchmark(DIALECTS[dialect])
        options = {"timeout": _TIMEOUT, "first_timeout": _TIMEOUT}
        if dialect == "starvla":
            options |= {"statistics_key": "any", "convention": "identity"}
        with bounded():
            policy = load_policy(f"{dialect}://{self._places[dialect]}", benchmark, options=options)
            try:
                for _ in range(2):
                    policy.infer([sample_observation(benchmark, policy.spec.cameras, 1, slot=0)])
            finally:
                policy.close()

    def _between(self, real: str) -> Callable[[Any], None]:
        import threading

        def forward(source: Any, target: Any, receiver: str) -> None:
            with contextlib.suppress(WebSocketException, OSError):
                for number, message in enumerate(source):
                    self._pass_on(target, message, receiver, number)
            with contextlib.suppress(WebSocketException, OSError):
                target.close()

        def handle(near: Any) -> None:
            with client.connect(f"ws://{real}", compression=None, max_size=None, proxy=None) as far:
                back = threading.Thread(target=forward, args=(far, near, "client"), daemon=True)
                back.start()
                forward(near, far, "server")
                back.join(_TIMEOUT)

        return handle

    def _pass_on(self, target: Any, message: Any, receiver: str, number: int) -> None:
        plan = self._plan
        if plan is None or plan[:2] != (receiver, number):
            target.send(message)
            return
        _, _, damage, draw = plan
        self._plan = None
        if draw.random() < 0.1:
            # No frame at all, or none that may come now.
            strange = draw.choice((*_FRAMES, *(draw.randbytes(size) for size in (1, 20, 3000))))
            target.socket.sendall(strange)
            return
        damaged = damage(message.encode() if isinstance(message, str) else message)
        target.send(damaged.decode(errors="replace") if draw.random() < 0.1 else damaged)

    def _note(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.levelno >= logging.ERROR:
            error = record.exc_info[1]
            # What comes between them may break off; whoever opens a connection may, too.
            if not isinstance(error, WebSocketException | OSError | EOFError):
                self._errors.append(f"{type(error).__name__}: {str(error)[:120]}")


@contextlib.contextmanager
def _listening(opened: Any) -> Iterator[str]:
    import threading

    with opened as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        host, port = listening.socket.getsockname()[:2]
        yield f"{host}:{port}"


@contextlib.contextmanager
def _server(dialect: str, name: str) -> Iterator[str]:
    if dialect in PLAYED:
        with _listening(server.serve(_play_starvla, "127.0.0.1", 0, compression=None, max_size=None)) as place:
            yield place
        return
    benchmark = get_benchmark(name)
    policy = load_policy("scripted:zero", benchmark)
    with PolicyServer(policy, benchmark, ServerSettings(dialect=dialect, port=0, max_connections=1000)) as opened:
        yield opened.url.removeprefix("ws://")


def _play_starvla(socket: Any) -> None:
    benchmark = get_benchmark(PLAYED["starvla"])
    names = benchmark.action_specs[benchmark.default_action_mode].names
    socket.send(pack_openpi({"action_chunk_size": 4, "available_unnorm_keys": ["any"]}))
    for raw in socket:
        # What this one makes of a damaged request is nobody's fault.
        with contextlib.suppress(KeyError, TypeError, ServerError):
            socket.send(_starvla_answer(raw, len(names)))


def _starvla_answer(raw: bytes, size: int) -> bytes:
    request = unpack_openpi(raw)
    count = len(request["payload"]["examples"])
    answer = {"status": "ok", "ok": True, "type": "inference_result", "request_id": request["request_id"]}
    return pack_openpi({**answer, "data": {"actions": np.zeros((count, 4, size), np.float32)}})
