"""Requests over HTTP to a policy server, with time-outs, a size limit and errors in one sentence."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from simrun.envs.machine.regular_files import parse_json
from simrun.errors import ServerError
from simrun.policies.dialects.connection import ServerAddress
from simrun.policies.foreign import cause_of

_SHOWN = 200


class WebConnection:
    """A connection that is kept from request to request, and opened again where the server has closed it.

    Args:
        address: the server; its token is sent as ``Authorization: Api-Key TOKEN``.
    """

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None

    def post(self, path: str, body: bytes, content_type: str) -> Any:
        """The JSON that answers a request.

        Raises:
            ServerError: the server cannot be reached, gives no answer in time, refuses, or sends no JSON.
        """
        kept = self._connection is not None
        late = threading.Event()
        # A socket's own time-out begins anew with every byte.
        ending = threading.Timer(self.address.patience[0], self._cut, [late])
        ending.daemon = True
        ending.start()
        try:
            try:
                status, kind, data = self._exchange(path, body, content_type)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not kept or late.is_set():
                    raise
                # A server may close a connection that nobody used for a while; nothing of this request was answered.
                self.close()
                status, kind, data = self._exchange(path, body, content_type)
            if late.is_set():
                raise TimeoutError
        except TimeoutError:
            self.close()
            raise self.address.silent() from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            if late.is_set():
                raise self.address.silent() from None
            raise ServerError(
                f"the policy server {self.address.url} cannot be reached: {cause_of(error)}; is it running?"
            ) from None
        finally:
            ending.cancel()
        return self._decoded(f"{self.address.url}{path}", status, kind, data)

    def close(self) -> None:
        """Drop the connection; it is opened again when it is needed."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None

    def _cut(self, late: threading.Event) -> None:
        late.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self, path: str, body: bytes, content_type: str) -> tuple[int, str, bytes]:
        if self._connection is None:
            parts = urlsplit(self.address.url)
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._connection.timeout = self.address.patience[0]
        if self._connection.sock is None:
            self._connection.connect()
        # The connection itself forgets its socket where a server will close it.
        self._socket = self._connection.sock
        self._socket.settimeout(self._connection.timeout)
        token = {} if self.address.token is None else {"Authorization": f"Api-Key {self.address.token}"}
        self._connection.request("POST", path, body, {"Content-Type": content_type, **token})
        answer = self._connection.getresponse()
        data = answer.read(self.address.max_message_bytes + 1)
        return answer.status, answer.headers.get_content_type(), data

    def _decoded(self, url: str, status: int, kind: str, data: bytes) -> Any:
        if len(data) > self.address.max_message_bytes:
            self.close()
            raise ServerError(f"{url} answered with more than {self.address.max_message_bytes} bytes")
        try:
            answer = parse_json(data)
        except ValueError:
            shown = " ".join(data[:_SHOWN].decode(errors="replace").split())
            raise ServerError(
                f"{url} answered with status {status} and {kind}, no JSON: {shown}; is a policy server there?"
            ) from None
        if status != http.client.OK:
            reason = answer.get("error") or answer.get("detail") if isinstance(answer, dict) else answer
            raise ServerError(f"the policy server {url} reported {status}: {str(reason)[:_SHOWN]}")
        return answer
