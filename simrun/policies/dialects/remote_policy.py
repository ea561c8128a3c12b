"""Policies in servers: their options, their connections, and who answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.processes import LONGEST_WAIT
from simrun.errors import CheckpointError, ServerError, UsageError
from simrun.policies.dialects.connection import ServerAddress, ServerConnection
from simrun.policies.options import ConventionOptions
from simrun.policies.policy import Observation, Policy, PolicySpec


@dataclass(frozen=True)
class RemoteOptions(ConventionOptions):
    """Options of policies in servers; a dialect may add its own.

    Attributes:
        timeout: seconds to wait for an answer.
        first_timeout: the same for the first one, because servers load and compile then.
        token: what the server asks for as a password, sent as its dialect has it.
        max_message_bytes: largest answer accepted.
        batch_size: most observations in one request, where the dialect can batch; None sends them one by one.

    Raises:
        UsageError: a time-out or batch size that is not positive.
    """

    timeout: float = 60.0
    first_timeout: float = 600.0
    token: str | None = None
    max_message_bytes: int = 1 << 26
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "first_timeout"):
            if not 0 < getattr(self, name) <= LONGEST_WAIT:
                raise UsageError(
                    f"the {name} of a policy must be positive, and at most {LONGEST_WAIT:g} s, "
                    f"got {getattr(self, name):g}"
                )
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"the batch size must be at least 1, got {self.batch_size}")


class RemotePolicy(Policy):
    """A policy in a server.

    Args:
        address: the server.
        greeting: what it says of itself.
    """

    def __init__(self, address: ServerAddress, greeting: Mapping[str, Any]) -> None:
        self.address = address
        self._connections: dict[int, ServerConnection] = {}
        self._greeting = greeting_digest(greeting)
        self._probe: Observation | None = None
        self._answer = ""

    def described(self, chunk_length: int = 0, **known: Any) -> PolicySpec:
        """The specification of a policy elsewhere: nobody promises that it answers the same twice."""
        return PolicySpec(self.address.url, chunk_length, deterministic=False, device="remote", **known)

    def measure(self, observation: Observation) -> None:
        """Ask before anything is evaluated: how long chunks are, and who answers.

        It is asked the same twice. Where both answers are equal, what it answers belongs to its identity: servers of
        one kind greet alike whatever network they hold.

        Args:
            observation: as the server will see them.

        Raises:
            ServerError: the server went away, failed or sent garbage.
        """
        with self.address.first_answer():
            chunk = self.infer([observation])[0]
        self.reset([observation.slot])
        again = self.infer([observation])[0]
        self.reset([observation.slot])
        if np.array_equal(chunk, again):
            self._probe, self._answer = observation, answer_digest(chunk)
        if self.spec.chunk_length not in (0, len(chunk)):
            raise ServerError(
                f"the policy server {self.address.url} announces chunks of {self.spec.chunk_length} actions and "
                f"answers with {len(chunk)}"
            )
        identity = hashlib.sha256(f"{self._greeting} {chunk.shape} {self._answer}".encode()).hexdigest()
        self.spec = replace(self.spec, chunk_length=len(chunk), identity=identity)

    def connected(
        self,
        slot: int,
        hello: Callable[[ServerConnection], Mapping[str, Any]],
        ask: Callable[[ServerConnection, Observation], npt.NDArray[np.floating]] | None = None,
    ) -> ServerConnection:
        """The websocket of an environment, opened where it does not stand, to the same server as before.

        Args:
            slot: the environment; one where the server may remember, else always the same number.
            hello: takes the server's greeting from a new connection.
            ask: puts an observation to the server; where a connection was lost, the first question is put again.

        Raises:
            CheckpointError: another server is behind the address than before.
            ServerError: it cannot be reached, or speaks something else.
        """
        connection = self._connections.setdefault(slot, ServerConnection(self.address))
        if not connection.is_open:
            connection.open()
            self.check_greeting(hello(connection))
            if connection.openings > 1 and ask is not None:
                self.check_answer(partial(ask, connection))
        return connection

    def close(self) -> None:
        self.reset(list(self._connections))
        for connection in self._connections.values():
            connection.close()

    def check_greeting(self, greeting: Mapping[str, Any]) -> None:
        """Check, when a connection was opened again, that the same server is behind the address.

        Raises:
            CheckpointError: it says something else of itself than before.
        """
        if greeting_digest(greeting) != self._greeting:
            raise CheckpointError(_another(self.address, "its greeting has changed"))

    def check_answer(self, ask: Callable[[Observation], npt.NDArray[np.floating]]) -> None:
        """Check, after a connection was lost, that what answered the first question answers it as it did.

        Args:
            ask: puts an observation to the server.

        Raises:
            CheckpointError: the answer is another one.
        """
        if self._probe is not None and answer_digest(ask(self._probe)) != self._answer:
            raise CheckpointError(_another(self.address, "it answers the same question otherwise"))


def _another(address: ServerAddress, sign: str) -> str:
    return (
        f"another policy answers at {address.url} than before: {sign}; episodes of two policies would be one row. "
        "Evaluate it under an address or into a folder of its own"
    )


def answer_digest(chunk: npt.NDArray[np.floating]) -> str:
    """SHA-256 of an answer to three digits: another card of the same kind may round the last ones otherwise."""
    return hashlib.sha256(",".join(f"{value:.2e}" for value in chunk.ravel()).encode()).hexdigest()


def greeting_digest(greeting: Mapping[str, Any]) -> str:
    """SHA-256 of what a server says of itself, hexadecimal.

    Raises:
        ServerError: it names its fields by texts and by other things.
    """
    try:
        return hashlib.sha256(json.dumps(greeting, sort_keys=True, default=repr).encode()).hexdigest()
    except TypeError as error:
        raise ServerError(f"the policy server's greeting has fields whose names are no texts: {error}") from None
