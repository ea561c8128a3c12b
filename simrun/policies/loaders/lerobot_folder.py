"""A pretrained folder of LeRobot: its files, what its configuration says, and what its processors would execute.

.. code-block:: text

    config.json                     class of the policy (``type``), its features and lengths
    model.safetensors               the weights
    policy_preprocessor.json        normalisation and tokenisation, with their own safetensors
    policy_postprocessor.json       un-normalisation

Source: lerobot 0.6.1 (policies/pretrained.py, processor/pipeline.py, processor/normalize_processor.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from simrun.envs.machine.regular_files import LARGEST_DOCUMENT, parse_object
from simrun.errors import CheckpointError
from simrun.policies.checkpoints import check_exists, check_inventory
from simrun.policies.execution import NativeExecution
from simrun.policies.foreign import read_json_object
from simrun.policies.loaders.loader import LoadRequest

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
IMAGE = "observation.image"
STATE = "observation.state"
ACTION = "action"

RESIZING = ("smolvla", "pi0", "pi05", "pi0_fast", "xvla", "groot", "wall_x")
"""Policies that resize images themselves; the others see what they are given."""

_STEPS = frozenset(
    (
        "rename_observations_processor",
        "to_batch_processor",
        "to_batch_processor_action",
        "to_batch_processor_observation",
        "to_batch_processor_complementary_data",
        "device_processor",
        "normalizer_processor",
        "unnormalizer_processor",
        "tokenizer_processor",
        "smolvla_new_line_processor",
        "pi0_new_line_processor",
        "pi05_prepare_state_tokenizer_processor_step",
        "pi0_fast_prepare_state_tokenizer_processor_step",
        "relative_actions_processor",
        "absolute_actions_processor",
        "xvla_image_scale",
        "xvla_image_to_float",
        "xvla_imagenet_normalize",
        "xvla_add_domain_id",
        "xvla_rotation_6d_to_axis_angle",
        "wall_x_task_processor",
        "groot_n1_7_pack_inputs_v1",
        "groot_n1_7_action_decode_v1",
        "groot_action_unpack_unnormalize_v2",
        "evo1_pad_state_processor",
        "evo1_pad_action_processor",
        "evo1_action_processor",
        "eo1_conversation_template_processor",
        "eo1_qwen_processor",
        "fastwam_action_toggle_processor",
        "vla_jepa_clip_actions",
        "vla_jepa_pre_snap_gripper",
        "vla_jepa_binarize_gripper",
        "molmoact2_masked_normalizer",
        "molmoact2_masked_unnormalizer",
        "molmoact2_clamp_normalized",
        "molmoact2_pack_inputs",
        "molmoact2_state_frame_transform",
        "molmoact2_action_frame_transform",
        "molmoact2_clamp_action",
        "observation_processor",
        "render_messages_processor",
    )
)
"""Steps of processors that published policies need, by the names under which lerobot 0.4 to 0.6 registers them."""

_WHOLE_NUMBERS = ("chunk_size", "action_chunk_size", "n_action_steps", "n_obs_steps", "horizon")
_LARGEST_COUNT = 100_000
"""Actions of a chunk, observations or pixels of an edge that no policy exceeds."""

_EXECUTES_CODE = {
    "pi0_fast": "the code of its action tokeniser",
    "wall_x": "the code of its action tokeniser",
    "groot": "the code of its backbone's processor",
}
"""Policies whose construction hands a folder to transformers with ``trust_remote_code``."""

_STEPS_WITH_CODE = {
    "action_tokenizer_processor": "the code of the action tokeniser that it names",
    "groot_n1_7_vlm_encode_v1": "the code of the backbone's processor that it names",
}
"""Steps of any policy that do the same; lerobot 0.6.1, processor/tokenizer_processor.py:348, groot's :1371."""

_STATISTICS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


