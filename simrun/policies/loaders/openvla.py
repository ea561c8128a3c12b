"""OpenVLA's transformers folders, and OpenVLA-OFT's with its continuous action head; neighbours are told apart.

The model's class comes with the checkpoint as Python code, so the user's trust is needed. Sources: openvla
prismatic/extern/hf/modeling_prismatic.py (predict_action), openvla-oft experiments/robot/openvla_utils.py
(get_vla_action, get_action_head, get_proprio_projector).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import read_document
from simrun.errors import CheckpointError
from simrun.policies.checkpoints import check_exists, check_inventory
from simrun.policies.choosing import choose_convention
from simrun.policies.conventions import Convention
from simrun.policies.families import OWN_CODE, families
from simrun.policies.fitting import fit
from simrun.policies.foreign import cause_of, read_json_object, require_module
from simrun.policies.loaders.loader import Evidence, Loader, LoadRequest, Needs
from simrun.policies.options import TorchOptions
from simrun.policies.policy import Observation, Policy, PolicySpec
from simrun.policies.torch_runtime import choose_device, choose_dtype, read_weights, require_torch
from simrun.policies.transforms.scaling import STATISTICS_FILE, Bounds, bounds_of, normalise_state

_CONFIG = "config.json"
_TEMPLATE = "In: What action should the robot take to {}?\nOut:"
_HEAD = "action_head--*.pt"
_PROJECTOR = "proprio_projector--*.pt"
_USED = (
    *(_CONFIG, STATISTICS_FILE, "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "*.py"),
    *("pytorch_model*.bin", "pytorch_model.bin.index.json", "tokenizer*", "special_tokens_map.json", "vocab.json"),
    *("added_tokens.json", "preprocessor_config.json", "processor_config.json", "merges.txt", "*.back.*"),
    *(_HEAD, _PROJECTOR, "lora_adapter"),
)
_LATENT_ACTIONS = "action_decoder*.pt"
_OTHERS = {
    _LATENT_ACTIONS: f"it is UniVLA's, and {families()['univla'].unsupported}; {OWN_CODE}",
    "noisy_action_projector--*.pt": f"its action head, OpenVLA-OFT's diffusion head, is not supported; {OWN_CODE}",
    "vision_backbone--*.pt": f"its vision backbone, modulated by language (FiLM), is not supported; {OWN_CODE}",
}
"""Files of policies that are called OpenVLA too; loading them as plain OpenVLA gives noise, and nothing says so."""


@dataclass(frozen=True)
class OpenvlaOptions(TorchOptions):
    """Options of OpenVLA's folders.

    Attributes:
        source: a checkout of OpenVLA-OFT, whose code its action head needs.
        open_loop_steps: actions of a chunk that are executed natively; None takes the family's.
    """

    source: str | None = None
    open_loop_steps: int | None = None


class OpenvlaLoader(Loader[OpenvlaOptions]):
    """Loads OpenVLA folders; the family's convention on the benchmark holds where the user names none.

    A folder with ``action_head--*.pt`` is of OpenVLA-OFT; its code imports ``prismatic``, from the checkout that the
    option ``source`` names. The cameras of the convention are the images of the model, in their order.
    """

    kind = "openvla"
    looks_for = "an OpenVLA folder (config.json with model_type openvla)"
    evidence = Evidence.CONTENT
    options = OpenvlaOptions

    def recognise(self, checkpoint: str) -> str | None:
        config = read_json_object(Path(checkpoint).expanduser() / _CONFIG)
        if config is None or config.get("model_type") != "openvla":
            return None
        return f"its {_CONFIG} has model_type openvla"

    def describe(self, checkpoint: str) -> dict[str, str]:
        folder = Path(checkpoint).expanduser()
        config = read_json_object(folder / _CONFIG) or {}
        heads = sorted(file.name for file in folder.glob(_HEAD))
        other = next((reason for pattern, reason in _OTHERS.items() if any(folder.glob(pattern))), None)
        return {
            "vision backbone": str(config.get("vision_backbone_id", "unknown")),
            "code": ", ".join(_mapped_code(config)) or "none",
            "action head": f"continuous ({', '.join(heads)})" if heads else "tokens of the language model",
            "statistics": ", ".join(_statistics(folder, config)) or "none",
            **({} if other is None else {"not supported": other}),
        }

    def needs(self, checkpoint: str) -> Needs:
        return Needs(actions=7)

    def family(self, checkpoint: str) -> str:
        folder = Path(checkpoint).expanduser()
        if any(folder.glob(_LATENT_ACTIONS)):
            return "univla"
        parallel = any("_regression_or_discrete_prediction" in _text(file) for file in folder.glob("modeling*.py"))
        return "openvla_oft" if parallel or any(folder.glob(_HEAD)) else "openvla"

    def load(self, request: LoadRequest[OpenvlaOptions]) -> Policy:
        """Make the policy.

        Raises:
            CheckpointError: not trusted, unreadable, of another family, or of a data set that was not named.
            DependencyError: torch or transformers is not installed.
        """
        folder = check_exists(request.checkpoint)
        for pattern, reason in _OTHERS.items():
            if file := next(folder.glob(pattern), None):
                raise CheckpointError(f"{folder} holds {file.name}: {reason}")
        code = sorted(entry.name for entry in folder.glob("*.py"))
        also = f" and the checkout {request.options.source}" if request.options.source else ""
        request.require_trust(f"the Python code in {folder} ({', '.join(code) or 'from the hub'}){also}")
        if not any((*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin"))):
            raise CheckpointError(f"{folder} holds no weights of the model (an adapter must be merged into it first)")
        check_inventory(folder, _USED, "OpenVLA")
        family = families()[self.family(request.checkpoint)]
        convention = choose_convention(request.checkpoint, request.options, request.benchmark, family=family)
        if request.options.open_loop_steps is not None:
            native = {"last": False, "also": "", "actions": (), **convention.native}
            convention = replace(convention, native={**native, "steps": request.options.open_loop_steps})
        return fit(OpenvlaPolicy(folder, request, convention), request, convention)


class OpenvlaPolicy(Policy):
    """An OpenVLA model; its actions are un-normalised by itself.

    Args:
        folder: the checkpoint's folder.
        request: what was asked for.
        convention: names the cameras, and the data sets that the actions may be un-normalised by.

    Raises:
        CheckpointError: the folder cannot be loaded.
        DependencyError: torch or transformers is not installed.
    """

    def __init__(self, folder: Path, request: LoadRequest[OpenvlaOptions], convention: Convention) -> None:
        purpose = f"the OpenVLA checkpoint {folder}"
        self._torch = require_torch(purpose)
        transformers = require_module("transformers", "torch", purpose)
        self._device = choose_device(self._torch, request.options)
        self._dtype = choose_dtype(self._torch, request.options, self._torch.bfloat16)
        if request.options.source is not None:
            sys.path.insert(0, str(real_path(Path(request.options.source).expanduser())))
        options = {"trust_remote_code": True, "local_files_only": True}
        try:
            self._processor = transformers.AutoProcessor.from_pretrained(folder, **options)
            model = transformers.AutoModelForVision2Seq.from_pretrained(folder, torch_dtype=self._dtype, **options)
        except Exception as error:  # the checkpoint's own code may raise anything
            raise CheckpointError(f"{folder} cannot be loaded by transformers: {cause_of(error)}") from error
        self._model = model.to(self._device).eval()
        statistics = _statistics(folder, read_json_object(folder / _CONFIG) or {})
        self._model.norm_stats = dict(statistics)
        self._key = _statistics_key(statistics, request, convention, folder)
        self._proprio = _proprio_bounds(statistics, self._key, folder)
        self._prompted = bool(convention.prompt)
        self._cameras = convention.cameras or (next(iter(request.benchmark.protocol().cameras)),)
        self._extra = self._oft_parts(folder, request)
        if len(self._cameras) > 1:
            self._model.vision_backbone.set_num_images_in_input(len(self._cameras))
        self.spec = PolicySpec(
            f"openvla:{folder.name}",
            len(self._ask(_black(self._cameras), "do nothing", self._rest())),
            cameras=self._cameras,
            max_batch_size=1,
            device=self._device,
        )

    def infer(self, observations: Sequence[Observation]) -> npt.NDArray[np.floating]:
        return np.stack(
            [
                self._ask([entry.images[name] for name in self._cameras], entry.instruction, entry.proprio)
                for entry in observations
            ]
        )

    def _ask(
        self, images: Sequence[npt.NDArray[np.uint8]], instruction: str, proprio: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        # A convention that says nothing of the prompt means the one that the model was trained with.
        prompt = instruction if self._prompted else _TEMPLATE.format(instruction.lower())
        inputs = [self._processor(prompt, self._pillow(image)) for image in images]
        request = inputs[0].to(self._device, dtype=self._dtype)
        if len(inputs) > 1:
            others = [entry.to(self._device, dtype=self._dtype)["pixel_values"] for entry in inputs[1:]]
            request["pixel_values"] = self._torch.cat([request["pixel_values"], *others], dim=1)
        extra = dict(self._extra)
        if "proprio_projector" in extra:
            extra["proprio"] = self._normalised(proprio)
        with self._torch.inference_mode():
            answer = self._model.predict_action(**request, unnorm_key=self._key, do_sample=False, **extra)
        # OFT answers with the hidden states beside the actions.
        actions = answer[0] if isinstance(answer, tuple) else answer
        return np.atleast_2d(np.asarray(actions, dtype=np.float32))

    def _normalised(self, proprio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._proprio is None or len(self._proprio.first) != len(proprio):
            wanted = "none" if self._proprio is None else str(len(self._proprio.first))
            raise CheckpointError(
                f"{self._key} has statistics of {wanted} values of proprioception, the benchmark gives {len(proprio)}; "
                "name a select_proprio in the transforms of simrun.toml"
            )
        return normalise_state(proprio, self._proprio).astype(np.float32)

    def _rest(self) -> npt.NDArray[np.float32]:
        return np.zeros(0 if self._proprio is None else len(self._proprio.first), np.float32)

    def _oft_parts(self, folder: Path, request: LoadRequest[OpenvlaOptions]) -> dict[str, Any]:
        """Action head and projector of proprioception, as arguments of ``predict_action``."""
        head, projector = _only(folder, _HEAD), _only(folder, _PROJECTOR)
        if head is None:
            return {}
        size = self._model.llm_dim
        heads = require_module("prismatic.models.action_heads", "torch", f"the action head {head}")
        parts = {"action_head": heads.L1RegressionActionHead(input_dim=size, hidden_dim=size, action_dim=7)}
        self._load(parts["action_head"], head, request)
        if projector is not None:
            projectors = require_module("prismatic.models.projectors", "torch", f"the projector {projector}")
            parts["proprio_projector"] = projectors.ProprioProjector(llm_dim=size, proprio_dim=len(self._rest()))
            self._load(parts["proprio_projector"], projector, request)
        return parts

    def _load(self, module: Any, file: Path, request: LoadRequest[OpenvlaOptions]) -> None:
        weights = {name.removeprefix("module."): value for name, value in read_weights(request, file).items()}
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{file} does not fit the model: {cause_of(error)}") from None
        module.to(self._device, dtype=self._dtype).eval()

    def _pillow(self, image: npt.NDArray[np.uint8]) -> Any:
        return require_module("PIL.Image", "torch", "OpenVLA's processor").fromarray(image)


def _mapped_code(config: Mapping[str, Any]) -> list[str]:
    """What classes of the checkpoint's own code its configuration names."""
    named = config.get("auto_map")
    return sorted({str(value) for value in named.values()}) if isinstance(named, dict) else []


