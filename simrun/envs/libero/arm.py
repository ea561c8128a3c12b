"""The arm under upstream's operational-space controller: one control step is 25 substeps of 2 ms.

robosuite 1.4.0 (``environments/base.py``, ``controllers/osc.py``, ``robots/single_arm.py``) runs three forward passes a
substep: one of the environment, one of the controller, one inside ``mj_step``. Here there is one, split where the
controller acts: ``mj_step1``, torques, ``mj_step2``. Before MuJoCo 3.3.3 each forward pass also leaves its solution as
the solver's next warm start, so that upstream's passes chain; what of them changes that solution is repeated here
(`Arm._chain_warm_start`), what only computes the same numbers again is not. Every number is computed by the same
operations in the same order and memory layout, so that states stay equal to the last bit; what upstream computes with
numba is computed by its own compiled functions, what it computes with numpy by numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error
from robosuite.utils.transform_utils import axisangle2quat, quat2mat

from simrun.envs.libero.compiled_functions import compiled

Floats = npt.NDArray[np.float64]

SUBSTEPS = 25
"""Simulation steps of 2 ms in one control step at 20 Hz."""

SAMPLED_SUBSTEP = 24
"""Substep (counted from 1) that upstream's observables show: their clock runs two forced updates ahead of the step."""

STIFFNESS = 150.0
DAMPING = 2.0 * np.sqrt(STIFFNESS)
"""Gains of ``controllers/config/osc_pose.json`` with damping ratio 1."""

POSE_SCALE = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5])
"""What an action of 1 means: metres along x, y, z and radians of axis-angle about x, y, z, in the world frame."""

GRIPPER_SPEED = 0.01
"""Change of the normalised finger command in one substep."""

_DOF = 7