@dataclass(frozen=True)
class LeRobotFolder:
    """What a pretrained folder says.

    Attributes:
        path: the folder.
        config: its ``config.json``.
    """

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def find(cls, checkpoint: str) -> LeRobotFolder | None:
        """The folder itself, or ``pretrained_model`` in the folder of a training step; None when it is neither.

        Raises:
            CheckpointError: its configuration holds values of wrong types.
        """
        path = Path(checkpoint).expanduser()
        for folder in (path, path / "pretrained_model"):
            config = read_json_object(folder / CONFIG)
            if config is not None and "type" in config and "input_features" in config:
                _check_types(config, folder / CONFIG)
                return cls(folder, config)
        return None

    @property
    def type(self) -> str:
        """Name of the policy's class."""
        return str(self.config.get("type"))

    @property
    def name(self) -> str:
        """Short name for tables."""
        return self.path.parent.name if self.path.name == "pretrained_model" else self.path.name

    @cached_property
    def features(self) -> dict[str, tuple[int, ...]]:
        """Input feature -> shape, without cameras that were never there, which the policies fill themselves."""
        given: Mapping[str, Any] = self.config.get("input_features") or {}
        return {
            name: tuple((entry or {}).get("shape") or ()) for name, entry in given.items() if "empty_camera" not in name
        }

    @cached_property
    def sources(self) -> dict[str, str]:
        """Image feature -> key under which the preprocessor takes its image: saved renamings are undone."""
        renamed: dict[str, str] = {}
        for step in self.steps(PROCESSORS[0]):
            if step.get("registry_name") == "rename_observations_processor":
                renamed |= {new: old for old, new in (step.get("config") or {}).get("rename_map", {}).items()}
        return {name: renamed.get(name, name) for name in self.features if name.startswith(IMAGE)}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras by the last part of the keys that it takes: ``observation.images.front`` is ``front``."""
        return tuple(camera_of(source) for source in self.sources.values())

    @property
    def action_size(self) -> int | None:
        """Numbers in one action; None where that is not said."""
        shape = ((self.config.get("output_features") or {}).get(ACTION) or {}).get("shape") or [None]
        size: int | None = shape[0]
        return size

    @property
    def chunk_length(self) -> int:
        """Actions in a predicted chunk."""
        config = self.config
        if self.type == "diffusion" or "horizon" in config:
            return int(config["n_action_steps"])
        for name in ("chunk_size", "action_chunk_size", "n_action_steps"):
            if config.get(name):
                return int(config[name])
        return 1

    @property
    def native(self) -> NativeExecution:
        """What ``select_action`` executes."""
        coefficient = self.config.get("temporal_ensemble_coeff")
        if coefficient is not None:
            return NativeExecution(1, also=f"a temporal ensemble with coefficient {coefficient:g}")
        steps = self.config.get("n_action_steps") or self.chunk_length
        return NativeExecution(min(int(steps), self.chunk_length))

    @property
    def history(self) -> int:
        """Observations of consecutive control steps that it looks at."""
        return int(self.config.get("n_obs_steps") or 1)

    @property
    def converts_rotation(self) -> bool:
        """Whether its postprocessor makes seven numbers of X-VLA's twenty."""
        steps = self.steps(PROCESSORS[1])
        return any(step.get("registry_name") == "xvla_rotation_6d_to_axis_angle" for step in steps)

    def steps(self, processor: str) -> list[dict[str, Any]]:
        """The steps of a processor; empty where its file is missing.

        Raises:
            CheckpointError: the file holds something else.
        """
        file = self.path / processor
        if not file.exists():
            return []
        steps = (read_json_object(file) or {}).get("steps")
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise CheckpointError(f"{file} holds no list of steps")
        for step in steps:
            _check_step_types(step, file)
        return steps

    def check(self, request: LoadRequest[Any]) -> None:
        """Check, before lerobot sees any of it, that the folder is whole, and executes nothing unasked.

        Raises:
            CheckpointError: files or statistics are missing, a file has no known use, or code would be executed that
                is not trusted.
        """
        if (self.path / "adapter_config.json").exists():
            raise CheckpointError(f"{self.path} holds a PEFT adapter, not a whole policy; merge it into its base first")
        check_exists(str(self.path / WEIGHTS))
        missing = [name for name in PROCESSORS if not (self.path / name).exists()]
        if missing:
            raise CheckpointError(
                f"{self.path} has no {' and no '.join(missing)}; without the normalisation saved there its actions "
                "mean nothing (lerobot's migrate_policy_normalization makes them for old checkpoints)"
            )
        states = [step["state_file"] for name in PROCESSORS for step in self.steps(name) if step.get("state_file")]
        check_inventory(self.path, {CONFIG, WEIGHTS, *PROCESSORS, *states, "train_config.json"}, "LeRobot")
        if self.type in _EXECUTES_CODE:
            request.require_trust(f"{_EXECUTES_CODE[self.type]}, which policies of type {self.type} load")
        for name in PROCESSORS:
            for step in self.steps(name):
                self._check_step(step, name, request)
        self._check_statistics(PROCESSORS[0], "normalizer_processor", "input_features")
        self._check_statistics(PROCESSORS[1], "unnormalizer_processor", "output_features")

    def _check_step(self, step: Mapping[str, Any], processor: str, request: LoadRequest[Any]) -> None:
        named = step.get("registry_name")
        if named is None or "class" in step:
            request.require_trust(f"{step.get('class')!r}, which {self.path / processor} names as a step")
        elif named in _STEPS_WITH_CODE:
            request.require_trust(f"{_STEPS_WITH_CODE[named]}: the step {named!r} of {self.path / processor}")
        elif named not in _STEPS:
            request.require_trust(
                f"the step {named!r} of {self.path / processor}, which is none of those that policies need"
            )
        state = step.get("state_file")
        if state is not None and (not isinstance(state, str) or Path(state).name != state):
            raise CheckpointError(
                f"{self.path / processor} names the state file {state!r}, which is outside of the folder"
            )

    def _check_statistics(self, processor: str, normaliser: str, features: str) -> None:
        """Refuse a normalisation that would silently do nothing, because lerobot passes such features unchanged."""
        modes: Mapping[str, str] = self.config.get("normalization_mapping") or {}
        found: set[str] = set()
        for step in self.steps(processor):
            if step.get("registry_name") == normaliser:
                modes = (step.get("config") or {}).get("norm_map") or modes
                if step.get("state_file"):
                    found |= safetensors_names(self.path / step["state_file"])
        for name, entry in (self.config.get(features) or {}).items():
            wanted = _STATISTICS.get(str(modes.get((entry or {}).get("type", ""), "IDENTITY")), ())
            lacking = [part for part in wanted if f"{name}.{part}" not in found]
            if lacking and "empty_camera" not in name:
                raise CheckpointError(
                    f"{self.path / processor} holds no {' and '.join(lacking)} of {name}, by which it says it is "
                    "normalised; lerobot would pass it unchanged, and the actions would mean nothing"
                )


