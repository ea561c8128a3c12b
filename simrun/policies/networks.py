"""Exported networks (ONNX, torch.export, TorchScript) as policies: tensors recognised by their names.

The interface, shared by every exported format; any subset of the inputs may be there:

.. code-block:: text

    image_<camera>   uint8 or float32  [B, height, width, 3]   RGB, 0..255
    proprio          float32           [B, n]                  the benchmark's proprioception
    instruction      int64             [B, T]                  word ids, see Vocabulary
    noise            float32           [B, ...]                standard normal, from the episode's generator
    -> actions       float32           [B, H, A]               one chunk
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs import Benchmark
from simrun.envs.machine.regular_files import parse_json
from simrun.errors import CheckpointError, PolicyOutputError, SimrunError
from simrun.policies.conventions import Convention, entries_of
from simrun.policies.loaders.loader import Needs
from simrun.policies.policy import Observation, Policy, PolicySpec

Arrays = Mapping[str, npt.NDArray[np.generic]]
"""Name -> array ``[B, ...]``, what a network is fed."""

IMAGE_PREFIX = "image_"
OUTPUT = "actions"
METADATA_KEYS = (
    "simrun.benchmark",
    "simrun.chunk_length",
    "simrun.action_mode",
    "simrun.cameras",
    "simrun.vocabulary",
    "simrun.instruction_length",
    "simrun.deterministic",
    "simrun.transforms",
)
"""Keys that an exporter may write into the file; all values are text."""

PADDING_ID = 0
UNKNOWN_ID = 1
FIRST_WORD_ID = 2

_RANKS = {"proprio": 2, "instruction": 2, "noise": None, "image": 4}
_TYPES = {"image": ("uint8", "float32"), "proprio": ("float32",), "instruction": ("int64",), "noise": ("float32",)}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a network.

    Attributes:
        name: its name.
        dtype: numpy name of its element type.
        shape: its dimensions; None where any size is accepted.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def role(self) -> str:
        """``image``, ``proprio``, ``instruction`` or ``noise``; the name itself when it is none of these."""
        return "image" if self.name.startswith(IMAGE_PREFIX) else self.name

    @property
    def camera(self) -> str:
        """The camera of an image input."""
        return self.name.removeprefix(IMAGE_PREFIX)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class Network:
    """An exported network, ready to run.

    Attributes:
        name: name for tables and messages.
        device: where it computes, ``cpu`` or ``cuda:N``.
        inputs: its inputs, as far as the file tells.
        output: the tensor ``actions``.
        metadata: entries of `METADATA_KEYS` found in the file.
        run: name -> array ``[B, ...]``, to actions ``[B, H, A]``; raises CheckpointError when the network fails.
    """

    name: str
    device: str
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    metadata: Mapping[str, str]
    run: Callable[[Arrays], npt.NDArray[np.floating]]


class NetworkPolicy(Policy):
    """Feeds observations to an exported network.

    Args:
        network: the network.
        benchmark: the benchmark whose observations it is fed.
        batch_size: pad every batch to this size; None sends batches as they come, where the network allows it.

    Raises:
        CheckpointError: the network has inputs, types or metadata that do not fit the benchmark.
    """

    def __init__(self, network: Network, benchmark: Benchmark, batch_size: int | None = None) -> None:
        self._network = network
        self._benchmark = benchmark
        self._inputs = {entry.name: entry for entry in network.inputs}
        self._batch_size = _batch_size(network, batch_size)
        metadata = network.metadata
        made_for = metadata.get("simrun.benchmark", "")
        if made_for and benchmark.name not in made_for.split(","):
            raise CheckpointError(f"{network.name} was exported for {made_for}, not for {benchmark.name}")
        for entry in network.inputs:
            _check_input(entry, network.name)
        action_mode = metadata.get("simrun.action_mode") or None
        if action_mode is not None and action_mode not in benchmark.action_specs:
            known = ", ".join(benchmark.action_specs)
            raise CheckpointError(f"{network.name} wants action mode {action_mode}; {benchmark.name} has {known}")
        cameras = tuple(entry.camera for entry in network.inputs if entry.role == "image")
        declared = tuple(name for name in metadata.get("simrun.cameras", "").split(",") if name)
        if declared and set(declared) != set(cameras):
            inputs = ", ".join(cameras) or "none"
            raise CheckpointError(
                f"{network.name} declares cameras {', '.join(declared)} but has image inputs for {inputs}"
            )
        self._vocabulary = _vocabulary(network)
        stochastic = "noise" in self._inputs or _flag(metadata, "simrun.deterministic", network.name) is False
        self.spec = PolicySpec(
            network.name,
            _chunk_length(network),
            cameras=cameras,
            action_mode=action_mode,
            deterministic=not stochastic,
            max_batch_size=self._batch_size,
            device=network.device,
        )

    def infer(self, observations: Sequence[Observation]) -> npt.NDArray[np.floating]:
        """Predict one chunk for each observation.

        Raises:
            CheckpointError: an observation does not fit the network's inputs.
            PolicyOutputError: the network's answer has another shape than announced.
        """
        inputs = {
            name: np.stack([self._value(entry, observation) for observation in observations])
            for name, entry in self._inputs.items()
        }
        actions = run_in_batches(self._network.run, inputs, len(observations), self._batch_size)
        if actions.ndim != 3 or actions.shape[:2] != (len(observations), self.spec.chunk_length):
            raise PolicyOutputError(
                f"{self.spec.name} returned actions of shape {list(actions.shape)}; expected "
                f"[{len(observations)}, {self.spec.chunk_length}, action dimension]"
            )
        return actions

    def _value(self, entry: TensorSpec, observation: Observation) -> npt.NDArray[Any]:
        if entry.role == "image":
            return self._image(entry, observation)
        if entry.role == "proprio":
            return self._proprio(entry, observation)
        if entry.role == "instruction":
            assert self._vocabulary is not None
            return self._vocabulary.encode(observation.instruction)
        shape = [size for size in entry.shape[1:] if size is not None]
        return observation.generator.standard_normal(shape, dtype=np.float32)

    def _proprio(self, entry: TensorSpec, observation: Observation) -> npt.NDArray[np.float32]:
        wanted = entry.shape[1]
        if wanted is not None and len(observation.proprio) != wanted:
            raise CheckpointError(
                f"{self.spec.name} wants {wanted} values of proprioception and gets {len(observation.proprio)} "
                f"({', '.join(self._benchmark.proprio_names)}); name a select_proprio in the transforms of simrun.toml"
            )
        return observation.proprio

    def _image(self, entry: TensorSpec, observation: Observation) -> npt.NDArray[Any]:
        image = observation.images[entry.camera]
        for size, wanted in zip(image.shape, entry.shape[1:], strict=False):
            if wanted is not None and size != wanted:
                raise CheckpointError(
                    f"{self.spec.name} wants images of {entry.camera} as {list(entry.shape[1:])}, the protocol gives "
                    f"{list(image.shape)}; name a resize in the transforms of simrun.toml, so that the method is stated"
                )
        return image.astype(entry.dtype, copy=False)


def run_in_batches(
    run: Callable[[Arrays], npt.NDArray[np.floating]], inputs: Arrays, rows: int, size: int | None
) -> npt.NDArray[np.floating]:
    """Run a network on rows of inputs, in batches of exactly ``size`` where one is given.

    Padding repeats the last row; what the network answers for it is dropped. A constant batch size also keeps the
    numbers of a row from depending on how many others are asked at the same moment, because linear-algebra
    libraries choose other summation orders for other sizes.

    Args:
        run: maps arrays ``[B, ...]`` to actions ``[B, H, A]``.
        inputs: name -> array ``[rows, ...]``; may be empty for a network without inputs.
        rows: number of rows.
        size: the batch size, None for one batch of all rows.

    Returns:
        ``[rows, H, A]``.
    """
    if size is None:
        return run(inputs)
    parts = []
    for start in range(0, rows, size):
        count = min(size, rows - start)
        batch = {name: array[start : start + count] for name, array in inputs.items()}
        if count < size:
            batch = {
                name: np.concatenate([array, np.repeat(array[-1:], size - count, axis=0)])
                for name, array in batch.items()
            }
        parts.append(run(batch)[:count])
    return np.concatenate(parts)


class Vocabulary:
    """Turns instructions into word ids: lower case, split at everything that is no letter.

    Id 0 pads, id 1 is an unknown word, word i of the list has id i + 2.

    Args:
        words: the known words.
        length: ids in an encoded instruction; longer ones are cut.
    """

    def __init__(self, words: list[str], length: int) -> None:
        self._ids = {word: index + FIRST_WORD_ID for index, word in enumerate(words)}
        self.length = length

    @classmethod
    def from_json(cls, text: str, length: int) -> Vocabulary:
        """Read a JSON list of words.

        Raises:
            CheckpointError: the text is no JSON list of words.
        """
        try:
            words = parse_json(text)
        except ValueError as error:
            raise CheckpointError(f"the vocabulary of the checkpoint {error}") from None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise CheckpointError("the vocabulary of the checkpoint must be a JSON list of words")
        return cls(words, length)

    def encode(self, instruction: str) -> npt.NDArray[np.int64]:
        """Ids of an instruction, int64 ``[length]``."""
        words = re.findall(r"[a-z]+", instruction.lower())[: self.length]
        ids = np.full(self.length, PADDING_ID, np.int64)
        ids[: len(words)] = [self._ids.get(word, UNKNOWN_ID) for word in words]
        return ids


def own_convention(network: Network) -> Convention:
    """The convention of an exported network: the transforms that its exporter wrote into the file.

    Whoever names its tensors as above says that they hold what the benchmark gives and takes.

    Raises:
        CheckpointError: the transforms in the file are no JSON list.
    """
    text = network.metadata.get("simrun.transforms", "") or "[]"
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"simrun.transforms of {network.name} {error}") from None
    if not isinstance(entries, list):
        raise CheckpointError(f"simrun.transforms of {network.name} must be a JSON list of names or tables")
    return Convention(network.name, actions=entries_of(entries, f"simrun.transforms of {network.name}"))


def describe_network(network: Network) -> dict[str, str]:
    """Property -> value, for ``simrun inspect``."""
    cameras = [f"{entry.camera} {_size(entry)}" for entry in network.inputs if entry.role == "image"]
    properties = {
        "inputs": "; ".join(str(entry) for entry in network.inputs) or "none",
        "output": str(network.output),
        "cameras": ", ".join(cameras) or "none",
    }
    try:
        properties["chunk length"] = str(_chunk_length(network))
    except SimrunError as error:
        properties["chunk length"] = f"unknown: {error}"
    properties.update({key: value for key, value in network.metadata.items() if key in METADATA_KEYS and value})
    return properties


def network_needs(network: Network) -> Needs:
    """What a network asks of a benchmark."""
    shapes = {entry.role: entry.shape for entry in network.inputs}
    made_for = network.metadata.get("simrun.benchmark", "")
    return Needs(
        cameras=tuple(entry.camera for entry in network.inputs if entry.role == "image"),
        actions=network.output.shape[2] if len(network.output.shape) == 3 else None,
        proprio=shapes["proprio"][1] if "proprio" in shapes else 0,
        benchmarks=tuple(made_for.split(",")) if made_for else None,
    )


def _size(entry: TensorSpec) -> str:
    height, width = entry.shape[1:3]
    return "any size" if height is None or width is None else f"{height}x{width}"


def _check_input(entry: TensorSpec, name: str) -> None:
    if entry.role not in _TYPES:
        raise CheckpointError(
            f"{name} has an input {entry}; known inputs are image_<camera>, proprio, instruction and noise"
        )
    if entry.dtype not in _TYPES[entry.role]:
        raise CheckpointError(f"{name} has an input {entry}; its type must be {' or '.join(_TYPES[entry.role])}")
    rank = _RANKS[entry.role]
    if rank is not None and len(entry.shape) != rank:
        raise CheckpointError(f"{name} has an input {entry}; it must have {rank} dimensions")
    if entry.role == "noise" and None in entry.shape[1:]:
        raise CheckpointError(f"{name} has an input {entry}; all its dimensions but the first must be fixed")


def _batch_size(network: Network, wanted: int | None) -> int | None:
    fixed = {entry.shape[0] for entry in (*network.inputs, network.output) if entry.shape and entry.shape[0]}
    if len(fixed) > 1:
        raise CheckpointError(f"the tensors of {network.name} disagree about the batch size: {sorted(fixed)}")
    return fixed.pop() if fixed else wanted


def _chunk_length(network: Network) -> int:
    from_shape = network.output.shape[1] if len(network.output.shape) == 3 else None
    text = network.metadata.get("simrun.chunk_length", "")
    if text and not text.isdecimal():
        raise CheckpointError(f"simrun.chunk_length of {network.name} is {text!r}, no number")
    declared = int(text) if text else None
    if declared and from_shape and declared != from_shape:
        raise CheckpointError(f"{network.name} declares chunks of {declared} actions but gives {from_shape}")
    length = declared or from_shape
    if not length:
        raise CheckpointError(
            f"the chunk length of {network.name} cannot be told from its output {network.output}; "
            "export it with the metadata simrun.chunk_length"
        )
    return length


def _vocabulary(network: Network) -> Vocabulary | None:
    entry = next((entry for entry in network.inputs if entry.role == "instruction"), None)
    if entry is None:
        return None
    words = network.metadata.get("simrun.vocabulary", "")
    length = network.metadata.get("simrun.instruction_length", "") or str(entry.shape[1] or "")
    if not words or not length.isdecimal():
        raise CheckpointError(
            f"{network.name} reads the instruction but does not say how it is encoded; export it with the metadata "
            "simrun.vocabulary and simrun.instruction_length"
        )
    if entry.shape[1] not in (None, int(length)):
        raise CheckpointError(f"{network.name} declares instructions of {length} words but its input is {entry}")
    return Vocabulary.from_json(words, int(length))


def _flag(metadata: Mapping[str, str], key: str, name: str) -> bool | None:
    text = metadata.get(key, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise CheckpointError(f"{key} of {name} is {text!r}; it must be true or false")
    return None if not text else text in ("true", "1")
