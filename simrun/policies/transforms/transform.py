"""The two kinds of transforms, of what a network sees and of the actions that it predicts, and how a list is made.

A package offers one as an entry point of the group ``simrun.transforms``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from simrun import doors
from simrun.envs import ActionSpec, Benchmark
from simrun.errors import UnknownNameError, UsageError
from simrun.policies.options import ConventionOptions
from simrun.policies.policy import Observation

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class TransformContext:
    """What a transform may know when it is made.

    Attributes:
        benchmark: the benchmark on the other side.
        folder: folder of the checkpoint, that relative file names start from.
        action_mode: the benchmark's control mode in use; None means the default one.
        options: the user's options.
    """

    benchmark: Benchmark
    folder: Path = Path()
    action_mode: str | None = None
    options: ConventionOptions = field(default_factory=ConventionOptions)

    @property
    def action_spec(self) -> ActionSpec:
        """The action convention that actions must end in."""
        return self.benchmark.action_specs[self.action_mode or self.benchmark.default_action_mode]


_LARGEST = 100_000
_PLAIN = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


class Transform(ABC):
    """Base of all transforms; a dataclass whose fields are the parameters that a sidecar may set.

    Class attributes:
        name: name in sidecars and presets.
        stateful: it remembers something of each slot until `reset`.
    """

    name: ClassVar[str]
    stateful: ClassVar[bool] = False

    @classmethod
    def build(cls, parameters: Mapping[str, Any], context: TransformContext) -> Self:
        """Make one from the parameters of a sidecar.

        Raises:
            UsageError: an unknown, missing or illegal parameter.
        """
        own: list[Any] = [entry for entry in fields(cls) if entry.init] if is_dataclass(cls) else []
        known = {entry.name: str(entry.type) for entry in own}
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            takes = ", ".join(known) or "no parameter"
            raise UsageError(f"transform {cls.name} takes {takes}; got {', '.join(unknown)}")
        for name, value in parameters.items():
            # True is a whole number to Python, and 1.0 none.
            if known[name] in _PLAIN and type(value) not in _PLAIN[known[name]]:
                raise UsageError(f"transform {cls.name}: {name} must be of type {known[name]}, got {value!r:.100}")
            if type(value) is int and abs(value) > _LARGEST:
                raise UsageError(
                    f"transform {cls.name}: {name} is {value!r:.100}, and no policy's is beyond {_LARGEST}"
                )
        try:
            return cls(**parameters)
        except (TypeError, ValueError) as error:
            raise UsageError(f"transform {cls.name}: {error}") from None

    def reset(self, slots: Sequence[int]) -> None:  # noqa: B027 (stateless transforms need nothing here)
        """Forget what was seen in these slots."""


class ObservationTransform(Transform):
    """Changes what a network sees: images, proprioception or instruction."""

    @abstractmethod
    def apply(self, observation: Observation) -> Observation:
        """The changed observation; the given one is left as it is."""

    def cameras_needed(self, cameras: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Cameras to observe, given those wanted of the changed observation; None means the protocol's."""
        return cameras

    def history_needed(self, history: int) -> int:
        """Observations of consecutive control steps to look at, given those that the changed observation needs."""
        return history


class ActionTransform(Transform):
    """Changes predicted actions, from the network's convention towards the benchmark's."""

    @abstractmethod
    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        """Change one chunk.

        Args:
            chunk: ``[H, A]`` as the network (or the transform before) gave it; not to be written to.
            observation: the untransformed observation that the chunk was predicted from.

        Returns:
            ``[H', A']``.
        """

    def chunk_length(self, length: int) -> int:
        """Actions in the changed chunk, given those in the predicted one."""
        return length


def build_transforms(entries: Sequence[Mapping[str, Any]], context: TransformContext, where: str) -> list[Transform]:
    """Make transforms from tables.

    Args:
        entries: tables with the name of a transform and its parameters, as conventions hold them.
        context: what the transforms may know.
        where: the file it comes from, for messages.

    Raises:
        UnknownNameError: an unknown transform.
        UsageError: wrong parameters, or what is offered under a name is no transform.
    """
    transforms = []
    for entry in entries:
        parameters = dict(entry)
        name = parameters.pop("name")
        if name not in doors.offers(doors.TRANSFORMS):
            raise UnknownNameError(f"transform (in {where})", name, list(doors.offers(doors.TRANSFORMS)))
        found = doors.load(doors.target_of(doors.TRANSFORMS, name, "transform"), "transform")
        if not (isinstance(found, type) and issubclass(found, Transform)):
            raise UsageError(f"{where}: {name} is no simrun.policies.transforms.transform.Transform")
        transforms.append(found.build(parameters, context))
    return transforms
