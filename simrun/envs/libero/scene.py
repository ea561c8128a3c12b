"""One task's compiled scene: reset, step, success; kept between the task's episodes.

To be imported after `simrun.envs.libero.upstream.import_upstream`, as everything here that imports MuJoCo.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from simrun.envs.libero.arm import Arm
from simrun.envs.libero.fixtures import (
    Poses,
    draw_poses,
    fixture_bodies,
    read_poses,
    shipped_poses,
    table_key,
    write_poses,
)
from simrun.envs.libero.recipes import CameraPose, Recipe
from simrun.envs.libero.upstream import build_problem, free_problem
from simrun.errors import AssetError

Floats = npt.NDArray[np.float64]

SETTLE_ACTION = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
"""The action of all harnesses while objects come to rest: stay, gripper open."""


class Scene:
    """The compiled model of a task with its simulation state.

    Observations show the scene as it was during the last control step, at the substep that upstream samples; see
    `simrun.envs.libero.arm.SAMPLED_SUBSTEP`. There upstream reads poses and images as they were before the substep,
    and joint positions as they are after it. Both sets of joint positions are noted in every step; the kinematics are
    computed from them only when somebody looks.

    Args:
        recipe: what is compiled, and what is changed in it.
        assets: folder with the data files.

    Raises:
        AssetError: a data file is missing or unreadable.
        DependencyError: a package is missing.
    """

    def __init__(self, recipe: Recipe, assets: Path) -> None:
        self.problem = build_problem(recipe.model, recipe.task, assets)
        self.model: mujoco.MjModel = self.problem.sim.model._model
        self.data: mujoco.MjData = self.problem.sim.data._data
        self.arm = Arm(self.model, self.data, self.problem.robots[0])
        self._agentview = self.model.camera("agentview").id
        self._compiled_view = CameraPose(
            *(tuple(row[self._agentview]) for row in (self.model.cam_pos, self.model.cam_quat))
        )
        self.drawable = True
        self._fixtures = fixture_bodies(self.problem)
        self._compiled_poses = read_poses(self.model, self._fixtures)
        self._drawn_poses: dict[tuple[int, bool], Poses] = {}
        # Upstream hides the markers of the arm at its reset; the model stays as this leaves it.
        self.problem.visualize(vis_settings=dict.fromkeys(self.problem._visualizations, False))
        self._view = mujoco.MjData(self.model)
        self._joints_before_sample = np.zeros(self.model.nq)
        self._joints_after_sample = np.zeros(self.model.nq)
        self._view_is_current = False
        self.take(recipe)

    def take(self, recipe: Recipe) -> None:
        """Make the scene that of another task with the same model; ends a running episode.

        Raises:
            AssetError: the task's initial states cannot be read, or are not the model's.
        """
        assert recipe.model == getattr(self, "recipe", recipe).model
        states = recipe.read_states()
        if states.ndim != 2 or states.shape[1] != 1 + self.model.nq + self.model.nv:
            raise AssetError(
                f"the initial states of {recipe.task} have shape {states.shape}, expected (trials, "
                f"{1 + self.model.nq + self.model.nv})"
            )
        self.recipe = recipe
        self.initial_states = states
        self.arm.rest_in(recipe.home_joints)
        pose = recipe.agentview(self._compiled_view) if recipe.agentview else self._compiled_view
        quaternion = np.array(pose.quaternion)
        mujoco.mju_normalize4(quaternion)
        self.model.cam_pos[self._agentview] = pose.position
        self.model.cam_quat[self._agentview] = quaternion

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.recipe.task

    def close(self) -> None:
        """Free model and data."""
        if self.problem is not None:
            free_problem(self.problem)
            self.problem = None

    def fixture_poses(self, seed: int, episode: int, *, each_reset: bool = False) -> Poses:
        """Poses of the fixtures in an episode of upstream's sequence, ``[fixtures, 7]``; see `fixtures.draw_poses`."""
        if not self._fixtures:
            return self._compiled_poses
        shipped = None if each_reset else shipped_poses().get(table_key(self.recipe.fixture_table, seed))
        if shipped is not None:
            return np.asarray(shipped[episode])
        return np.asarray(self.drawn_poses(seed, each_reset=each_reset)[episode])

    def drawn_poses(self, seed: int, *, each_reset: bool = False) -> Poses:
        """Poses of the fixtures in all episodes, ``[trials, fixtures, 7]``, drawn anew; ends a running episode."""
        key, trials = (seed, each_reset), len(self.initial_states)
        if len(self._drawn_poses.get(key, ())) < trials:
            write_poses(self.model, self._fixtures, self._compiled_poses)
            self._drawn_poses[key] = draw_poses(self.problem, seed, trials, each_reset=each_reset)
        return self._drawn_poses[key]

    def begin(self, initial_state: Floats, fixture_poses: Poses) -> None:
        """Start an episode.

        Args:
            initial_state: ``[1 + nq + nv]``: time (s), joint positions, joint velocities.
            fixture_poses: ``[fixtures, 7]``.
        """
        write_poses(self.model, self._fixtures, fixture_poses)
        mujoco.mj_resetData(self.model, self.data)
        self.arm.home()
        self.data.time = initial_state[0]
        self.data.qpos[:] = initial_state[1 : 1 + self.model.nq]
        self.data.qvel[:] = initial_state[1 + self.model.nq :]
        mujoco.mj_forward(self.model, self.data)
        self.problem._post_process()
        self._note_before_sample()
        self._note_after_sample()

    def step(self, action: npt.NDArray[np.floating], *, absolute: bool = False) -> None:
        """Execute one control step of 25 substeps; see `Arm.step`."""
        # Upstream updates appearances (a burner that glows) at the end of a step; nobody sees that before the next
        # step's sample, so it is done here, and until then the model still looks as it was sampled.
        self.problem._post_process()
        self.arm.step(action, self._note_before_sample, self._note_after_sample, absolute=absolute)

    def succeeded(self) -> bool:
        """Whether the task's goal holds now, by upstream's own predicates."""
        return bool(self.problem._check_success())

    def predicates(self) -> dict[str, bool]:
        """Each of the goal's predicates as upstream evaluates it, ``on(bowl_1, plate_1)``, and whether it holds now."""
        goal = self.problem.parsed_problem["goal_state"]
        return {f"{name}({', '.join(of)})": bool(self.problem._eval_predicate([name, *of])) for name, *of in goal}

    def sampled_view(self) -> mujoco.MjData:
        """Kinematics of what observations show, for rendering and proprioception."""
        if not self._view_is_current:
            self._view.qpos[:] = self._joints_before_sample
            mujoco.mj_kinematics(self.model, self._view)
            mujoco.mj_comPos(self.model, self._view)
            mujoco.mj_camlight(self.model, self._view)
            self._view_is_current = True
        return self._view

    def sampled_pose(self) -> tuple[Floats, Floats]:
        """Position ``[3]`` (m) of the point between the finger tips and quaternion ``[4]`` (x, y, z, w) of the hand."""
        view = self.sampled_view()
        w, x, y, z = view.xquat[self.arm.hand_body]
        return view.site_xpos[self.arm.grip_site].copy(), np.array([x, y, z, w])

    def sampled_fingers(self) -> Floats:
        """Positions of the left and the right finger, ``[2]`` (m)."""
        fingers: Floats = self._joints_after_sample[self.arm.finger_joints]
        return fingers

    def sampled_arm_joints(self) -> Floats:
        """Angles of the arm's joints, ``[7]`` (rad)."""
        joints: Floats = self._joints_after_sample[self.arm.joints]
        return joints

    def flattened_state(self) -> Floats:
        """``[1 + nq + nv]``: time, joint positions, joint velocities; upstream's ``get_sim_state()``."""
        return np.concatenate(([self.data.time], self.data.qpos, self.data.qvel))

    def state(self) -> dict[str, Floats]:
        """Everything that the future depends on, by name."""
        return {
            "time": np.array([self.data.time]),
            "qpos": self.data.qpos.copy(),
            "qvel": self.data.qvel.copy(),
            "ctrl": self.data.ctrl.copy(),
            "warmstart": self.data.qacc_warmstart.copy(),
            "goal_position": self.arm.goal_position.copy(),
            "goal_orientation": self.arm.goal_orientation.copy(),
            "fingers": np.array(self.arm.fingers),
            "fixtures": read_poses(self.model, self._fixtures),
        }

    def _note_before_sample(self) -> None:
        self._joints_before_sample[:] = self.data.qpos
        self._view_is_current = False

    def _note_after_sample(self) -> None:
        self._joints_after_sample[:] = self.data.qpos
