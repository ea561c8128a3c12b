"""Experiments that need SAPIEN, run in the benchmark's interpreter: ``laboratory.py EXPERIMENT REQUEST FINDINGS``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from simrun.envs import Episode, hash_state
from simrun.envs.expert import find_expert
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.vulkan import prepare_process, require_driver
from simrun.envs.perturbations import perturbed
from simrun.envs.simpler_bridge.benchmark import SimplerBridge
from simrun.envs.simpler_bridge.data_files import ModelFiles
from simrun.envs.simpler_bridge.tasks import TASKS
from simrun.errors import SimrunError
from simrun.testing.env_checker import check_benchmark_env

# That interpreter knows no entry points of simrun.
BENCHMARK = SimplerBridge()
CAMERA = "3rd_view_camera"


def episode(task: str, trial: int, protocol: str | None = None) -> Episode:
    """An episode under a protocol, by default the default one."""
    return Episode(BENCHMARK.protocol(protocol).name, task, trial)


def check(request: dict[str, Any]) -> str:
    """Everything that the contract asks of an environment; says which modules of ours it took."""
    check_benchmark_env(
        BENCHMARK.make_env, episode(request["task"], 5), steps=request["steps"], check_rendering=request["rendering"]
    )
    return "simrun.envs.simpler_bridge.camera" in sys.modules


def rollout(request: dict[str, Any]) -> dict[str, Any]:
    """Play actions in chunks; info, hash of the last state, and the hashes of pictures where they were asked for."""
    env = BENCHMARK.make_env(protocol=request.get("protocol"), cameras=request.get("cameras", ()))
    actions = np.array(request["actions"])
    info = env.begin(episode(request["task"], request["trial"], request.get("protocol")))
    first = hash_state(env.state())
    ended = False
    position = 0
    while position < len(actions) and not ended:
        _, terminated, truncated, info = env.advance(actions[position : position + request.get("chunk", 10)])
        position += info["executed_steps"]
        ended = terminated or truncated
    last = hash_state(env.state())
    picture = env.render_camera(CAMERA).tobytes().hex() if request.get("picture") else ""
    env.close()
    return {"info": info, "first": first, "last": last, "ended": ended, "picture": picture}


def absolute(request: dict[str, Any]) -> dict[str, list[float]]:
    """Where the end effector is after ten steps at one absolute target."""
    env = BENCHMARK.make_env(cameras=(), action_mode="ee_absolute_pose")
    env.begin(episode("carrot", 0))
    for _ in range(10):
        observation, *_ = env.step(np.asarray(request["action"]))
    reached = observation["proprio"][:7]
    env.close()
    return {"reached": np.asarray(reached).tolist()}


def dimmed(request: dict[str, Any]) -> dict[str, list[Any]]:
    """Axis -> state's hash, and the picture of the scene after three steps that do nothing, as a list."""
    found = {}
    for axis in ("none", *request["axes"]):
        protocol = perturbed(BENCHMARK.protocol(), BENCHMARK, axis)
        env = BENCHMARK.make_env(protocol=protocol)
        env.begin(Episode(protocol.name, request["task"], 0))
        env.advance(np.tile(env.action_spec.neutral_action(), (3, 1)))
        found[axis] = [hash_state(env.state()), env.render_camera(CAMERA)[::4, ::4].tolist()]
        env.close()
    return found


