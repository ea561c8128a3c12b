"""The dialect of starVLA's policy servers.

.. code-block:: text

    on connect   server -> client   {"action_chunk_size", "available_unnorm_keys", "default_unnorm_key", ...}
    inference    client -> server   {"examples": [{"image": [uint8 [h, w, 3], ...], "lang"}, ...], "unnorm_key",
                                     "do_sample": False, "use_ddim": True, "num_ddim_steps": 10}
                 server -> client   {"status": "ok", "ok": True, "data": {"actions": float [B, H, A]}}
    failure      server -> client   {"status": "error", "ok": False, "error": {"message"}}, or a text with a traceback

Several observations a request; no reset; actions are un-normalised by the server, by its default statistics where
``unnorm_key`` is null. The order of the images is that of the cameras. Servers also take the same map as ``payload`` of
another with a type and a ``request_id``; starVLA's own clients send it as it is, and so does this one. Source: starVLA
deployment/model_server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.errors import CheckpointError, ServerError
from simrun.policies.conventions import Convention
from simrun.policies.dialects.codecs import pack_openpi, unpack_openpi
from simrun.policies.dialects.connection import ServerAddress, ServerConnection
from simrun.policies.dialects.dialect import Dialect
from simrun.policies.dialects.remote_policy import RemoteOptions, RemotePolicy
from simrun.policies.loaders.loader import LoadRequest
from simrun.policies.policy import Observation

_DDIM_STEPS = 10
_MARKS = ("action_chunk_size", "available_unnorm_keys")


class StarvlaPolicy(RemotePolicy):
    """A policy in a starVLA server.

    Args:
        address: the server.
        greeting: what the server says of itself.
        statistics_key: training set whose statistics un-normalise the actions; None takes the server's default.
        send_state: send the proprioception too, for models that were trained with it.
        max_batch_size: largest number of observations in a request; None sets no limit.

    Raises:
        CheckpointError: the server does not offer the statistics asked for, or several and nobody chose.
        ServerError: it is no starVLA server.
    """

    def __init__(
        self,
        address: ServerAddress,
        greeting: Mapping[str, Any],
        statistics_key: str | None = None,
        send_state: bool = False,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__(address, greeting)
        self._send_state = send_state
        size = greeting.get("training_obs_image_size")
        self._training_size = size if isinstance(size, list | tuple) else None
        length = greeting.get("action_chunk_size")
        if not isinstance(length, int) or length < 1:
            raise ServerError(f"{address.url} is no starVLA server: its greeting names no action_chunk_size")
        self._unnorm_key = statistics_key
        self.spec = self.described(length, max_batch_size=max_batch_size)

    def measure(self, observation: Observation) -> None:
        if self._training_size:
            wanted = list(self._training_size)
            for camera, image in observation.images.items():
                if list(image.shape[:2]) != wanted:
                    raise CheckpointError(
                        f"{self.address.url} was trained on images of {wanted[0]}x{wanted[1]}; the convention sends "
                        f"{camera} as {image.shape[0]}x{image.shape[1]}: state the resize with -p convention=FILE.toml"
                    )
        super().measure(observation)

    def infer(self, observations: Sequence[Observation]) -> npt.NDArray[np.floating]:
        """Predict one chunk for each observation.

        Raises:
            ServerError: the server went away, failed or sent garbage.
        """
        connection = self.connected(0, _greeting)
        request = {
            "examples": [self._example(observation) for observation in observations],
            "unnorm_key": self._unnorm_key,
            "do_sample": False,
            "use_ddim": True,
            "num_ddim_steps": _DDIM_STEPS,
        }
        connection.send(pack_openpi(request))
        return self._actions(connection)

    def _example(self, observation: Observation) -> dict[str, Any]:
        example: dict[str, Any] = {"image": list(observation.images.values()), "lang": observation.instruction}
        if self._send_state:
            example["state"] = observation.proprio[None]
        return example

    def _actions(self, connection: ServerConnection) -> npt.NDArray[np.float32]:
        url, answer = self.address.url, connection.receive_map(unpack_openpi)
        if not answer.get("ok"):
            error = answer.get("error")
            message = error.get("message") if isinstance(error, dict) else error
            raise ServerError(f"the policy server {url} reported: {message}")
        data = answer.get("data")
        actions = data.get("actions") if isinstance(data, dict) else None
        if not isinstance(actions, np.ndarray) or actions.ndim != 3 or actions.dtype.kind != "f":
            held = ", ".join(map(str, data)) if isinstance(data, dict) else "nothing"
            raise ServerError(
                f"the policy server {url} answered without un-normalised actions [B, H, A]; it sent {held}"
            )
        return actions.astype(np.float32)


@dataclass(frozen=True)
class StarvlaOptions(RemoteOptions):
    """Options of starVLA's servers; ``statistics_key`` is their ``unnorm_key``.

    Attributes:
        send_state: send the proprioception, for models that were trained with it.
    """

    send_state: bool = False


class Starvla(Dialect):
    """starVLA's dialect; servers are told by the chunk size and statistics that they greet with."""

    scheme = "starvla"
    family = "starvla"
    options = StarvlaOptions

    def claims(self, greeting: bytes | str | None) -> str | None:
        metadata = unpack_openpi(greeting) if isinstance(greeting, bytes) else None
        mark = next((key for key in _MARKS if isinstance(metadata, dict) and key in metadata), None)
        return None if mark is None else f"its greeting names {mark}"

    def hello(self, connection: ServerConnection) -> Mapping[str, Any]:
        return _greeting(connection)

    def adapt(self, convention: Convention, greeting: Mapping[str, Any], request: LoadRequest[Any]) -> Convention:
        return replace(convention, state=()) if request.options.send_state else convention

    def connect(
        self, address: ServerAddress, request: LoadRequest[Any], convention: Convention, greeting: Mapping[str, Any]
    ) -> RemotePolicy:
        options = request.options
        key = _statistics_key(address, greeting, options.statistics_key, convention.statistics_keys)
        sends_state = options.send_state or (bool(convention.state) and convention.sends_state)
        # A protocol that can batch, with a model that may not: batches are sent only when a size is given.
        return StarvlaPolicy(address, greeting, key, sends_state, options.batch_size or 1)


def _greeting(connection: ServerConnection) -> dict[str, Any]:
    return connection.receive_map(unpack_openpi)


def _statistics_key(
    address: ServerAddress, greeting: Mapping[str, Any], wanted: str | None, usual: Sequence[str]
) -> str | None:
    """The statistics to name in requests: the user's, the harness's own, else none, for the server's default."""
    keys = greeting.get("available_unnorm_keys")
    offered = [str(key) for key in keys] if isinstance(keys, list | tuple | dict) else []
    listing = ", ".join(offered) or "none"
    if wanted is not None:
        if wanted not in offered:
            raise CheckpointError(f"{address.url} has no statistics {wanted}; it offers {listing}")
        return wanted
    known = next((key for key in usual if key in offered), None)
    if known is None and greeting.get("default_unnorm_key") is None and len(offered) > 1:
        raise CheckpointError(f"{address.url} offers statistics of {listing}; choose with -p statistics_key=NAME")
    return known
