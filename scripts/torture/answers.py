"""Servers of other dialects that answer whatever they like: over HTTP (X-VLA, CogACT) and ZeroMQ (GR00T)."""

from __future__ import annotations

import contextlib
import http.server
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from damage import HOSTILE_VALUES, hostile_array, mangle, mangle_json
from judging import PICKLED, bounded, judged

from simrun.envs import get_benchmark
from simrun.policies.dialects.codecs import pack_groot, unpack_groot
from simrun.policies.fitting import sample_observation
from simrun.policies.registry import load_policy

_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_ROW = [0.1] * 3 + [1, 0.2, 0.1, 0.3, 1, 0.5] + [0.0] * 11

ANSWERING = {"xvla": "libero_10", "cogact": "simpler_bridge", "groot": "libero_10"}
"""Dialect -> a benchmark that its policies were made for."""

_GOOD = {"xvla": json.dumps({"action": [_ROW] * 30}).encode(), "cogact": json.dumps([[0.1] * 7] * 16).encode()}


_DRIPS = b" \n \n "
"""What an answer begins with that goes on for ever."""

_HEADS = (
    b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000000000000000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    b"HTTP/9.9 xx \xff\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    bytes(70_000),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;" + b"x" * 60_000 + b"\r\n[\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 20_000 + b"-1\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 70000\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/0.9 200",
    b"HTTP/1.1 200 " + b"x" * 60_000 + b"\r\nContent-Length: 2\r\n\r\n",
)
"""Heads of answers that no honest server gives."""


class Answers:
    """The servers; a context manager."""

    def __init__(self) -> None:
        self._resources = contextlib.ExitStack()
        self._places: dict[str, str] = {}
        self._draw: random.Random | None = None
        self._asked = 0
        self._at = 0

    def __enter__(self) -> Answers:
        for dialect in ANSWERING:
            opened = _zeromq(self._parts) if dialect == "groot" else _web(self._web(dialect))
            self._places[dialect] = self._resources.enter_context(opened)
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def trial(self, dialect: str, draw: random.Random) -> tuple[str, str]:
        """Answer one of three requests badly; returns who had to bear it, and what became of it."""
        self._draw, self._asked, self._at = draw, 0, draw.randrange(3)
        return f"{dialect} client", judged(lambda: self._talk(dialect))

    def _talk(self, dialect: str) -> None:
        benchmark = get_benchmark(ANSWERING[dialect])
        with bounded(30):
            policy = load_policy(
                f"{dialect}://{self._places[dialect]}", benchmark, options={"timeout": 2, "first_timeout": 2}
            )
            try:
                seen = sample_observation(
                    benchmark, policy.spec.cameras, 1, slot=0, action_mode=policy.spec.action_mode
                )
                for _ in range(2):
                    policy.infer([seen])
            finally:
                policy.close()

    def _is_turn(self) -> bool:
        self._asked += 1
        return self._asked - 1 == self._at

    def _web(self, dialect: str) -> Callable[[], tuple[bytes, bytes]]:
        """Head and body of an answer."""

        def answer() -> tuple[bytes, bytes]:
            good, draw = _GOOD[dialect], self._draw
            if draw is None or not self._is_turn():
                return _head(b"200 OK", len(good)), good
            kind = draw.randrange(8)
            body = mangle_json(good, draw) if kind < 4 else mangle(good, draw)
            if draw.random() < 0.03:
                return _head(b"200 OK", 1 << 20), _DRIPS + good
            heads = (_head(b"200 OK", len(body)), *_HEADS)
            return (heads[0] if kind < 6 else draw.choice(heads)), body

        return answer

    def _parts(self, message: bytes) -> list[bytes]:
        whole = self._packed(message)
        draw = self._draw
        if draw is None or self._asked - 1 != self._at or draw.random() > 0.1:
            return [whole]
        return draw.choice(([whole, b""], [b"", whole], [whole] * 300, [whole[:9], whole[9:]]))

    def _packed(self, message: bytes) -> bytes:
        request = unpack_groot(message)
        good = _groot(request)
        draw = self._draw
        if draw is None or not self._is_turn():
            return pack_groot(good)
        kind = draw.randrange(6)
        if kind < 2:
            return mangle(pack_groot(good), draw)
        if kind == 2:
            return draw.choice((PICKLED, b"ERROR", b"", b"\xdf\xff\xff\xff\xff" + bytes(9), b"\x81" * 3000))
        if kind == 3:
            import msgpack

            array = {"__ndarray_class__": True, "as_npy": hostile_array(draw)}
            held: Any = {f"action.{name}": array for name in _NAMES}
            return bytes(msgpack.packb(draw.choice((array, held, [held, {}]))))
        return pack_groot(_spoiled(good, draw))


def _spoiled(value: Any, draw: random.Random) -> Any:
    if isinstance(value, (dict, list)) and value and draw.random() < 0.8:
        place = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[place] = _spoiled(copy[place], draw)
        return copy
    if isinstance(value, np.ndarray):
        strange = (
            value[..., None],
            value[:0],
            np.full(value.shape, np.nan, np.float32),
            value.astype(np.int8),
            np.zeros((1, 10**6, 1), np.float32),
        )
        return draw.choice(strange)
    hostile = draw.choice(HOSTILE_VALUES)
    # msgpack has no greater whole numbers, and no halves of letters.
    fits = not isinstance(hostile, int) or abs(hostile) < 2**63
    return "x" if not fits or hostile == "\ud800" else hostile


def _groot(request: dict[str, Any]) -> Any:
    if request.get("endpoint") == "get_modality_config":
        frames = {"delta_indices": [0], "modality_keys": ["image"]}
        return {"video": frames, "state": frames, "action": {"modality_keys": list(_NAMES)}}
    if request.get("endpoint") != "get_action":
        return {}
    return [{f"action.{name}": np.zeros((1, 16, 1), np.float32) for name in _NAMES}, {}]


def _head(status: bytes, length: int) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, length)


@contextlib.contextmanager
def _web(answer: Callable[[], tuple[bytes, bytes]]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            head, body = answer()
            with contextlib.suppress(OSError):
                self.wfile.write(head + body)
                # One that never ends, byte by byte.
                while body.startswith(_DRIPS):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    http.server.ThreadingHTTPServer.block_on_close = False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def _zeromq(answer: Callable[[bytes], list[bytes]]) -> Iterator[str]:
    import zmq

    place = zmq.Context.instance().socket(zmq.REP)
    place.LINGER = 0
    port = place.bind_to_random_port("tcp://127.0.0.1")
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if place.poll(20):
                place.send_multipart(answer(place.recv()))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{port}"
    ended.set()
    thread.join()
    place.close()
