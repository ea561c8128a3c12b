"""LeRobot's pretrained folders: ACT, Diffusion, SmolVLA, pi0 and every other policy that predicts chunks.

Chunks come from ``predict_action_chunk``; ``select_action`` keeps a queue of its own, which would defeat the execution
variants. What it would execute is the policy's native execution. Sources: lerobot 0.4.4 and 0.6.1 (policies/factory.py,
policies/pretrained.py, policies/utils.py:30-47).
"""

from __future__ import annotations

import inspect
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.errors import CheckpointError
from simrun.policies.choosing import choose_convention
from simrun.policies.families import family_of_type
from simrun.policies.fitting import fit
from simrun.policies.foreign import cause_of, refuse_remote_code, require_module
from simrun.policies.loaders.lerobot_folder import (
    ACTION,
    PROCESSORS,
    RESIZING,
    STATE,
    WEIGHTS,
    LeRobotFolder,
    camera_of,
)
from simrun.policies.loaders.loader import Evidence, Loader, LoadRequest, Needs
from simrun.policies.options import PathOptions
from simrun.policies.policy import Observation, Policy, PolicySpec
from simrun.policies.torch_runtime import (
    check_loaded,
    choose_device,
    choose_dtype,
    maybe_compile,
    read_weights,
    require_torch,
)

_IMAGES = "observation.images"
_DETERMINISTIC = ("act",)
_BATCHED_NOISE = ("smolvla", "pi0", "pi05")
"""Policies whose only randomness is the noise that they start from, which may be handed to them."""
_REFUSED = {
    "tdmpc": "its planner answers one action at a time",
    "sac": "it is a reinforcement learner without chunks",
    "gaussian_actor": "it is a reinforcement learner without chunks",
    "reward_classifier": "it is a reward model, no policy",
    "sarm": "it is a reward model, no policy",
}


class LeRobotLoader(Loader[PathOptions]):
    """Loads LeRobot's pretrained folders, or the folder of a training step that holds one."""

    kind = "lerobot"
    looks_for = "a LeRobot folder (config.json with type and input_features, model.safetensors)"
    evidence = Evidence.CONTENT
    options = PathOptions

    def recognise(self, checkpoint: str) -> str | None:
        folder = LeRobotFolder.find(checkpoint)
        return None if folder is None else f"{folder.path}/config.json has type {folder.type} and input_features"

    def describe(self, checkpoint: str) -> dict[str, str]:
        folder = _folder(checkpoint)
        images = [f"{camera_of(source)} {_size(folder.features[name])}" for name, source in folder.sources.items()]
        return {
            "policy type": folder.type,
            "chunk length": str(folder.chunk_length),
            "native": folder.native.describe(folder.chunk_length),
            "cameras": ", ".join(images) or "none",
            "proprioception": str(list(folder.features[STATE]) if STATE in folder.features else "none"),
            "actions": str(folder.action_size or "unknown"),
            "observation steps": str(folder.history),
            "normalisation": json.dumps(folder.config.get("normalization_mapping", {})),
            "processors": ", ".join(name for name in PROCESSORS if (folder.path / name).exists()) or "missing",
        }

    def needs(self, checkpoint: str) -> Needs:
        folder = _folder(checkpoint)
        size = folder.features.get(STATE, (0,))
        return Needs(cameras=folder.cameras, actions=folder.action_size, proprio=size[0] if size else None)

    def family(self, checkpoint: str) -> str:
        return family_of_type(_folder(checkpoint).type).name

    def announced(self, checkpoint: str) -> Mapping[str, Any]:
        return {"type": _folder(checkpoint).type}

    def declares_native(self, checkpoint: str, benchmark: str) -> bool:
        return True

    def load(self, request: LoadRequest[PathOptions]) -> Policy:
        """Make the policy.

        Raises:
            CheckpointError: files are missing or do not fit together, or the policy is none that predicts chunks.
            DependencyError: lerobot is not installed.
        """
        folder = _folder(request.checkpoint)
        folder.check(request)
        convention = choose_convention(
            request.checkpoint,
            request.options,
            request.benchmark,
            family=family_of_type(folder.type),
            announced={"type": folder.type},
        )
        if folder.converts_rotation:
            # Its own postprocessor does what the convention would do once more.
            convention = replace(convention, actions=())
        return fit(LeRobotPolicy(folder, request), request, convention)


