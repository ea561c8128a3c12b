"""LiberoEnv: LIBERO under the BenchmarkEnv contract."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simrun.envs.description import BenchmarkDescription
from simrun.envs.environment import BenchmarkEnv, StepOutcome
from simrun.envs.episodes import Episode, Task
from simrun.envs.libero.fixtures import Poses
from simrun.envs.libero.orientation import axis_angle
from simrun.envs.libero.privileged import privileged_space, read_privileged
from simrun.envs.libero.recipes import Recipe
from simrun.envs.libero.scene import SETTLE_ACTION, Floats, Scene
from simrun.envs.libero.suites import ABSOLUTE_MODE, instruction
from simrun.envs.libero.upstream import suite_recipe
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.mujoco_rendering import opengl_name
from simrun.envs.protocols import Protocol
from simrun.errors import RendererError, UsageError

if TYPE_CHECKING:
    from simrun.envs.libero.rendering import SceneRenderer

CAMERAS = {"agentview": "agentview", "eye_in_hand": "robot0_eye_in_hand"}
"""Camera name here -> camera of upstream's model."""

SEEDINGS = ("once", "each_reset")
"""When a harness seeds the environment: once a task, or before each episode."""

_SEEDS = 2**32


class LiberoEnv(BenchmarkEnv):
    """A LIBERO suite; arguments as `BenchmarkEnv`.

    Settings of the protocol: ``environment_seed`` is what the harness gives to ``env.seed`` (the episode's own seed is
    added to it), ``seeding`` whether it is given ``once`` a task or at ``each_reset``, then plus the trial,
    ``interleaved_settling`` alternates settle and policy steps, ``image_rotation`` is 180 or 0 degrees.

    Args:
        benchmark: the suite.
        protocol: the protocol it runs under.
        **options: passed on to `BenchmarkEnv`.

    Raises:
        RendererError: cameras were asked for and no renderer works on this machine.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, benchmark: BenchmarkDescription, protocol: Protocol, **options: Any) -> None:
        super().__init__(benchmark, protocol, **options)
        self._assets = DataFiles.of(benchmark).folder()
        self._scene: Scene | None = None
        self._renderer: SceneRenderer | None = None

    def load_scene(self, task: str) -> Scene:
        """The compiled scene of a task. One is kept; that of a task with another model takes its place.

        A scene takes 200 to 400 MB until it is drawn, what OpenGL keeps of it about 400; episodes come grouped by task.

        Raises:
            AssetError: a data file is missing or unreadable.
        """
        if self._scene is not None and self._scene.task == task:
            return self._scene
        recipe = self._recipe(task)
        if self._scene is not None and self._scene.recipe.model == recipe.model:
            self._scene.take(recipe)
        else:
            self._shutdown()
            self._scene = Scene(recipe, self._assets)
        return self._scene

    def replay(self, task: str, initial_state: Floats, fixture_poses: Poses | None) -> Scene:
        """Start from a recorded initial state, outside of any episode and without settling; for verification.

        Args:
            task: name of the task.
            initial_state: ``[1 + nq + nv]``: time (s), joint positions, joint velocities.
            fixture_poses: ``[fixtures, 7]``; None takes those of the first episode after ``env.seed(0)``.

        Returns:
            The scene, to be stepped with `Scene.step`.
        """
        scene = self.load_scene(task)
        scene.begin(initial_state, scene.fixture_poses(0, 0) if fixture_poses is None else fixture_poses)
        return scene

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Time, joints, controls, controller goals, warm start of the solver and fixture poses; float64."""
        return dict(self._running().state())

    def _open_renderer(self) -> None:
        from simrun.envs.libero.rendering import opengl_context

        opengl_context()

    def renderer_name(self) -> str:
        """Backend and OpenGL driver; see `BenchmarkEnv.renderer_name`."""
        from simrun.envs.libero.rendering import describe_opengl

        return opengl_name(describe_opengl())

    def _fingerprint(self) -> dict[str, Any]:
        """Versions of what computes, and the OpenGL in use."""
        from simrun.envs.libero.rendering import describe_opengl

        try:
            renderer: dict[str, str] | str = describe_opengl()
        except RendererError as error:
            renderer = f"none: {error}"
        packages = ("mujoco", "hf-libero", "robosuite", "bddl", "numpy", "numba", "scipy")
        return {
            "packages": {name: metadata.version(name) for name in packages},
            "renderer": renderer,
        }

    def privileged_space(self) -> gymnasium.spaces.Dict:
        """Space of the privileged state; see `simrun.envs.libero.privileged`."""
        return privileged_space()

    def _recipe(self, task: str) -> Recipe:
        """What the scene of one of the benchmark's tasks is made of."""
        return suite_recipe(self.benchmark.name, task)

    def _begin(self, episode: Episode, task: Task) -> None:
        seed = int(self.protocol.settings["environment_seed"]) + episode.seed
        if not 0 <= seed < _SEEDS:
            raise UsageError(
                f"episode {episode.id}: environment seed plus episode seed is {seed}, not in 0 to 2^32 - 1"
            )
        scene = self.load_scene(task.name)
        poses = scene.fixture_poses(seed, episode.trial, each_reset=self.protocol.settings["seeding"] == "each_reset")
        scene.begin(scene.initial_states[episode.trial], poses)
        self._settle_steps_left = self.protocol.settle_steps
        if self.protocol.settings["interleaved_settling"]:
            self._settle(1)
        else:
            self._settle(self.protocol.settle_steps)

    def _advance(self, action: npt.NDArray[np.floating]) -> StepOutcome:
        scene = self._running()
        scene.step(action, absolute=self.action_mode == ABSOLUTE_MODE)
        success = scene.succeeded()
        if not success:
            # Settle steps are left over only where they are interleaved with the policy's.
            self._settle(1)
        return StepOutcome(success=success, score=float(success))

    def _stages(self) -> dict[str, bool]:
        return self._running().predicates()

    def _settle(self, steps: int) -> None:
        for _ in range(min(steps, self._settle_steps_left)):
            self._running().step(SETTLE_ACTION)
            self._settle_steps_left -= 1

    def _proprio(self) -> npt.NDArray[np.float32]:
        scene = self._running()
        position, quaternion = scene.sampled_pose()
        values = [position, axis_angle(quaternion), scene.sampled_fingers()]
        if self.action_mode == ABSOLUTE_MODE:
            position, orientation = scene.arm.measured_pose()
            values += [position, Rotation.from_matrix(orientation).as_rotvec()]
        return np.concatenate(values).astype(np.float32)

    def _instruction(self) -> str:
        return instruction(self._running().task)

    def _privileged(self) -> dict[str, npt.NDArray[np.float64]]:
        return read_privileged(self._running())

    def _render_camera(self, camera: str, height: int, width: int) -> npt.NDArray[np.uint8]:
        frame = self._raw_frame(camera, height, width)
        if self.protocol.settings["image_rotation"] == 180:
            frame = np.ascontiguousarray(frame[::-1, ::-1])
        return frame

    def _raw_frame(self, camera: str, height: int, width: int) -> npt.NDArray[np.uint8]:
        """A picture as upstream renders it, with row 0 at the bottom."""
        scene = self._running()
        if self._renderer is None:
            from simrun.envs.libero.rendering import SceneRenderer

            if not scene.drawable:
                raise RendererError("OpenGL failed in the middle of taking this scene up; make the environment anew")
            heights, widths = zip(*self.protocol.cameras.values(), strict=True)
            # A renderer that fails may have given back already what a second one would draw black.
            scene.drawable = False
            self._renderer = SceneRenderer(scene.model, max(heights), max(widths))
        return self._renderer.render(scene.sampled_view(), CAMERAS[camera], height, width, self.scene_change)

    def _shutdown(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        if self._scene is not None:
            self._scene.close()
            self._scene = None

    def _running(self) -> Scene:
        if self._scene is None:
            raise UsageError("no episode was started; call reset first")
        return self._scene
