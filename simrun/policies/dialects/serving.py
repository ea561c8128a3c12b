"""Our policies behind the dialects of other harnesses, so that their clients can use them.

Each connection is a slot. This machine's own addresses need no token; others do.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from simrun import doors
from simrun.envs import Benchmark
from simrun.errors import SimrunError, UsageError
from simrun.policies.dialects.clients import Clients
from simrun.policies.dialects.connection import LOOPBACK_HOSTS
from simrun.policies.dialects.dialect import Conversation, get_dialect
from simrun.policies.execution import ExecutionVariant
from simrun.policies.foreign import require_module
from simrun.policies.inference import InferenceThread
from simrun.policies.policy import Policy

_INTERNAL_ERROR = 1011


@dataclass(frozen=True)
class ServerSettings:
    """Where and how a policy is served.

    Attributes:
        dialect: name of a dialect that can be served: ``openpi``, ``vlaeval``.
        host: address to listen on; another one than this machine's own needs a token.
        port: port to listen on; 0 takes a free one.
        token: what clients must send as ``Authorization: Api-Key TOKEN`` or as ``?token=TOKEN`` in the address.
        execution: how chunks are executed for vla-eval's clients, who get one action at a time.
        max_batch_size: largest batch.
        max_message_bytes: largest request accepted.
        seed: seed of the policy's randomness.
        max_connections: most clients at once.
        max_waiting_bytes: most bytes that all clients together may have sent without having been answered.

    Raises:
        UnknownNameError: no such dialect.
        UsageError: an address beyond this machine without a token.
    """

    dialect: str = "openpi"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    execution: ExecutionVariant = field(default_factory=lambda: ExecutionVariant("full"))
    max_batch_size: int = 16
    max_message_bytes: int = 1 << 26
    seed: int = 0
    max_connections: int = 64
    max_waiting_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        if get_dialect(self.dialect).conversation is None:
            served = [name for name in doors.offers(doors.DIALECTS) if get_dialect(name).conversation is not None]
            raise UsageError(f"the dialect {self.dialect} cannot be served; {' and '.join(served)} can")
        if self.host not in LOOPBACK_HOSTS and not self.token:
            raise UsageError(
                f"listening on {self.host} lets other machines use the policy; choose a secret for them with --token"
            )


class PolicyServer:
    """Serves one policy until it is closed; a context manager.

    Args:
        policy: the policy; used from one thread of the server only.
        benchmark: the benchmark whose conventions it speaks.
        settings: where and how.

    Raises:
        DependencyError: websockets is not installed.
        UsageError: the address is taken or not this machine's, or nothing says what clients of that dialect send.
    """

    def __init__(self, policy: Policy, benchmark: Benchmark, settings: ServerSettings) -> None:
        self.settings = settings
        self._benchmark = benchmark
        mode = policy.spec.action_mode or benchmark.default_action_mode
        largest = min(settings.max_batch_size, policy.spec.max_batch_size or settings.max_batch_size)
        self._inference = InferenceThread(policy, benchmark.action_specs[mode], max_batch=largest)
        try:
            self._converse_with(0).check()
        except SimrunError:
            self._inference.close()
            policy.close()
            raise
        self._slots = itertools.count()
        # One whole request must always be possible.
        waiting = max(settings.max_waiting_bytes, 2 * settings.max_message_bytes)
        self._clients = Clients(settings.max_connections, waiting)
        server = require_module("websockets.sync.server", "remote", "serving a policy")
        self._resources = contextlib.ExitStack()
        try:
            opening = server.serve(
                self._converse,
                settings.host,
                settings.port,
                compression=None,
                max_size=settings.max_message_bytes,
                max_queue=1,
                ping_interval=None,
                process_request=self._admit,
                create_connection=self._clients.accept(server.ServerConnection),
            )
            self._server = self._resources.enter_context(opening)
        except OSError as error:
            self._inference.close()
            policy.close()
            raise UsageError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address to give to clients."""
        host, port = self._server.socket.getsockname()[:2]
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    def serve_forever(self) -> None:
        """Serve in this thread until `close` is called from another."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop listening and free the policy."""
        self._resources.close()
        if self._thread is not None:
            self._thread.join()
        self._inference.close()
        self._inference.policy.close()

    def __enter__(self) -> PolicyServer:
        self._thread = threading.Thread(target=self.serve_forever, name="simrun-policy-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _admit(self, connection: Any, request: Any) -> Any:
        try:
            return self._refusal(connection, request)
        except (ValueError, LookupError):
            # An address or an origin that is none, or a header that is there twice.
            return connection.respond(400, "the request's address or headers cannot be read\n")

    def _refusal(self, connection: Any, request: Any) -> Any:
        """What a request is answered with that opens no conversation; None where it opens one."""
        path = urlsplit(request.path)
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
            # Browsers name the page that asks; no page of somebody else's may use what this machine serves to itself.
            return connection.respond(403, f"a page of {origin[:100]} may not use this server\n")
        if path.path == "/healthz":
            return connection.respond(200, "OK\n")
        if path.path == "/health":
            return connection.respond(200, json.dumps({"status": "ok"}) + "\n")
        if self.settings.token is not None and not self._authorised(request, path.query):
            return connection.respond(401, "a token is needed\n")
        if not self._clients.admit(connection.protocol):
            most = self.settings.max_connections
            return connection.respond(503, f"{most} clients are connected; no more are served at once\n")
        return None

    def _authorised(self, request: Any, query: str) -> bool:
        offered = [request.headers.get("Authorization", "").partition(" ")[2], *parse_qs(query).get("token", [])]
        assert self.settings.token is not None
        return any(hmac.compare_digest(text.encode(), self.settings.token.encode()) for text in offered)

    def _converse_with(self, slot: int) -> Conversation:
        made = get_dialect(self.settings.dialect).conversation
        assert made is not None
        return made(slot, self._benchmark, self._inference, self.settings.execution, self.settings.seed)

    def _converse(self, connection: Any) -> None:
        exceptions = require_module("websockets.exceptions", "remote", "serving a policy")
        conversation = self._converse_with(next(self._slots))
        with contextlib.suppress(exceptions.ConnectionClosed):
            for greeting in conversation.greetings():
                connection.send(greeting)
            for message in connection:
                try:
                    answers = conversation.answer(message)
                except SimrunError as error:
                    connection.send(f"{type(error).__name__}: {error}")
                    connection.close(_INTERNAL_ERROR, "the reason is in the frame before")
                    return
                for answer in answers:
                    connection.send(answer)
                self._clients.answered(connection.protocol, message)