class LeRobotPolicy(Policy):
    """A LeRobot policy; see `LeRobotLoader`.

    Policies that look at several observations (``n_obs_steps``) get those of the last control steps, the first one
    repeated at an episode's start, as their own loop gives them.

    Args:
        folder: the pretrained folder.
        request: what was asked for.

    Raises:
        CheckpointError: the folder cannot be loaded, or not whole.
        DependencyError: lerobot is not installed.
    """

    def __init__(self, folder: LeRobotFolder, request: LoadRequest[PathOptions]) -> None:
        purpose = f"the LeRobot checkpoint {folder.path}"
        self._torch = require_torch(purpose)
        factory = require_module("lerobot.policies.factory", "lerobot", purpose)
        configs = require_module("lerobot.configs.policies", "lerobot", purpose)
        device = choose_device(self._torch, request.options)
        try:
            if not request.trusted:
                refuse_remote_code()
            config = _loaded_config(configs.PreTrainedConfig, folder.path, device, request)
            network = factory.get_policy_class(config.type).from_pretrained(folder.path, config=config, strict=True)
            self._before, self._after = factory.make_pre_post_processors(
                config, str(folder.path), preprocessor_overrides=_overrides(folder, device, request)
            )
        except Exception as error:  # lerobot, draccus, transformers and safetensors raise many kinds
            raise CheckpointError(f"{folder.path} cannot be loaded by lerobot: {cause_of(error)}") from error
        check_loaded(self._torch, network, read_weights(request, folder.path / WEIGHTS), folder.path / WEIGHTS)
        self._network = network.eval()
        if not hasattr(network, "predict_action_chunk"):
            raise CheckpointError(f"{folder.path} is a policy of type {folder.type}, which predicts no chunks")
        self._takes_noise = "noise" in inspect.signature(network.predict_action_chunk).parameters
        if request.options.compile:
            self._network.model = maybe_compile(self._torch, network.model, request.options)
        self._dtype = choose_dtype(self._torch, request.options, None)
        self._config = config
        self._folder = folder
        self._ensembles: dict[int, Any] = {}
        alone = folder.type not in (*_DETERMINISTIC, *_BATCHED_NOISE)
        self._coefficient = folder.config.get("temporal_ensemble_coeff")
        self.spec = PolicySpec(
            f"{folder.type}:{folder.name}",
            folder.chunk_length,
            cameras=folder.cameras,
            deterministic=folder.type in _DETERMINISTIC,
            stateful=self._coefficient is not None,
            max_batch_size=1 if alone else request.options.batch_size,
            device=device,
            native=folder.native,
            history=folder.history,
        )

    def infer(self, observations: Sequence[Observation]) -> npt.NDArray[np.floating]:
        """Predict one chunk for each observation.

        Raises:
            CheckpointError: an observation does not fit the policy's features.
        """
        if self.spec.max_batch_size == 1:
            return np.concatenate([self._seeded(observation) for observation in observations])
        options: dict[str, Any] = {}
        if self._folder.type in _BATCHED_NOISE:
            options["noise"] = self._noise(observations, (self._config.chunk_size, self._config.max_action_dim))
        return self._predict(observations, options)

    def reset(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._ensembles.pop(slot, None)

    def _seeded(self, observation: Observation) -> npt.NDArray[np.floating]:
        """Predict for one observation, with all randomness from the episode's generator."""
        devices = [self.spec.device] if self.spec.device.startswith("cuda") else []
        options: dict[str, Any] = {}
        if self._takes_noise and hasattr(self._config, "horizon"):
            options["noise"] = self._noise([observation], (self._config.horizon, self._folder.action_size))
        with self._torch.random.fork_rng(devices=devices):
            self._torch.manual_seed(int(observation.generator.integers(1 << 62)))
            return self._predict([observation], options)

    def _noise(self, observations: Sequence[Observation], shape: tuple[Any, ...]) -> Any:
        noise = np.stack([entry.generator.standard_normal(shape, dtype=np.float32) for entry in observations])
        return self._torch.from_numpy(noise).to(self.spec.device)

    def _predict(self, observations: Sequence[Observation], options: dict[str, Any]) -> npt.NDArray[np.floating]:
        kind = self.spec.device.partition(":")[0]
        mixed = self._torch.autocast(kind, dtype=self._dtype, enabled=self._dtype is not None)
        frames = [_with_past(observation, self.spec.history) for observation in observations]
        with self._torch.inference_mode(), mixed:
            batches = [self._batch([seen[step] for seen in frames]) for step in range(self.spec.history)]
            self._fill_queues(batches)
            chunk = self._network.predict_action_chunk(batches[-1], **options)
            chunk = self._after(self._ensembled(chunk, observations))
        actions: npt.NDArray[np.floating] = chunk.float().cpu().numpy()
        return actions

    def _ensembled(self, chunk: Any, observations: Sequence[Observation]) -> Any:
        """ACT's temporal ensemble, of normalised actions as its own loop averages them, where it is asked for."""
        if self._coefficient is None or not any(entry.native for entry in observations):
            return chunk
        module = require_module("lerobot.policies.act.modeling_act", "lerobot", "ACT's temporal ensemble")
        chunk = chunk.clone()
        for row, observation in enumerate(observations):
            if observation.native:
                if observation.slot not in self._ensembles:
                    made = module.ACTTemporalEnsembler(self._coefficient, self._config.chunk_size)
                    self._ensembles[observation.slot] = made
                chunk[row, 0] = self._ensembles[observation.slot].update(chunk[row : row + 1])[0]
        return chunk

    def _batch(self, observations: Sequence[Observation]) -> dict[str, Any]:
        """What the network is given for observations of one moment."""
        batch: dict[str, Any] = {"task": [entry.instruction for entry in observations]}
        for name, source in self._folder.sources.items():
            pixels = np.stack([self._image(name, source, entry) for entry in observations])
            batch[source] = self._torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        if STATE in self._folder.features:
            batch[STATE] = self._torch.from_numpy(np.stack([self._state(entry) for entry in observations]))
        processed = self._before(batch)
        # The processors add empty entries for what only training has: actions and rewards.
        given = {name: value for name, value in processed.items() if value is not None and name != ACTION}
        if _IMAGES in (getattr(self._network, "_queues", None) or {}):
            given[_IMAGES] = self._torch.stack([given[name] for name in self._folder.sources], dim=-4)
        return given

    def _image(self, name: str, source: str, observation: Observation) -> npt.NDArray[np.uint8]:
        image = observation.images[camera_of(source)]
        channels, height, width = self._folder.features[name]
        if image.shape != (height, width, channels) and self._folder.type not in RESIZING:
            raise CheckpointError(
                f"{self.spec.name} was trained on images {height}x{width} of {camera_of(source)} and does not resize; "
                f"it is given {image.shape[0]}x{image.shape[1]}: choose a protocol that gives them, or state a resize "
                "in a convention"
            )
        return image

    def _state(self, observation: Observation) -> npt.NDArray[np.float32]:
        (wanted,) = self._folder.features[STATE]
        if len(observation.proprio) != wanted:
            raise CheckpointError(
                f"{self.spec.name} wants {wanted} values of proprioception and gets {len(observation.proprio)}; name "
                "a select_proprio in the state of a convention"
            )
        return observation.proprio.astype(np.float32)

    def _fill_queues(self, batches: Sequence[dict[str, Any]]) -> None:
        """Give a policy with queues of observations those of the last control steps."""
        for name, queue in (getattr(self._network, "_queues", None) or {}).items():
            queue.clear()
            if name in batches[-1]:
                self._network._queues[name] = deque([batch[name] for batch in batches], maxlen=queue.maxlen)


def _folder(checkpoint: str) -> LeRobotFolder:
    folder = LeRobotFolder.find(checkpoint)
    if folder is None:
        raise CheckpointError(f"{checkpoint} holds no config.json of LeRobot (with type and input_features)")
    return folder


def _with_past(observation: Observation, steps: int) -> list[Observation]:
    seen = [*observation.past, observation][-steps:]
    return [seen[0]] * (steps - len(seen)) + seen


def _loaded_config(loader: Any, folder: Path, device: str, request: LoadRequest[PathOptions]) -> Any:
    config = loader.from_pretrained(folder)
    if config.type in _REFUSED:
        raise CheckpointError(f"its policy is {config.type}, which is not supported: {_REFUSED[config.type]}")
    config.device = device
    # All weights are in the checkpoint; those of a backbone must not be fetched first.
    for name, value in (("pretrained_backbone_weights", None), ("load_vlm_weights", False), ("compile_model", False)):
        if hasattr(config, name):
            setattr(config, name, value)
    if hasattr(config, "vlm_model_name"):
        config.vlm_model_name = request.options.mapped(config.vlm_model_name)
    return config


def _overrides(folder: LeRobotFolder, device: str, request: LoadRequest[PathOptions]) -> dict[str, Any]:
    """Changes of the saved processors: where tensors go, and where a tokeniser lies on this machine."""
    by_name = {step.get("registry_name"): step.get("config") or {} for step in folder.steps(PROCESSORS[0])}
    overrides: dict[str, Any] = {}
    if "device_processor" in by_name:
        overrides["device_processor"] = {"device": device}
    tokenizer = by_name.get("tokenizer_processor", {}).get("tokenizer_name")
    if tokenizer:
        overrides["tokenizer_processor"] = {"tokenizer_name": request.options.mapped(tokenizer)}
    return overrides


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape[1:]) or "of unknown size"
