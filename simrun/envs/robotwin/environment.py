"""RoboTwinEnv: one accepted scene as one episode."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from simrun.envs.description import BenchmarkDescription
from simrun.envs.environment import BenchmarkEnv, StepOutcome
from simrun.envs.episodes import Episode, Task
from simrun.envs.machine.vulkan import find_driver
from simrun.envs.machine.vulkan_devices import drawing_device
from simrun.envs.protocols import Protocol
from simrun.envs.robotwin.checkout import Checkout
from simrun.envs.robotwin.data_files import identify
from simrun.envs.robotwin.episode_files import require_episode_file
from simrun.envs.robotwin.scene import Scene, clear_render_cache
from simrun.envs.robotwin.upstream import RenderSettings, load_upstream
from simrun.errors import DependencyError, RendererError, UsageError

PICTURE_SIZE = (240, 320)
"""Height and width of every camera (RealSense D435), fixed by the official task configurations."""


MOST_OBJECTS = 64
"""Rows of the privileged state's objects: more than any scene of the 50 tasks holds, clutter included."""


class RoboTwinEnv(BenchmarkEnv):
    """A RoboTwin scene whose seed, instruction and attributes come from an episode file.

    One action is one absolute target for both arms; it takes as many physics steps (250 a second) as the motion
    needs. The success condition is checked at each of them and ends the episode. Every episode sets its scene up
    anew, so that its result depends on nothing but itself. ``info["scene_seed"]`` is upstream's seed,
    ``info["physics_steps"]`` counts simulated steps.

    Args:
        benchmark: the benchmark this environment belongs to.
        protocol: the protocol it runs under.
        **options: passed on to `BenchmarkEnv`.

    Raises:
        AssetError: no checkout, no assets or no episode file; the message says what makes them.
        DependencyError: ``ee`` needs a motion planner that is not installed.
        RendererError: the official pictures need an NVIDIA GPU, and there is none.
        UsageError: another picture size than the benchmark's.
    """

    def __init__(self, benchmark: BenchmarkDescription, protocol: Protocol, **options: Any) -> None:
        self._checkout = Checkout.find()
        self._episodes = require_episode_file(benchmark.name)
        super().__init__(benchmark, protocol, **options)
        for camera, size in protocol.cameras.items():
            if tuple(size) != PICTURE_SIZE:
                raise UsageError(
                    f"{protocol.name} asks for {camera} of {size[0]}x{size[1]}; RoboTwin's cameras are 240x320"
                )
        settings = protocol.settings
        self._task_config = str(settings["task_config"])
        self._split = str(settings["instructions"])
        self._render = RenderSettings(
            shader=settings["shader"],
            samples_per_pixel=settings["samples_per_pixel"],
            path_depth=settings["path_depth"],
            denoiser=settings["denoiser"],
        )
        self._planner = "none" if self.action_mode == "joint" else _installed_planner(str(settings["ee_planner"]))
        self._cannot_render = _missing_denoiser(protocol, self._render)
        self._upstream = load_upstream(self._checkout, keep_planner_packages=self._planner == "curobo")
        self._scene: Scene | None = None
        self._cached_task = ""
        self._scene_seed = 0
        self._solved = False
        self._sentence = ""

    # --- the episode -----------------------------------------------------------------------------------------

    def _open_renderer(self) -> None:
        if self._cannot_render:
            raise RendererError(self._cannot_render)

    def _begin(self, episode: Episode, task: Task) -> None:
        accepted = self._episodes.episode(task.name, episode.trial, episode.seed)
        self._close_scene()
        if task.name != self._cached_task:
            # SAPIEN keeps every mesh and texture it has seen; those of another task are only in the way.
            clear_render_cache()
            self._cached_task = task.name
        self._scene = Scene(
            self._upstream,
            task.name,
            self._task_config,
            accepted.seed,
            # Where the official pictures cannot be made none are; the rasteriser then spares the ray tracer's setup.
            RenderSettings("default") if self._cannot_render else self._render,
            self._planner,
            accepted.attributes,
        )
        self._scene_seed = accepted.seed
        self._solved = False
        self._sentence = accepted.instructions[self._split]

    def _advance(self, action: npt.NDArray[np.floating]) -> StepOutcome:
        self._solved = self._running_scene().execute(action, self.action_mode)
        return StepOutcome(success=self._solved, score=float(self._solved))

    def _stages(self) -> dict[str, bool]:
        return {"solved, as upstream's check says": self._solved}

    def _details(self) -> dict[str, Any]:
        steps = 0 if self._scene is None else self._scene.controller.physics_steps
        return {"scene_seed": self._scene_seed, "physics_steps": steps}

    def renderer_name(self) -> str:
        """Vulkan device and driver; see `BenchmarkEnv.renderer_name`."""
        return drawing_device()

    def _fingerprint(self) -> dict[str, Any]:
        """Versions, checkout and robot, texture counts, the episode file; shader, denoiser and planner in use."""
        rendering = f"{self._render.shader}" + (
            f", denoiser {self._render.denoiser}" if self._render.shader == "rt" else ""
        )
        driver = find_driver()
        return {
            **identify(self._checkout),
            "episode_file_sha256": self._episodes.hash,
            "episodes_accepted_by": self._episodes.provenance.get("planner"),
            "shader": rendering if self.camera_names else None,
            "vulkan_driver": f"{driver.kind} {driver.version}".strip() if driver and self.camera_names else None,
            "motion_planner": self._planner,
        }

    # --- observation -----------------------------------------------------------------------------------------

    def _proprio(self) -> npt.NDArray[np.float32]:
        scene = self._running_scene()
        targets = scene.controller.joint_targets()
        if self.action_mode == "joint":
            return targets.astype(np.float32)
        # Upstream's ``endpose``: the measured pose of each gripper, then its last command.
        left, right = scene.gripper_poses().reshape(2, 7)
        return np.concatenate([left, targets[6:7], right, targets[13:14]]).astype(np.float32)

    def _instruction(self) -> str:
        return self._sentence

    def _render_camera(self, camera: str, height: int, width: int) -> npt.NDArray[np.uint8]:
        scene = self._running_scene()
        if self._cannot_render:
            raise RendererError(self._cannot_render)
        return scene.picture(camera, self.scene_change)

    def _privileged(self) -> dict[str, npt.NDArray[np.float64]]:
        scene = self._running_scene()
        poses = [pose[:7] for pose in scene.object_poses().values()]
        objects = np.zeros((MOST_OBJECTS, 7))
        objects[: len(poses)] = poses
        return {
            "joint_positions": scene.robot.get_qpos().astype(np.float64),
            "gripper_poses": scene.gripper_poses().reshape(2, 7),
            "objects": objects,
            "object_count": np.array([len(poses)], dtype=np.float64),
        }

    def privileged_space(self) -> gymnasium.spaces.Dict:
        """Joint positions ``[38]`` (rad, m), gripper poses ``[2, 7]`` and object poses in the simulator's order.

        Poses are ``[x y z qw qx qy qz]`` in the world frame, metres; rows beyond ``object_count`` are zero.
        """
        shapes = {"joint_positions": (38,), "gripper_poses": (2, 7), "objects": (MOST_OBJECTS, 7), "object_count": (1,)}
        return gymnasium.spaces.Dict(
            {name: gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float64) for name, shape in shapes.items()}
        )

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """State of robot, objects, lights and drives; see `simrun.envs.robotwin.scene.Scene.state`."""
        return self._running_scene().state()

    # --- inside ----------------------------------------------------------------------------------------------

    def _running_scene(self) -> Scene:
        if self._scene is None:
            raise UsageError("no episode was started in this RoboTwin environment; call reset first")
        return self._scene

    def _close_scene(self) -> None:
        if self._scene is not None:
            self._scene.close()
            self._scene = None

    def _shutdown(self) -> None:
        self._close_scene()


def _installed_planner(name: str) -> str:
    if name == "curobo" and not curobo_works():
        raise DependencyError(
            "action mode ee plans every action with cuRobo, which is not installed here (it needs an NVIDIA GPU); "
            "install it in RoboTwin's interpreter, use joint targets, or accept the CPU planner, which is another "
            "protocol, with --set ee_planner=cpu"
        )
    return name


def curobo_works() -> bool:
    """Whether cuRobo and PyTorch are installed and PyTorch finds a GPU."""
    try:
        importlib.import_module("curobo")
        torch = importlib.import_module("torch")
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _missing_denoiser(protocol: Protocol, render: RenderSettings) -> str | None:
    """Why no picture of the protocol can be made here, None when it can."""
    if render.shader != "rt" or render.denoiser != "oidn" or _cuda_device_present():
        return None
    return (
        f"{protocol.name} asks for the official pictures, ray-traced and denoised by OIDN, which needs an NVIDIA GPU, "
        "and CUDA finds none; without one choose another protocol with --set shader=default (rasteriser) or "
        "--set denoiser=none (minutes a picture on a CPU)"
    )


def _cuda_device_present() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