def _statistics(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics by data set: those of the file beside the model, else those in its configuration."""
    found = config.get("norm_stats")
    if os.path.lexists(folder / STATISTICS_FILE):
        found = read_json_object(folder / STATISTICS_FILE)
        if found is None:
            raise CheckpointError(f"{folder / STATISTICS_FILE} cannot be read as a JSON object")
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict) and "action" in entry}


def _statistics_key(
    statistics: Mapping[str, Any], request: LoadRequest[OpenvlaOptions], convention: Convention, folder: Path
) -> str:
    """The data set to un-normalise by: the user's, the only one, or the benchmark's own.

    Raises:
        CheckpointError: none of these, or the statistics are broken.
    """
    name = request.benchmark.name
    usual = [key.format(benchmark=name) for key in convention.statistics_keys or ("{benchmark}",)]
    wanted = [request.options.statistics_key] if request.options.statistics_key else usual
    key = next((entry for entry in wanted if entry in statistics), None)
    if key is None and len(statistics) == 1 and request.options.statistics_key is None:
        key = next(iter(statistics))
    if key is None:
        held = ", ".join(statistics) or "no data set"
        raise CheckpointError(
            f"{folder} holds statistics of {held}, none of them {' or '.join(wanted)}; choose the one for {name} with "
            "--policy-option statistics_key=NAME"
        )
    bounds_of(dict(statistics), key, "action", "quantile", str(folder))
    return key


def _proprio_bounds(statistics: Mapping[str, Any], key: str, folder: Path) -> Bounds | None:
    if "proprio" not in statistics[key]:
        return None
    return bounds_of(dict(statistics), key, "proprio", "quantile", str(folder))


def _only(folder: Path, pattern: str) -> Path | None:
    """The one file of a pattern; None without any.

    Raises:
        CheckpointError: there are several, and nothing says which is meant.
    """
    files = sorted(folder.glob(pattern))
    if len(files) > 1:
        raise CheckpointError(
            f"{folder} holds {' and '.join(file.name for file in files)}; leave one of them there, for nothing says "
            "which is meant"
        )
    return files[0] if files else None


def _text(file: Path) -> str:
    try:
        return read_document(file)
    except (OSError, ValueError):
        return ""


def _black(cameras: Sequence[str]) -> list[npt.NDArray[np.uint8]]:
    return [np.zeros((224, 224, 3), np.uint8) for _ in cameras]
