"""How long a control step of CALVIN takes: ours, upstream's way of observing, and PyBullet alone.

Run it with SIMRUN_ASSETS set: ``python benchmarks/calvin_speed.py``. All ways are timed in turns in one run; each
figure is that of the least disturbed turn. Physics is compared by CPU time, on the same actions and up to the same
state. Exit code 1 if ours is not at least 8 times faster than upstream's way, or if its physics cost more than 10%
over PyBullet alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pybullet

from simrun.envs import BenchmarkEnv, Episode, get_benchmark
from simrun.envs.calvin.client import PhysicsClient
from simrun.envs.calvin.egl import quiet
from simrun.envs.calvin.laboratory import PLANS
from simrun.envs.calvin.oracle import Moment
from simrun.envs.calvin.renderers import EglRenderer, camera_view
from simrun.envs.calvin.robot import ARM_JOINTS, FINGER_JOINTS, HOME, TOOL_LINK
from simrun.envs.calvin.scenes import get_scene
from simrun.envs.calvin.sequences import initial_state, sequences
from simrun.envs.calvin.simulation import SUBSTEPS, Simulation
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.machine.data_files import DataFiles

Actions = npt.NDArray[np.float64]

TURNS = 7
PHYSICS_TURNS = 4
CHUNK = 10
STEPS = 60
SEQUENCE = 0
LEAST_SPEEDUP = 8.0
LARGEST_OVERHEAD = 0.10


class UpstreamLoop:
    """Steps as upstream does: after each step both cameras with segmentation masks, all observations, all facts."""

    def __init__(self, data: Path) -> None:
        self._client = PhysicsClient()
        self._renderer = EglRenderer(self._client)
        self._renderer.start()
        self._simulation = Simulation(self._client, data, get_scene("D"))

    def begin(self) -> None:
        """Load the scene."""
        with self._renderer.selected():
            self._simulation.reset(*initial_state(sequences()[SEQUENCE].initial_state, get_scene("D")))

    def run(self, actions: Actions) -> None:
        """Execute all actions."""
        for action in actions:
            self._simulation.step(action)
            self._simulation.robot_observation()
            self._simulation.scene_observation()
            Moment.capture(self._simulation)
            for camera, size in (("static", 200), ("gripper", 84)):
                view = camera_view(camera, self._simulation.robot, 1.0)
                with self._renderer.selected():
                    self._client.getCameraImage(size, size, view.view, view.projection)

    def close(self) -> None:
        """Free the renderer."""
        with quiet(), self._renderer.selected():
            self._client.disconnect()


class BarePyBullet:
    """The PyBullet calls of a control step and nothing else: inverse kinematics, nine motors, eight physics steps."""

    def __init__(self, data: Path) -> None:
        self._client = PhysicsClient()
        self.simulation = Simulation(self._client, data, get_scene("D"))

    def begin(self) -> None:
        """Load the scene."""
        self.simulation.reset(*initial_state(sequences()[SEQUENCE].initial_state, get_scene("D")))

    def run(self, actions: Actions) -> None:
        """Execute all actions."""
        robot, server = self.simulation.robot, self._client.server
        arm, fingers = self._motor_arguments(robot.body, server)
        ranges = ([-7.0] * 9, [7.0] * 9, [7.0] * 9, [*HOME, 0.04, 0.04])
        position, orientation = robot.target_position, robot.target_orientation
        for action in actions:
            position += 0.02 * action[:3]
            orientation += 0.05 * action[3:6]
            quaternion = pybullet.getQuaternionFromEuler(orientation)
            targets = pybullet.calculateInverseKinematics(
                robot.body, TOOL_LINK, position, quaternion, *ranges, physicsClientId=server
            )
            for target, arguments in zip(targets, arm, strict=False):
                pybullet.setJointMotorControl2(targetPosition=target, **arguments)
            for arguments in fingers[action[6] == 1]:
                pybullet.setJointMotorControl2(**arguments)
            for _ in range(SUBSTEPS):
                pybullet.stepSimulation(physicsClientId=server)

    @staticmethod
    def _motor_arguments(body: int, server: int) -> tuple[list[dict[str, Any]], dict[bool, list[dict[str, Any]]]]:
        common = {"bodyUniqueId": body, "controlMode": pybullet.POSITION_CONTROL, "physicsClientId": server}
        arm = [{**common, "jointIndex": joint, "force": 200.0, "maxVelocity": 2.0} for joint in ARM_JOINTS]
        grips = {True: {"targetPosition": 0.04, "force": 2.0}, False: {"targetPosition": 0.0, "force": 200.0}}
        fingers = {
            opening: [{**common, **grip, "jointIndex": joint, "maxVelocity": 1.0} for joint in FINGER_JOINTS]
            for opening, grip in grips.items()
        }
        return arm, fingers


def run_ours(env: BenchmarkEnv, actions: Actions) -> None:
    """Execute all actions in chunks, observing after each chunk."""
    position = 0
    while position < len(actions):
        info = env.step_chunk(actions[position : position + CHUNK])[4]
        position += info["executed_steps"]


def milliseconds(begin: Callable[[], object], run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Milliseconds a step of one turn, without its start."""
    begin()
    started = clock()
    run()
    return 1000 * (clock() - started) / STEPS


