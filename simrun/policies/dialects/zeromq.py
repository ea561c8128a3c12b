"""One ZeroMQ socket to a policy server, with time-outs, a size limit and errors in one sentence."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from simrun.errors import ServerError
from simrun.policies.dialects.codecs import pack_groot, unpack_groot
from simrun.policies.dialects.connection import ServerAddress
from simrun.policies.foreign import cause_of, require_module


class ZeromqConnection:
    """A ZeroMQ socket that asks one server; after an error a new one is made, because it answers in lockstep."""

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self._zmq = require_module("zmq", "groot", f"the policy server {address.url}")
        self._socket: Any = None

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to a request; the token goes with it as ``api_token``.

        Raises:
            ServerError: the server cannot be reached, gives no answer in time, fails, or sends garbage.
        """
        token = {} if self.address.token is None else {"api_token": self.address.token}
        if self._socket is None:
            self._open()
        try:
            self._socket.RCVTIMEO = int(1000 * self.address.patience[0])
            self._socket.send(pack_groot({**request, **token}))
            message = self._socket.recv()
            if self._socket.RCVMORE:
                raise ServerError("an answer of several parts")
            answer = {"error": "no reason"} if message == b"ERROR" else unpack_groot(message)
        except self._zmq.Again:
            self.close()
            raise self.address.silent() from None
        except (self._zmq.ZMQError, ServerError) as error:
            self.close()
            raise ServerError(f"the policy server {self.address.url} sent garbage: {cause_of(error)}") from None
        if isinstance(answer, dict) and "error" in answer:
            raise ServerError(f"the policy server {self.address.url} reported: {str(answer['error'])[:500]}")
        return answer

    def _open(self) -> None:
        parts = urlsplit(self.address.url)
        try:
            # ZeroMQ waits for ever for a server that is not there.
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()
        except OSError as error:
            reason = f"{cause_of(error)}; is it running?"
            raise ServerError(f"the policy server {self.address.url} cannot be reached: {reason}") from None
        self._socket = self._zmq.Context.instance().socket(self._zmq.REQ)
        self._socket.LINGER = 0
        self._socket.MAXMSGSIZE = self.address.max_message_bytes
        self._socket.connect(self.address.url)

    def close(self) -> None:
        """Drop the socket; a new one is made when it is needed."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