class Arm:
    """The Panda of one scene: controller, gripper command, and what of the arm was last measured.

    Args:
        model: the compiled scene.
        data: its simulation state, stepped in place.
        robot: robosuite's robot object, which knows the indices of its joints and actuators.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, robot: Any) -> None:
        self._model = model
        self._data = data
        self.grip_site: int = robot.eef_site_id
        self.hand_body: int = model.body(robot.robot_model.eef_name).id
        self.finger_joints = [int(index) for index in robot._ref_gripper_joint_pos_indexes]
        self.joints = _slice(robot._ref_joint_pos_indexes)
        self._dofs = _slice(robot._ref_joint_vel_indexes)
        self._motors = _slice(robot._ref_joint_actuator_indexes)
        self._finger_motors = [int(index) for index in robot._ref_joint_gripper_actuator_indexes]
        self._torque_low, self._torque_high = (np.array(limit) for limit in robot.torque_limits)
        finger_range = model.actuator_ctrlrange[self._finger_motors]
        self._finger_bias = [float(value) for value in 0.5 * (finger_range[:, 1] + finger_range[:, 0])]
        self._finger_weight = [float(value) for value in 0.5 * (finger_range[:, 1] - finger_range[:, 0])]
        self._own_rest = np.array(robot.init_qpos, dtype=np.float64)
        self._home_joints = self._own_rest
        self._home_fingers = np.array(robot.gripper.init_qpos, dtype=np.float64)

        self._live_joints = data.qpos[self.joints]
        self._live_velocities = data.qvel[self._dofs]
        self._live_bias = data.qfrc_bias[self._dofs]
        self._live_motors = data.ctrl[self._motors]
        self._live_position = data.site_xpos[self.grip_site]
        self._live_orientation = data.site_xmat[self.grip_site].reshape(3, 3)

        self._position = np.zeros(3)
        self._orientation = np.zeros((3, 3))
        self._linear_velocity = np.zeros(3)
        self._angular_velocity = np.zeros(3)
        self._measured_joints = np.zeros(_DOF)
        self._measured_velocities = np.zeros(_DOF)
        self._linear_jacobian = np.zeros((3, model.nv))
        self._angular_jacobian = np.zeros((3, model.nv))
        self._mass = np.zeros((model.nv, model.nv))
        self._start_joints = np.zeros(_DOF)
        self.goal_position = np.zeros(3)
        self.goal_orientation = np.zeros((3, 3))
        self.fingers = [0.0, 0.0]
        self._stale = False

    def rest_in(self, joints: Sequence[float] | None) -> None:
        """Choose the joint angles ``[7]`` (rad) of the rest pose from the next episode on; None takes the robot's."""
        self._home_joints = self._own_rest if joints is None else np.array(joints, dtype=np.float64)

    def home(self) -> None:
        """Put the arm into its rest pose and measure it there, as upstream does before it sets an initial state.

        The first substep of the episode still uses what is measured here, and so does the goal orientation until the
        first action that rotates; the goal's reference for the nullspace stays for the whole episode.
        """
        self._data.qpos[self.joints] = self._home_joints
        self._data.qpos[self.finger_joints] = self._home_fingers
        # What `_measure` reads, and no more: the objects still lie inside each other, with thousands of contacts.
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_crb(self._model, self._data)
        self._measure()
        self._start_joints[:] = self._measured_joints
        self.goal_position[:] = self._position
        self.goal_orientation[:] = self._orientation
        self.fingers = [0.0, 0.0]
        self._stale = False

    def measured_pose(self) -> tuple[Floats, Floats]:
        """Position ``[3]`` (m) and rotation matrix ``[3, 3]`` of the grip site, as the controller last measured them.

        Upstream's ``controller.ee_pos`` and ``ee_ori_mat``: the frame in which absolute targets are given. It is turned
        by -90 degrees about the tool's axis from the hand's body, and measured a substep after what observations show.
        """
        return self._position.copy(), self._orientation.copy()

    def step(
        self,
        action: npt.NDArray[np.floating],
        before_sample: Callable[[], None],
        after_sample: Callable[[], None],
        *,
        absolute: bool = False,
    ) -> None:
        """Execute one control step.

        Args:
            action: ``[7]``: position and rotation change in units of `POSE_SCALE`, clipped to -1 to 1; the sign of
                the last number opens (-) or closes (+) the gripper.
            before_sample: called before the substep that observations show.
            after_sample: called after it.
            absolute: take the first six numbers for the target pose itself: metres and axis-angle in radians in the
                world frame, neither scaled nor clipped (upstream's controller with ``use_delta`` off).
        """
        set_goal = self._set_absolute_goal if absolute else self._set_relative_goal
        direction = float(np.sign(action[6]))
        self._substep(direction, lambda: set_goal(action[:6]))
        for _ in range(SAMPLED_SUBSTEP - 2):
            self._substep(direction)
        before_sample()
        self._substep(direction)
        after_sample()
        for _ in range(SUBSTEPS - SAMPLED_SUBSTEP):
            self._substep(direction)

    def _substep(self, direction: float, set_goal: Callable[[], None] | None = None) -> None:
        model, data = self._model, self._data
        mujoco.mj_step1(model, data)
        self._chain_warm_start()
        if self._stale:
            self._measure()
        if set_goal is not None:
            set_goal()
        torques = self._torques()
        self._stale = True
        self._move_fingers(direction)
        self._live_motors[:] = np.clip(torques, self._torque_low, self._torque_high)
        mujoco.mj_step2(model, data)

    def _chain_warm_start(self) -> None:
        """Solve as upstream's forward passes before the controller do: with the last controls, each from the last.

        The first is the environment's. The second, the controller's, only comes when the controller measures: not in
        the first substep of an episode. It finds accelerations and controls unchanged and another warm start.
        """
        mujoco.mj_fwdActuation(self._model, self._data)
        mujoco.mj_fwdAcceleration(self._model, self._data)
        mujoco.mj_fwdConstraint(self._model, self._data)
        if self._stale:
            mujoco.mj_fwdConstraint(self._model, self._data)

    def _measure(self) -> None:
        model, data = self._model, self._data
        mujoco.mj_jacSite(model, data, self._linear_jacobian, self._angular_jacobian, self.grip_site)
        mujoco.mj_fullM(model, self._mass, data.qM)
        self._position[:] = self._live_position
        self._orientation[:] = self._live_orientation
        np.dot(self._linear_jacobian, data.qvel, out=self._linear_velocity)
        np.dot(self._angular_jacobian, data.qvel, out=self._angular_velocity)
        self._measured_joints[:] = self._live_joints
        self._measured_velocities[:] = self._live_velocities

    def _set_absolute_goal(self, action: npt.NDArray[np.floating]) -> None:
        # The rotation is computed in the action's own precision, as upstream does.
        self.goal_orientation[:] = quat2mat(axisangle2quat(action[3:]))
        self.goal_position[:] = action[:3]

    def _set_relative_goal(self, action: npt.NDArray[np.floating]) -> None:
        change = np.clip(action.astype(np.float64), -1.0, 1.0) * POSE_SCALE
        # An action without rotation keeps the goal orientation, it does not stop at the present one.
        if not all(math.isclose(angle, 0.0) for angle in change[3:]):
            self.goal_orientation[:] = np.dot(quat2mat(axisangle2quat(change[3:])), self._orientation)
        self.goal_position[:] = self._position + change[:3]

    def _torques(self) -> Floats:
        force, moment, jacobian, position_inertia, orientation_inertia, nullspace = _operational_space(
            self.goal_position,
            self.goal_orientation,
            self._position,
            self._orientation,
            self._linear_velocity,
            self._angular_velocity,
            self._linear_jacobian,
            self._angular_jacobian,
            self._mass,
            self._dofs.start,
            self._start_joints,
            self._measured_joints,
            self._measured_velocities,
        )
        wrench = np.concatenate((np.dot(position_inertia, force), np.dot(orientation_inertia, moment)))
        torques: Floats = np.dot(jacobian.T, wrench) + self._live_bias
        torques += nullspace
        return torques

    def _move_fingers(self, direction: float) -> None:
        ctrl = self._data.ctrl
        for index, sign in enumerate((-1.0, 1.0)):
            command = min(max(self.fingers[index] + sign * GRIPPER_SPEED * direction, -1.0), 1.0)
            self.fingers[index] = command
            ctrl[self._finger_motors[index]] = self._finger_bias[index] + self._finger_weight[index] * command