def main() -> int:
    """Time everything, print the figures, and say whether they are good enough."""
    benchmark = get_benchmark("calvin")
    data = DataFiles.of(benchmark).folder() / "data"
    protocol = benchmark.protocol("vlm4vla")
    episode = Episode(protocol.name, "sequence", SEQUENCE)
    seeing = benchmark.make_env(protocol=protocol)
    blind = benchmark.make_env(protocol=protocol, cameras=())
    upstream, bare = UpstreamLoop(data), BarePyBullet(data)
    actions = PLANS[0].arrays(Laboratory.of(benchmark).sample_actions(0, STEPS))["actions"]
    # Gentle enough that no joint meets its limit: PyBullet alone does not clip.
    actions[:, :6] *= 0.5
    wall, cpu = time.perf_counter, time.process_time
    turns: dict[str, list[float]] = {name: [] for name in ("upstream", "ours", "bare", "physics")}
    for _ in range(TURNS):
        turns["upstream"].append(milliseconds(upstream.begin, lambda: upstream.run(actions), wall))
        turns["ours"].append(milliseconds(lambda: seeing.begin(episode), lambda: run_ours(seeing, actions), wall))
        for _ in range(PHYSICS_TURNS):
            turns["bare"].append(milliseconds(bare.begin, lambda: bare.run(actions), cpu))
            turns["physics"].append(milliseconds(lambda: blind.begin(episode), lambda: run_ours(blind, actions), cpu))
        if not np.array_equal(bare.simulation.robot.observation()[:14], blind.state()["robot_obs"][:14]):
            raise SystemExit("the two ways of stepping led to different states; the comparison is void")
    for opened in (seeing, blind, upstream):
        opened.close()
    best = {name: min(values) for name, values in turns.items()}
    speedup = best["upstream"] / best["ours"]
    overhead = best["physics"] / best["bare"] - 1
    good = speedup >= LEAST_SPEEDUP and overhead <= LARGEST_OVERHEAD
    print(f"milliseconds a control step, least of {TURNS} turns")
    print(f"  both cameras every step, as upstream  {best['upstream']:8.2f}")
    print(f"  ours, static camera, chunks of {CHUNK}     {best['ours']:8.2f}   {speedup:.1f} times less")
    print(f"  PyBullet alone (CPU)                  {best['bare']:8.2f}")
    print(f"  ours, nothing rendered (CPU)          {best['physics']:8.2f}   {overhead:+.1%}")
    print(
        f"wanted: {LEAST_SPEEDUP:g} times less and at most {LARGEST_OVERHEAD:+.0%}: {'reached' if good else 'missed'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
