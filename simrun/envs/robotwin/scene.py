"""One RoboTwin scene: an upstream task set up for a seed, with what an environment needs to know and do."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import sapien

from simrun.envs.perturbations import AS_IT_IS, SceneChange
from simrun.envs.robotwin.checkout import EMBODIMENT
from simrun.envs.robotwin.control import DualArmController
from simrun.envs.robotwin.planners import CpuPlanner, GripperInterpolation
from simrun.envs.robotwin.upstream import PlannerFactory, RenderSettings, Upstream, private_random_state
from simrun.errors import RendererError, UsageError

PLANNERS = ("none", "cpu", "curobo")
"""Motion planners of a scene: none (joint targets need none), our own, and upstream's official one."""

ATTRIBUTES_OF_EXPERT = {
    "open_laptop": ("arm_tag",),
    "place_object_scale": ("arm_tag",),
    "put_object_cabinet": ("arm_tag", "origin_z"),
}
"""Task -> attributes that its success check reads and only ``play_once`` sets."""

_URDF = f"{EMBODIMENT}/urdf/arx5_description_isaac.urdf"
_TABLE_HEIGHT = 0.74
"""Metres from the floor to the table's top, where no height is randomised."""


class Scene:
    """A task of upstream, set up and ready for actions.

    Args:
        upstream: the loaded checkout.
        task: name of the task.
        task_config: ``demo_clean`` or ``demo_randomized``.
        seed: seed of the scene.
        render: how pictures are made.
        planner: one of `PLANNERS`.
        attributes: values for what the success check reads and only the expert sets; what is missing of it is
            derived from the scene.

    Raises:
        AssetError: a file is missing.
        RendererError: SAPIEN finds no Vulkan device.
        SimulatorError: upstream finds the scene unstable.
        UsageError: an unknown planner.
    """

    def __init__(
        self,
        upstream: Upstream,
        task: str,
        task_config: str,
        seed: int,
        render: RenderSettings,
        planner: str = "none",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        if planner not in PLANNERS:
            raise UsageError(f"unknown motion planner {planner!r}; known: {', '.join(PLANNERS)}")
        self._upstream = upstream
        self._random_state: dict[str, Any] = {}
        self.task: Any = upstream.new_task(task)
        factories: dict[str, PlannerFactory] = {
            "none": GripperInterpolation,
            "cpu": partial(CpuPlanner, upstream.checkout.assets / _URDF),
            "curobo": upstream.curobo_planner,
        }
        upstream.use_planner(factories[planner])
        arguments = upstream.setup_arguments(task, task_config)
        with self.visit():
            upstream.set_up(self.task, seed, arguments, render)
            self._supply_attributes(task, dict(attributes or {}))
        self.controller = DualArmController(self.task)
        self._cameras = {
            "left_camera": self.task.cameras.left_camera,
            "right_camera": self.task.cameras.right_camera,
            **dict(zip(self.task.cameras.static_camera_name, self.task.cameras.static_camera_list, strict=True)),
        }

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        """Run upstream code with its files, its own random numbers, and errors turned into simrun's."""
        upstream = self._upstream
        with upstream.checkout.visit(), private_random_state(self._random_state), upstream.reported_errors():
            yield

    @property
    def robot(self) -> Any:
        """The robot's articulation."""
        return self.task.robot.left_entity

    def execute(self, action: npt.NDArray[np.floating], mode: str) -> bool:
        """Execute one action (``joint`` or ``ee``); whether the success condition was met, now or before.

        After a success nothing moves any more, as in upstream.
        """
        if self.task.eval_success:
            return True
        move = self.controller.move_joints if mode == "joint" else self.controller.move_end_effectors
        if self.task.crazy_random_light:
            # Flickering lights draw random numbers at every physics step.
            with private_random_state(self._random_state):
                return move(action)
        return move(action)

    def execute_by_upstream(self, action: npt.NDArray[np.floating], mode: str) -> int:
        """Execute one action by upstream's own ``take_action``, to compare with; how many physics steps it took."""
        scene, taken = self.task.scene, []
        step = scene.step

        def counted() -> None:
            taken.append(1)
            step()

        scene.step = counted
        try:
            with self.visit():
                self.task.take_action(action, action_type="qpos" if mode == "joint" else "ee")
        finally:
            del scene.step
        return len(taken)

    def succeeded(self) -> bool:
        """Whether the success condition holds now."""
        return bool(self.task.check_success())

    def picture(self, camera: str, change: SceneChange = AS_IT_IS) -> npt.NDArray[np.uint8]:
        """A picture of one camera now, uint8 ``[height, width, 3]``; no other camera is rendered.

        Args:
            camera: name of a camera.
            change: what is drawn otherwise; everything is as before when the picture is taken.

        Raises:
            RendererError: the renderer failed.
        """
        device = self._cameras[camera]
        try:
            # Upstream's own update would also draw new colours for flickering lights.
            robot = self.task.robot
            self.task.cameras.update_wrist_camera(robot.left_camera.get_pose(), robot.right_camera.get_pose())
            with self._seen_otherwise(camera, change):
                self.task.scene.update_render()
                device.take_picture()
                colours = device.get_picture("Color")
        except RuntimeError as error:
            raise RendererError(f"SAPIEN could not render {camera}: {error}") from None
        pixels: npt.NDArray[np.uint8] = (colours * 255).clip(0, 255).astype(np.uint8)[:, :, :3]
        return np.ascontiguousarray(pixels)

    @contextlib.contextmanager
    def _seen_otherwise(self, camera: str, change: SceneChange) -> Iterator[None]:
        """Dim all lights, and let a camera that stands in the scene go around where its axis meets the table."""
        if not change:
            yield
            return
        scene, entity = self.task.scene, self._cameras[camera].entity
        lights = [*self.task.point_light_lst, *self.task.direction_light_lst]
        colours, ambient, pose = [light.color for light in lights], scene.ambient_light, entity.get_pose()
        for light, colour in zip(lights, colours, strict=True):
            light.set_color(np.multiply(colour, change.light))
        scene.set_ambient_light(np.multiply(ambient, change.light))
        if (change.about_up or change.about_right) and camera in self.task.cameras.static_camera_name:
            matrix = pose.to_transformation_matrix().astype(np.float64)
            forward, up, position = matrix[:3, 0], matrix[:3, 2], matrix[:3, 3]
            distance = (position[2] - _TABLE_HEIGHT - self.task.table_z_bias) / -forward[2]
            position, forward, up = change.moved(position, forward, up, float(distance))
            # SAPIEN's cameras look along x, with y to the left and z up.
            matrix[:3] = np.stack([forward, np.cross(up, forward), up, position], axis=1)
            entity.set_pose(sapien.Pose(matrix))
        try:
            yield
        finally:
            for light, colour in zip(lights, colours, strict=True):
                light.set_color(colour)
            scene.set_ambient_light(ambient)
            entity.set_pose(pose)

    def picture_size(self, camera: str) -> tuple[int, int]:
        """Height and width of a camera's pictures, pixels."""
        device = self._cameras[camera]
        return int(device.height), int(device.width)

    def object_poses(self) -> dict[str, npt.NDArray[np.float64]]:
        """Pose ``[x y z qw qx qy qz]`` of everything but the robot, with joint positions where it has joints.

        Keys number the bodies in the simulator's order, because names repeat: ``00:box``, ``A01:036_cabinet``.
        """
        poses = {}
        for index, actor in enumerate(self.task.scene.get_all_actors()):
            pose = actor.get_pose()
            poses[f"{index:02d}:{actor.get_name()}"] = np.r_[pose.p, pose.q].astype(np.float64)
        for index, articulation in enumerate(self.task.scene.get_all_articulations()):
            if articulation != self.robot:
                pose = articulation.get_pose()
                values = np.r_[pose.p, pose.q, articulation.get_qpos()].astype(np.float64)
                poses[f"A{index:02d}:{articulation.get_name()}"] = values
        return poses

    def gripper_poses(self) -> npt.NDArray[np.float64]:
        """Poses ``[14]`` of the left and right gripper in the world, ``[x y z qw qx qy qz]`` each."""
        robot = self.task.robot
        return np.array([*robot.get_left_ee_pose(), *robot.get_right_ee_pose()])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The simulator's state by name; equal to the last bit for equal states."""
        joints = self.robot.get_active_joints()
        bodies = self.task.scene.physx_system.rigid_dynamic_components
        others = [entry for entry in self.task.scene.get_all_articulations() if entry != self.robot]
        poses = self.object_poses()
        lights = [light.color for light in (*self.task.point_light_lst, *self.task.direction_light_lst)]
        return {
            "robot_qpos": self.robot.get_qpos(),
            "robot_qvel": self.robot.get_qvel(),
            "robot_drive_targets": np.array([joint.get_drive_target()[0] for joint in joints]),
            "robot_drive_velocities": np.array([joint.get_drive_velocity_target()[0] for joint in joints]),
            "joint_targets": self.controller.joint_targets(),
            "objects": np.concatenate(list(poses.values())),
            "object_velocities": _velocities(bodies),
            "articulation_velocities": np.concatenate([np.zeros(0), *(entry.get_qvel() for entry in others)]),
            "lights": np.array([*lights, self.task.scene.ambient_light], dtype=np.float64),
            "stage_reached": np.array([bool(self.task.stage_success_tag)]),
        }

    def close(self) -> None:
        """Free the scene."""
        self._cameras = {}
        self.controller = None  # type: ignore[assignment]
        self.task = None
        # Upstream's objects refer to each other in circles; SAPIEN's memory waits for the last of them.
        gc.collect()

    def _supply_attributes(self, task: str, attributes: dict[str, Any]) -> None:
        needed = ATTRIBUTES_OF_EXPERT.get(task, ())
        if any(name not in attributes for name in needed):
            self._rehearse()
        for name, value in attributes.items():
            setattr(self.task, name, value)

    def _rehearse(self) -> None:
        # With planning marked as failed upstream's expert goes through its script without moving: it sets the
        # attributes from the scene's first state, where its real run sets them too.
        info = dict(self.task.info)
        self.task.plan_success = False
        self.task.play_once()
        self.task.plan_success = True
        self.task.info = info


def clear_render_cache() -> None:
    """Free meshes and textures that SAPIEN keeps between scenes."""
    sapien.render.clear_cache()


def _velocities(bodies: Any) -> npt.NDArray[np.float64]:
    values = [np.r_[body.linear_velocity, body.angular_velocity] for body in bodies]
    return np.array(values, dtype=np.float64).reshape(-1, 6)
