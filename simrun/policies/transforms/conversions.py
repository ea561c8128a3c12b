"""Transforms between action conventions: order and number of dimensions, delta and absolute, forms of rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Formatter
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.errors import CheckpointError, UnknownNameError, UsageError
from simrun.policies.foreign import require_module
from simrun.policies.policy import Observation
from simrun.policies.transforms.rotations import SIZES, convert_rotation
from simrun.policies.transforms.transform import ActionTransform, ObservationTransform


@dataclass(frozen=True)
class SelectActions(ActionTransform):
    """``select_actions``: choose and order dimensions, for networks that predict more or in another order.

    Attributes:
        dimensions: for each dimension of the result, the predicted dimension that it is.
    """

    name = "select_actions"
    dimensions: Sequence[int]

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        return _select(chunk, self.dimensions, self.name)


@dataclass(frozen=True)
class PadActions(ActionTransform):
    """``pad_actions``: append dimensions that a network does not predict.

    Attributes:
        dimension: number of dimensions of the result.
        value: value of the appended ones.
    """

    name = "pad_actions"
    dimension: int
    value: float = 0.0

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        missing = self.dimension - chunk.shape[1]
        if missing < 0:
            raise CheckpointError(f"transform {self.name}: the policy predicts {chunk.shape[1]} dimensions already")
        return np.pad(chunk, ((0, 0), (0, missing)), constant_values=self.value)


@dataclass(frozen=True)
class TruncateChunk(ActionTransform):
    """``truncate_chunk``: keep the first actions of each chunk.

    Attributes:
        length: number of actions kept.
    """

    name = "truncate_chunk"
    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"transform {self.name}: length must be at least 1, got {self.length}")

    def chunk_length(self, length: int) -> int:
        return min(length, self.length)

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        return chunk[: self.length]


@dataclass(frozen=True)
class StateRelative(ActionTransform):
    """Base of transforms between changes and targets.

    Attributes:
        dimensions: action dimensions that are converted.
        proprio: index of the proprioception that each of them is about.
        cumulative: each change is from the action before it; otherwise all are from the state at the chunk's
            start, as openpi's are.
    """

    dimensions: Sequence[int]
    proprio: Sequence[int]
    cumulative: bool = False

    def __post_init__(self) -> None:
        sizes = len(self.dimensions), len(self.proprio)
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"transform {self.name}: dimensions and proprio must have one length, got {sizes[0]} and {sizes[1]}"
            )


class DeltaToAbsolute(StateRelative):
    """``delta_to_absolute``: add the present state to predicted changes; parameters of `StateRelative`."""

    name = "delta_to_absolute"

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        changed = chunk.copy()
        deltas = _select(chunk, self.dimensions, self.name)
        if self.cumulative:
            deltas = np.cumsum(deltas, axis=0)
        changed[:, list(self.dimensions)] = deltas + observation.proprio[list(self.proprio)]
        return changed


class AbsoluteToDelta(StateRelative):
    """``absolute_to_delta``: subtract the present state from predicted targets; parameters of `StateRelative`."""

    name = "absolute_to_delta"

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        changed = chunk.copy()
        targets = _select(chunk, self.dimensions, self.name)
        state = observation.proprio[list(self.proprio)].astype(chunk.dtype)
        if self.cumulative:
            changed[:, list(self.dimensions)] = np.diff(targets, axis=0, prepend=state[None])
        else:
            changed[:, list(self.dimensions)] = targets - state
        return changed


@dataclass(frozen=True)
class ConvertRotation(ActionTransform):
    """``convert_rotation``: change the form in which actions hold a rotation.

    Attributes:
        source: form that the network predicts, see `simrun.policies.transforms.rotations`.
        target: form that the benchmark wants.
        start: first dimension of the rotation.
    """

    name = "convert_rotation"
    source: str
    target: str
    start: int = 3

    def __post_init__(self) -> None:
        _check_forms(self.source, self.target)

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        return _convert(chunk, self.start, self.source, self.target, self.name).astype(chunk.dtype)


@dataclass(frozen=True)
class ConvertProprioRotation(ObservationTransform):
    """``convert_proprio_rotation``: change the form in which the proprioception holds a rotation.

    Attributes:
        source: form that the benchmark gives.
        target: form that the network was trained on.
        start: first value of the rotation.
    """

    name = "convert_proprio_rotation"
    source: str
    target: str
    start: int = 3

    def __post_init__(self) -> None:
        _check_forms(self.source, self.target)

    def apply(self, observation: Observation) -> Observation:
        changed = _convert(observation.proprio[None], self.start, self.source, self.target, self.name)[0]
        return replace(observation, proprio=changed.astype(np.float32))


@dataclass(frozen=True)
class SelectProprio(ObservationTransform):
    """``select_proprio``: choose and order values of the proprioception; an empty list leaves none.

    Attributes:
        dimensions: for each value of the result, the index of the value that it is.
    """

    name = "select_proprio"
    dimensions: Sequence[int]

    def apply(self, observation: Observation) -> Observation:
        selected = _select(observation.proprio[None], self.dimensions, self.name)[0]
        return replace(observation, proprio=selected)


@dataclass(frozen=True)
class ScaleProprio(ObservationTransform):
    """``scale_proprio``: ``x * factor + offset`` for values of the proprioception: an opening from 0 to 1 as -1 to 1.

    Attributes:
        dimensions: the values changed.
        factor: multiplied with them.
        offset: added to them.
    """

    name = "scale_proprio"
    dimensions: Sequence[int]
    factor: float
    offset: float = 0.0

    def apply(self, observation: Observation) -> Observation:
        chosen = _select(observation.proprio[None], self.dimensions, self.name)[0]
        changed = observation.proprio.copy()
        changed[list(self.dimensions)] = chosen * self.factor + self.offset
        return replace(observation, proprio=changed)


@dataclass(frozen=True)
class AppendProprio(ObservationTransform):
    """``append_proprio``: append numbers that are always the same, where a network was trained with them.

    Attributes:
        values: the numbers.
    """

    name = "append_proprio"
    values: Sequence[float]

    def apply(self, observation: Observation) -> Observation:
        values = np.asarray(self.values, observation.proprio.dtype)
        return replace(observation, proprio=np.concatenate([observation.proprio, values]))


@dataclass(frozen=True)
class PadProprio(ObservationTransform):
    """``pad_proprio``: append zeros, for networks with a state of a fixed size.

    Attributes:
        size: values of the result.
    """

    name = "pad_proprio"
    size: int

    def apply(self, observation: Observation) -> Observation:
        missing = self.size - len(observation.proprio)
        if missing < 0:
            raise CheckpointError(f"transform {self.name}: the state has {len(observation.proprio)} values already")
        return replace(observation, proprio=np.pad(observation.proprio, (0, missing)))


@dataclass(frozen=True)
class FoldAxisAngle(ObservationTransform):
    """``fold_axis_angle``: a rotation vector longer than pi becomes the shorter one of the same rotation.

    A vector made of a quaternion is longer than pi where w is negative; harnesses that turn the quaternion's sign first
    never give one.

    Attributes:
        start: first value of the rotation vector.
    """

    name = "fold_axis_angle"
    start: int = 3

    def apply(self, observation: Observation) -> Observation:
        proprio = _with_vector(observation.proprio, self.start, self.name)
        vector = proprio[self.start : self.start + 3]
        angle = np.linalg.norm(vector)
        if angle > np.pi:
            vector *= (angle - 2 * np.pi) / angle
        return replace(observation, proprio=proprio.astype(observation.proprio.dtype))


@dataclass(frozen=True)
class SinglePrecisionRotation(ObservationTransform):
    """``single_precision_rotation``: a rotation vector as it comes of a quaternion in single precision.

    Turns of less than half a milliradian are lost on the way; LeRobot's environment computes so.

    Attributes:
        start: first value of the rotation vector.
    """

    name = "single_precision_rotation"
    start: int = 3

    def apply(self, observation: Observation) -> Observation:
        proprio = _with_vector(observation.proprio, self.start, self.name)
        vector = proprio[self.start : self.start + 3]
        angle = np.linalg.norm(vector)
        axis = vector / angle if angle > 0 else vector
        w = np.clip(np.float32(np.cos(angle / 2)), np.float32(-1), np.float32(1))
        imaginary = (axis * np.sin(angle / 2)).astype(np.float32)
        length = np.sqrt(max(np.float32(1) - w * w, np.float32(0)))
        rounded = imaginary / length * (2 * np.arccos(w)) if length > 1e-10 else np.zeros(3)
        proprio[self.start : self.start + 3] = rounded
        return replace(observation, proprio=proprio.astype(np.float32))


@dataclass(frozen=True)
class TurnAxisAngle(ObservationTransform):
    """``turn_axis_angle``: the orientation of another part of the same body, ``R @ by``.

    Attributes:
        by: rotation matrix from the other part's frame to the present one's, three rows of three.
        start: first value of the rotation vector.
    """

    name = "turn_axis_angle"
    by: Sequence[Sequence[float]]
    start: int = 3

    def apply(self, observation: Observation) -> Observation:
        proprio = _with_vector(observation.proprio, self.start, self.name)
        Rotation = _rotation(self.name)
        rotation = Rotation.from_rotvec(proprio[self.start : self.start + 3]) * Rotation.from_matrix(self.by)
        proprio[self.start : self.start + 3] = rotation.as_rotvec()
        return replace(observation, proprio=proprio.astype(observation.proprio.dtype))


@dataclass(frozen=True)
class AdvancePose(ObservationTransform):
    """``advance_pose``: the pose of a point of the same body: a position and a quaternion w x y z, seven values.

    Attributes:
        by: where the point lies in the body's frame, in metres.
    """

    name = "advance_pose"
    by: Sequence[float]

    def apply(self, observation: Observation) -> Observation:
        if len(observation.proprio) != 7:
            raise CheckpointError(f"transform {self.name} takes the 7 values of a pose, got {len(observation.proprio)}")
        Rotation = _rotation(self.name)
        pose = observation.proprio.astype(np.float64)
        pose[:3] += Rotation.from_quat(np.roll(pose[3:], -1)).apply(self.by)
        return replace(observation, proprio=pose.astype(observation.proprio.dtype))


@dataclass(frozen=True)
class AppendOpening(ObservationTransform):
    """``append_opening``: append how far the fingers are open, from their positions: 1 open, 0 closed, not above 1.

    Attributes:
        fingers: indices of the fingers' positions; their mean counts.
        closed: position at which they are closed.
        opened: position at which they are open.
    """

    name = "append_opening"
    fingers: Sequence[int]
    closed: float
    opened: float

    def apply(self, observation: Observation) -> Observation:
        (positions,) = _select(observation.proprio[None], self.fingers, self.name).astype(np.float64)
        closedness = float(np.mean((self.opened - positions) / (self.opened - self.closed)))
        opening = np.asarray([1 - max(closedness, 0.0)], observation.proprio.dtype)
        return replace(observation, proprio=np.concatenate([observation.proprio, opening]))


@dataclass(frozen=True)
class Prompt(ObservationTransform):
    """``prompt``: put the instruction into a sentence.

    Attributes:
        template: the sentence; ``{instruction}`` is the instruction, ``{lower}`` the same in lower case, ``{task}`` the
            name of the task with spaces.
    """

    name = "prompt"
    template: str

    def __post_init__(self) -> None:
        try:
            parts = list(Formatter().parse(self.template))
        except ValueError:
            parts = [("", "?", "", None)]
        # A width could fill the memory, and a dot would reach into what is no text.
        if any(part[1] not in (None, "instruction", "lower", "task") or part[2] or part[3] for part in parts):
            raise UsageError(
                f"transform {self.name}: {self.template!r} may hold {{instruction}}, {{lower}} and {{task}} alone"
            )

    def apply(self, observation: Observation) -> Observation:
        instruction = observation.instruction
        task = observation.episode.task.replace("_", " ")
        sentence = self.template.format(instruction=instruction, lower=instruction.lower(), task=task)
        return replace(observation, instruction=sentence)


@dataclass(frozen=True)
class FromToolFrame(ActionTransform):
    """``from_tool_frame``: changes of position and rotation in the tool's frame become those in the world's.

    The tool's pose is the state at the chunk's start; angles are extrinsic xyz Euler angles, in the order roll, pitch,
    yaw.

    - ``pose``: the next pose is put together, and the present one subtracted, number by number (VLM4VLA's evaluation
      of chains without its option for raw actions);
    - ``infinitesimal``: rotations are scaled down by 100 first and up afterwards, and read with the axes in the other
      order, as RoboVLMs' ``tcp_to_world_frame`` does.

    Attributes:
        rule: ``pose`` or ``infinitesimal``.
        rotation: index of the first Euler angle of the tool in the proprioception.
        start: first dimension of the position in the action; the rotation follows it.
    """

    name = "from_tool_frame"
    rule: str = "pose"
    rotation: int = 3
    start: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("pose", "infinitesimal"):
            raise UnknownNameError("rule of from_tool_frame", self.rule, ["pose", "infinitesimal"])

    def apply(self, chunk: npt.NDArray[np.floating], observation: Observation) -> npt.NDArray[np.floating]:
        euler = observation.proprio[self.rotation : self.rotation + 3].astype(np.float64)
        moves = chunk[:, self.start : self.start + 3].astype(np.float64)
        turns = chunk[:, self.start + 3 : self.start + 6].astype(np.float64)
        Rotation = _rotation(self.name)
        if self.rule == "pose":
            tool = Rotation.from_euler("xyz", euler)
            turned = (tool * Rotation.from_euler("xyz", turns)).as_euler("xyz") - euler
        else:
            tool = Rotation.from_euler("XYZ", euler)
            small = (tool * Rotation.from_euler("XYZ", 0.01 * turns).inv()).as_euler("XYZ") - euler
            turned = 100 * np.where(
                small < -np.pi, small + 2 * np.pi, np.where(small > np.pi, small - 2 * np.pi, small)
            )
        changed = chunk.copy()
        changed[:, self.start : self.start + 3] = tool.apply(moves)
        changed[:, self.start + 3 : self.start + 6] = turned
        return changed


def _with_vector(proprio: npt.NDArray[np.float32], start: int, name: str) -> npt.NDArray[np.float64]:
    if not 0 <= start <= len(proprio) - 3:
        raise CheckpointError(
            f"transform {name} looks for a rotation vector in values {start} to {start + 2}, but there are "
            f"{len(proprio)}"
        )
    return proprio.astype(np.float64)


def _select(values: npt.NDArray[np.floating], dimensions: Sequence[int], name: str) -> npt.NDArray[np.floating]:
    size = values.shape[1]
    outside = [index for index in dimensions if not -size <= index < size]
    if outside:
        raise CheckpointError(f"transform {name} names dimension {outside[0]}, but there are {size}")
    return values[:, list(dimensions)]


def _convert(
    values: npt.NDArray[np.floating], start: int, source: str, target: str, name: str
) -> npt.NDArray[np.float64]:
    end = start + SIZES[source]
    if not 0 <= start < end <= values.shape[1]:
        raise CheckpointError(
            f"transform {name} looks for {source} in dimensions {start} to {end - 1}, but there are {values.shape[1]}"
        )
    rotation = convert_rotation(values[:, start:end], source, target)
    return np.concatenate([values[:, :start], rotation, values[:, end:]], axis=1)


def _check_forms(source: str, target: str) -> None:
    for form in (source, target):
        if form not in SIZES:
            raise UnknownNameError("rotation form", form, list(SIZES))


def _rotation(transform: str) -> Any:
    """SciPy's rotations, whose rounding upstream's numbers have; a policy's interpreter may lack SciPy."""
    return require_module("scipy.spatial.transform", "scipy", f"the transform {transform}").Rotation