@compiled
def _operational_space(
    goal_position: Floats,
    goal_orientation: Floats,
    position: Floats,
    orientation: Floats,
    linear_velocity: Floats,
    angular_velocity: Floats,
    linear_jacobian: Floats,
    angular_jacobian: Floats,
    mass: Floats,
    start: int,
    start_joints: Floats,
    joints: Floats,
    velocities: Floats,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """The part of the law that upstream computes with numba or without products of matrices.

    Returns:
        Desired force ``[3]`` and moment ``[3]``, the arm's Jacobian ``[6, 7]``, the task-space inertia of position
        ``[3, 3]`` and of orientation ``[3, 3]``, and the nullspace torques ``[7]``.
    """
    stop = start + 7
    # Column-major, as numpy's indexing leaves these arrays in upstream: the order of the sums in BLAS depends on it.
    jacobian_position = np.asfortranarray(linear_jacobian[:, start:stop])
    jacobian_orientation = np.asfortranarray(angular_jacobian[:, start:stop])
    mass_arm = np.asfortranarray(mass[start:stop, start:stop])
    jacobian = np.empty((7, 6)).T
    jacobian[:3] = jacobian_position
    jacobian[3:] = jacobian_orientation
    error = orientation_error(goal_orientation, orientation)
    force = (goal_position - position) * STIFFNESS + (-linear_velocity) * DAMPING
    moment = error * STIFFNESS + (-angular_velocity) * DAMPING
    _, position_inertia, orientation_inertia, nullspace = opspace_matrices(
        mass_arm, jacobian, jacobian_position, jacobian_orientation
    )
    resting = nullspace_torques(mass_arm, nullspace, start_joints, joints, velocities)
    return force, moment, jacobian, position_inertia, orientation_inertia, resting


def _slice(indices: Any) -> slice:
    first = int(indices[0])
    if [int(index) for index in indices] != list(range(first, first + len(indices))):
        raise ValueError(f"the arm's indices are not consecutive: {list(indices)}")
    return slice(first, first + len(indices))