def rollouts(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Several rollouts, one after the other in one process."""
    return [rollout(one) for one in request["rollouts"]]


def interleaved(request: dict[str, Any]) -> dict[str, list[str]]:
    """Last states of two environments of one process, stepped one after the other and in turns."""
    envs = [BENCHMARK.make_env(cameras=()) for _ in range(2)]
    episodes = [episode("cube", 11), episode("spoon", 5)]
    actions = np.random.default_rng(0).normal(0, 0.01, (6, 1, 7))
    for env, chosen in zip(envs, episodes, strict=True):
        env.begin(chosen)
        for action in actions:
            env.advance(action)
    alone = [hash_state(env.state()) for env in envs]
    for env, chosen in zip(envs, episodes, strict=True):
        env.begin(chosen)
    for action in actions:
        for env in envs:
            env.advance(action)
    return {"alone": alone, "in turns": [hash_state(env.state()) for env in envs]}


def renderer_of_blind_env(request: dict[str, Any]) -> dict[str, bool]:
    """Whether an environment without cameras has a renderer, before and after its first picture."""
    env = BENCHMARK.make_env(cameras=())
    from simrun.envs.simpler_bridge.physics import engine

    env.reset(options={"episode": episode("carrot", 0)})
    env.step(env.action_spec.neutral_action())
    before = engine().get_renderer() is not None
    env.render_camera(CAMERA)
    return {"before": before, "after": engine().get_renderer() is not None}


def refusals(request: dict[str, Any]) -> list[str]:
    """What an environment says to things that it cannot do."""
    protocol = BENCHMARK.protocol().override(cameras={CAMERA: (224, 224)})
    attempts: list[Callable[[], Any]] = [
        lambda: BENCHMARK.make_env(protocol=protocol, cameras=()),
        lambda: BENCHMARK.make_env(cameras=("wrist",)),
        lambda: BENCHMARK.make_env(cameras=()).state(),
        lambda: BENCHMARK.make_env(cameras=()).render_camera(CAMERA),
        lambda: BENCHMARK.make_env(cameras=()).step(np.zeros(7)),
    ]
    return [said(attempt) for attempt in attempts]


def said(attempt: Callable[[], Any]) -> str:
    """Type and message of the error that an attempt ends in."""
    try:
        attempt()
    except SimrunError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def verify(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Reports of a folder of recordings."""
    reports = Laboratory.of(BENCHMARK).verify(Path(request["folder"]))
    return [{**asdict(report), "passed": report.passed} for report in reports]


def fingerprints(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Fingerprints of environments with and without a camera."""
    return [BENCHMARK.make_env(cameras=cameras).fingerprint() for cameras in (None, ())]


def expert(request: dict[str, Any]) -> list[bool]:
    """Success of the expert in the trials asked for, one action at a time."""
    env = BENCHMARK.make_env(cameras=(), privileged=True)
    solved = []
    for task, trial in request["trials"]:
        seen, _ = env.reset(options={"episode": episode(task, trial)})
        acting = find_expert(BENCHMARK)(task)
        ended = False
        while not ended:
            chunk = acting.act(seen["privileged"], np.random.default_rng(0))
            seen, _, terminated, truncated, info = env.step_chunk(chunk)
            ended = terminated or truncated
        solved.append(bool(info["success"]))
    return solved


def both_shaders(request: dict[str, Any]) -> dict[str, list[Any]]:
    """Task -> whether this driver has the right shaders, pictures compared with SAPIEN's, and how many differ."""
    prepare_process()
    import sapien.core as sapien

    from simrun.envs.simpler_bridge.camera import OverlayCamera, renderer
    from simrun.envs.simpler_bridge.shaders import SHIPPED, software_shaders

    renderer()
    ours = software_shaders(2)
    wanted = ours if require_driver().kind == "software" else SHIPPED
    right = ours != SHIPPED and sapien.render_config.camera_shader_dir == wanted
    files, found = ModelFiles(DataFiles.of(BENCHMARK).folder()), {}
    for task in TASKS:
        cameras = []
        for shaders in (ours, SHIPPED):
            sapien.render_config.camera_shader_dir = shaders
            cameras.append(OverlayCamera(task, files))
        env = BENCHMARK.make_env(cameras=())
        env.begin(episode(task.name, request["trial"]))
        equal = []
        for light, action in zip(request["lights"], request["actions"], strict=True):
            env.advance(np.array(action)[None])
            pictures = [camera.picture(env._world, light) for camera in cameras]
            masks = [camera.segmented_picture(env._world)[1] for camera in cameras]
            equal.append(np.array_equal(*pictures) and np.array_equal(*masks) and 0 < masks[0].mean() < 1)
        found[task.name] = [right, len(equal), equal.count(False)]
        env.close()
    return found


def kept_shaders(request: dict[str, Any]) -> dict[str, Any]:
    """What `software_shaders` answers: first, over a damaged file, without a place, and beside another SAPIEN."""
    from simrun.envs.simpler_bridge import shaders

    os.environ.update(SIMRUN_HOME=request["home"])
    folder = shaders.software_shaders(2)
    lighting = Path(folder) / "deferred.frag"
    written = lighting.read_text()
    lighting.write_text(written[:100])
    again = shaders.software_shaders(2)
    repaired = lighting.read_text() == written
    (Path(folder) / "gbuffer.frag").unlink()
    (Path(folder) / "gbuffer.frag").mkdir()
    no_place = shaders.software_shaders(2)
    shaders._KNOWN = "0" * 64
    return {
        "folders": [folder, again],
        "repaired": repaired,
        "no place": no_place,
        "another SAPIEN": shaders.software_shaders(2),
    }


def room_of_another_user(request: dict[str, Any]) -> list[str]:
    """Where a room is cooked when simrun's home is somebody else's: the place, and the place of a second call."""
    os.environ.update(SIMRUN_HOME=request["home"], TMPDIR=request["temporary"])
    from simrun.envs.simpler_bridge.room_mesh import cooked_room

    mesh = ModelFiles(DataFiles.of(BENCHMARK).folder()).scene(TASKS[0].scene)
    return [str(cooked_room(mesh)) for _ in range(2)]


if __name__ == "__main__":
    experiment, request, findings = sys.argv[1:]
    result = globals()[experiment](json.loads(request))
    Path(findings).write_text(json.dumps(result))