def _check_types(config: Mapping[str, Any], file: Path) -> None:
    """Check what is read of a configuration.

    Raises:
        CheckpointError: a value is of a wrong type.
    """
    wrong = [] if isinstance(config["type"], str) else ["type"]
    for name in ("input_features", "output_features"):
        table = config.get(name) or {}
        if not isinstance(table, dict) or not all(map(_is_feature, table.values())):
            wrong.append(name)
    if not _are_texts(config.get("normalization_mapping")):
        wrong.append("normalization_mapping")
    wrong += [name for name in _WHOLE_NUMBERS if not _is_count(config.get(name))]
    if (config["type"] == "diffusion" or "horizon" in config) and not config.get("n_action_steps"):
        wrong.append("n_action_steps")
    if not isinstance(config.get("temporal_ensemble_coeff"), (int, float, type(None))):
        wrong.append("temporal_ensemble_coeff")
    if wrong:
        raise CheckpointError(f"{file} holds no usable {', '.join(wrong)}")


def _check_step_types(step: Mapping[str, Any], file: Path) -> None:
    config = step.get("config") or {}
    texts = [step.get("registry_name"), step.get("state_file")]
    if not isinstance(config, dict) or not all(isinstance(text, (str, type(None))) for text in texts):
        raise CheckpointError(f"{file} holds a step that is none: {step!r:.200}")
    if not all(_are_texts(config.get(name)) for name in ("rename_map", "norm_map")):
        raise CheckpointError(f"{file} holds a step whose maps are none: {step!r:.200}")


def _is_feature(entry: Any) -> bool:
    if entry is None:
        return True
    if not isinstance(entry, dict) or not isinstance(entry.get("type", ""), str):
        return False
    shape = entry.get("shape") or []
    return isinstance(shape, list) and all(map(_is_count, shape)) and None not in shape


def _is_count(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value <= _LARGEST_COUNT)


def _are_texts(table: Any) -> bool:
    return not table or (isinstance(table, dict) and all(isinstance(value, str) for value in table.values()))


def camera_of(feature: str) -> str:
    """The camera of an image feature."""
    return feature.rpartition(".")[2]


def safetensors_names(file: Path) -> set[str]:
    """Names of the tensors in a safetensors file, read from its header alone.

    Raises:
        CheckpointError: it is missing, or no such file.
    """
    path = check_exists(str(file))
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(path.stat().st_size, LARGEST_DOCUMENT):
                raise ValueError("its header is longer than the file")
            header = parse_object(stream.read(length))
        return {name for name in header if name != "__metadata__"}
    except (OSError, ValueError, struct.error) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from None
