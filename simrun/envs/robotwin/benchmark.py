"""RobotwinEasy and RobotwinHard: what can be known of RoboTwin 2.0 without SAPIEN, and how to start it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from simrun.envs.actions import ActionSpec
from simrun.envs.benchmark import Benchmark
from simrun.envs.description import Requirements
from simrun.envs.episodes import Task
from simrun.envs.protocols import Protocol
from simrun.envs.robotwin.episode_files import INSTRUCTION_SPLITS, find_episode_file
from simrun.envs.robotwin.kinematics import JOINT_HIGH, JOINT_LOW
from simrun.envs.table_form import TableForm
from simrun.errors import UsageError

SHADERS = ("rt", "default")
"""Shaders of the protocol setting ``shader``: the official ray tracer, and a rasteriser that a CPU can run."""

DENOISERS = ("oidn", "none")
PLANNERS = ("curobo", "cpu")

_ARM = tuple(f"joint_{index}" for index in range(1, 7))
_POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")

# Gripper poses after a reset, from the recordings of upstream; metres and a unit quaternion.
_HOME_POSE_LEFT = (-0.297924, -0.313804, 0.941999, 0.700001, -0.000007, -0.000004, 0.714142)
_HOME_POSE_RIGHT = (0.306433, -0.3128, 0.940998, 0.703563, -0.000007, -0.000004, 0.710633)


def _both_arms(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for side in ("left", "right") for name in (*names, "gripper"))


def _named_with_unit(name: str) -> str:
    if name.endswith("gripper"):
        return f"{name} (0 closed, 1 open)"
    unit = "m" if name.endswith(("_x", "_y", "_z")) else "unit quaternion"
    return f"{name} ({unit}, world frame)"


class _RoboTwin(Benchmark):
    """What both splits of RoboTwin 2.0 have in common."""

    action_specs: Mapping[str, ActionSpec] = {
        "joint": ActionSpec(
            names=_both_arms(_ARM),
            low=(*JOINT_LOW, 0.0) * 2,
            high=(*JOINT_HIGH, 1.0) * 2,
            neutral=(*(0.0,) * 6, 1.0) * 2,
            convention=(
                "absolute targets of both arms: six joint angles in radians from the shoulder, then the gripper from "
                "0 (closed) to 1 (open); left arm first; the neutral action is the home position"
            ),
            absolute_dimensions=tuple(range(14)),
        ),
        "ee": ActionSpec(
            names=_both_arms(_POSE),
            low=(-0.6, -0.5, 0.74, -1.0, -1.0, -1.0, -1.0, 0.0) * 2,
            high=(0.6, 0.4, 1.3, 1.0, 1.0, 1.0, 1.0, 1.0) * 2,
            neutral=(*_HOME_POSE_LEFT, 1.0, *_HOME_POSE_RIGHT, 1.0),
            convention=(
                "absolute poses of both grippers in the world frame: metres and a quaternion w x y z, then the gripper "
                "from 0 (closed) to 1 (open); left arm first; needs a motion planner"
            ),
            absolute_dimensions=tuple(range(16)),
        ),
    }
    cameras: Mapping[str, str] = {
        "head_camera": "over the robot's shoulders onto the table, 240x320 (RealSense D435)",
        "left_camera": "from the left wrist, 240x320 (RealSense D435)",
        "right_camera": "from the right wrist, 240x320 (RealSense D435)",
    }
    proprio_names = tuple(
        f"{name} (0 closed, 1 open)" if name.endswith("gripper") else f"{name} target (rad)"
        for name in _both_arms(_ARM)
    )
    proprio_names_in_mode: Mapping[str, tuple[str, ...]] = {
        "ee": tuple(map(_named_with_unit, _both_arms(_POSE))),
    }
    decided_by = ("processor vendor",)
    draws_with_vulkan = True
    scene_perturbations = ("camera", "light")
    environment = "simrun.envs.robotwin.environment:RoboTwinEnv"
    laboratory = "simrun.envs.robotwin.laboratory:RobotwinLaboratory"
    verbs: Mapping[str, str] = {"robotwin": "simrun.envs.robotwin.verbs:app"}
    machine = "simrun.envs.robotwin.machine:RoboTwinMachine"
    data_files = "simrun.envs.robotwin.data_files:RoboTwinFiles"
    requirements = Requirements(
        extra="robotwin",
        modules=("sapien", "mplib", "toppra", "transforms3d", "yaml", "PIL"),
        constraints={"sapien": "==3.0.3", "mplib": "==0.2.1", "toppra": "==0.6.10", "numpy": "==1.26.4"},
    )

    def tasks(self, protocol: Protocol) -> Sequence[Task]:
        """The 50 tasks in upstream's order.

        A task has the protocol's number of trials, or as many as the episode file holds when it holds fewer. A task
        that is not in the file keeps the protocol's number: asking for it is an error, not a silent gap.
        """
        file = find_episode_file(self.name)
        wanted = int(protocol.settings["episodes_per_task"])
        sentence = f"a sentence of its own for each episode, from the task's {protocol.settings['instructions']} ones"
        tasks = []
        for name in task_names():
            recorded = len(file.accepted(name)) if file is not None else 0
            tasks.append(Task(name, sentence, min(wanted, recorded or wanted), protocol.step_limit(name)))
        return tasks

    def sentences(self, protocol: Protocol) -> Mapping[str, str | None]:
        """The 50 tasks, each of whose episodes has a sentence of its own."""
        return dict.fromkeys(task_names())

    def check_protocol(self, protocol: Protocol) -> None:
        """Pictures and planner are settings with few values; an override asks for no episodes that nobody accepted."""
        protocol.choice("task_config", (self.task_config,))
        protocol.choice("instructions", INSTRUCTION_SPLITS)
        protocol.choice("shader", SHADERS)
        protocol.choice("denoiser", DENOISERS)
        protocol.choice("ee_planner", PLANNERS)
        for setting in ("samples_per_pixel", "path_depth"):
            protocol.number(setting, 1)
        wanted, file = protocol.number("episodes_per_task", 1), find_episode_file(self.name)
        most = max((len(file.accepted(name)) for name in task_names()), default=0) if file is not None else 0
        if "+episodes_per_task=" in protocol.name and most < wanted:
            raise UsageError(
                f"episodes_per_task={wanted} asks for more than the {most} episodes of a task that the episode file of "
                f"{self.name} holds"
            )

    def not_reportable(self, protocol: Protocol) -> str | None:
        """Another shader, denoiser or planner than the official ones, or our own planner's seeds."""
        official = self.protocol().settings
        changed = [
            f"{name} {protocol.settings[name]}"
            for name in ("shader", "samples_per_pixel", "path_depth", "denoiser", "ee_planner")
            if protocol.settings[name] != official[name]
        ]
        if changed:
            return f"the protocol has {', '.join(changed)} instead of the official settings"
        file = find_episode_file(self.name)
        if file is not None and file.provenance.get("planner") != "curobo":
            return f"its episodes were accepted by {file.provenance.get('planner')}, not by the official expert"
        return None

    @property
    def task_config(self) -> str:
        """Upstream's task configuration of this split."""
        return str(self.protocol().settings["task_config"])


class RobotwinEasy(_RoboTwin):
    """RoboTwin 2.0, clean scenes."""

    name = "robotwin_easy"
    summary = "RoboTwin 2.0 Easy: 50 dual-arm tasks in clean scenes (SAPIEN 3, over your own checkout)."
    default_protocol = "robotwin_easy/standard@1"
    laboratory = "simrun.envs.robotwin.laboratory:EasyLaboratory"
    seed_draws = "the block of scenes that the trials are taken from"
    table_form = TableForm(family="robotwin", side_by_side=True, column="Easy")


class RobotwinHard(_RoboTwin):
    """RoboTwin 2.0, randomised scenes."""

    name = "robotwin_hard"
    summary = "RoboTwin 2.0 Hard: the same tasks with clutter, textures, lights and table heights randomised."
    default_protocol = "robotwin_hard/standard@1"
    seed_draws = "the block of scenes that the trials are taken from"
    table_form = TableForm(family="robotwin", side_by_side=True, column="Hard")


@cache
def task_names() -> tuple[str, ...]:
    """The 50 tasks in the order of upstream's table of step limits."""
    document = resources.files(__package__).joinpath("tasks.json").read_text(encoding="utf-8")
    return tuple(json.loads(document))
