"""Experiments for test_over_checkout.py, run in RoboTwin's interpreter: ``laboratory.py EXPERIMENT REQUEST OUT``.

Upstream's own stepping is at hand here, because a scene holds upstream's unmodified task object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from simrun.envs import Episode, hash_state
from simrun.envs.machine.vulkan import prepare_process
from simrun.envs.perturbations import AS_IT_IS, Perturbation, scene_change
from simrun.envs.robotwin.benchmark import RobotwinEasy, RobotwinHard
from simrun.envs.robotwin.checkout import Checkout
from simrun.envs.robotwin.laboratory import arm_waves
from simrun.errors import SimrunError

prepare_process()

from simrun.envs.robotwin.environment import RoboTwinEnv  # noqa: E402
from simrun.envs.robotwin.scene import Scene  # noqa: E402 (SAPIEN looks for Vulkan when it is imported)
from simrun.envs.robotwin.upstream import RenderSettings, load_upstream  # noqa: E402

BENCHMARKS = {"robotwin_easy": RobotwinEasy, "robotwin_hard": RobotwinHard}
RASTERISER = RenderSettings("default")


def set_up(request: dict[str, Any], planner: str = "none", **changes: Any) -> Scene:
    """The scene that a request names; ``changes`` go into upstream's domain randomisation."""
    upstream = load_upstream(Checkout.find())
    original = upstream.setup_arguments

    def changed_arguments(task: str, config: str) -> dict[str, Any]:
        arguments = original(task, config)
        arguments["domain_randomization"].update(changes)
        return arguments

    upstream.__dict__["setup_arguments"] = changed_arguments
    try:
        return Scene(upstream, request["task"], request["config"], request["seed"], RASTERISER, planner)
    finally:
        del upstream.__dict__["setup_arguments"]


def upstream_step(scene: Scene, action: np.ndarray, kind: str = "qpos") -> None:
    """Upstream's own ``take_action``, as its evaluation calls it."""
    with scene.visit():
        scene.task.take_action(action, action_type=kind)


def trajectory(scene: Scene, actions: np.ndarray, step: Callable[[Scene, np.ndarray], Any]) -> list[str]:
    """Hash of the state after the reset and after each action, until the first success."""
    hashes = [hash_state(scene.state())]
    for action in actions:
        step(scene, action)
        hashes.append(hash_state(scene.state()))
        if scene.task.eval_success:
            break
    scene.close()
    return hashes


def stepping(request: dict[str, Any]) -> Any:
    """Ours and upstream's own stepping from the same start."""
    actions = arm_waves(request["seed"], request["count"])
    actions[3] = actions[2]  # both arms are where they shall go
    actions[5, :7] = actions[4, :7]
    actions = actions.astype(request.get("dtype", "float64"))
    return {
        "ours": trajectory(set_up(request), actions, lambda scene, action: scene.execute(action, "joint")),
        "upstream": trajectory(set_up(request), actions, upstream_step),
    }


def stepping_by_pose(request: dict[str, Any]) -> Any:
    """End-effector poses by the CPU planner: ours and upstream's own stepping."""
    scene = set_up(request, "cpu")
    start = scene.gripper_poses()
    scene.close()
    actions = []
    for index in range(request["count"]):
        shift = np.array([0.02 * np.sin(index), 0.02 * index, -0.01 * index])
        left, right = start[:7].copy(), start[7:].copy()
        left[:3] += shift
        right[:3] += shift * [-1, 1, 1]
        actions.append([*left, 0.3, *right, 0.8])
    actions[-1][0] = 9.0  # out of reach: this arm idles
    chunk = np.array(actions)
    return {
        "ours": trajectory(set_up(request, "cpu"), chunk, lambda scene, action: scene.execute(action, "ee")),
        "upstream": trajectory(set_up(request, "cpu"), chunk, lambda scene, action: upstream_step(scene, action, "ee")),
    }


def flickering(request: dict[str, Any]) -> Any:
    """A Hard scene whose lights flicker: ours and upstream's stepping, lights included in the state."""
    actions = arm_waves(request["seed"], request["count"])
    scenes = [set_up(request, crazy_random_light_rate=1.0) for _ in range(2)]
    flickers = [bool(scene.task.crazy_random_light) for scene in scenes]
    outside = np.random.get_state()[1].tolist()
    findings = {
        "flickers": flickers,
        "ours": trajectory(scenes[0], actions, lambda scene, action: scene.execute(action, "joint")),
        "upstream": trajectory(scenes[1], actions, upstream_step),
    }
    findings["global_generator_untouched"] = outside == np.random.get_state()[1].tolist()
    return findings


def pictures(request: dict[str, Any]) -> Any:
    """Our pictures of single cameras and upstream's ``get_obs``, at the same state."""
    scene = set_up(request)
    for action in arm_waves(request["seed"], 4):
        scene.execute(action, "joint")
    before = hash_state(scene.state())
    ours = {name: scene.picture(name) for name in ("left_camera", "head_camera", "right_camera")}
    after = hash_state(scene.state())
    with scene.visit():
        observation = scene.task.get_obs()
    return {
        "unchanged": before == after == hash_state(scene.state()),
        "equal": {name: bool(np.array_equal(ours[name], observation["observation"][name]["rgb"])) for name in ours},
        "spread": {name: float(ours[name].std()) for name in ours},
        "proprio_equal": scene.controller.joint_targets().tolist() == observation["joint_action"]["vector"].tolist(),
        "sizes": {name: list(scene.picture_size(name)) for name in ours},
    }


def seen_otherwise(request: dict[str, Any]) -> Any:
    """A box falling over a table, by a standing and a carried camera, under each axis: what changes and what does not.

    The scene is built here, with the attributes of upstream's task that pictures need, so that no checkout is needed.
    """
    from types import SimpleNamespace

    import sapien

    def stand(name: str, position: list[float], forward: list[float]) -> Any:
        matrix = np.eye(4)
        matrix[:3] = np.stack([forward, [-1, 0, 0], np.cross(forward, [-1, 0, 0]), position], axis=1)
        camera = world.add_camera(name, 64, 48, np.deg2rad(37), 0.1, 100)
        camera.entity.set_pose(sapien.Pose(matrix))
        return camera

    def look() -> list[list[float]]:
        matrix = cameras["head_camera"].entity.get_pose().to_transformation_matrix()
        reach = (matrix[2, 3] - 0.74) / -matrix[2, 0]
        return [matrix[:3, 0].tolist(), (matrix[:3, 3] + reach * matrix[:3, 0]).tolist(), [float(reach)]]

    sapien.render.set_camera_shader_dir("default")
    world = sapien.Scene()
    world.set_ambient_light([0.5, 0.5, 0.5])
    lights = [world.add_point_light([side, 0, 1.8], [1, 1, 1]) for side in (1, -1)]
    sun = world.add_directional_light([0, 0.5, -1], [0.5, 0.5, 0.5])
    bodies: list[Any] = []
    for size, colour in (([0.6, 0.35, 0.37], [0.8, 0.8, 0.8, 1]), ([0.03, 0.03, 0.03], [1, 0, 0, 1])):
        builder = world.create_actor_builder()
        builder.add_box_collision(half_size=size)
        builder.add_box_visual(half_size=size, material=sapien.render.RenderMaterial(base_color=colour))
        builder.set_initial_pose(sapien.Pose([0, 0, 0.37]))
        bodies.append(builder.build() if bodies else builder.build_static())
    falling = bodies[1].find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
    cameras = {
        "head_camera": stand("head_camera", [-0.032, -0.45, 1.35], [0, 0.6, -0.8]),
        "left_camera": stand("left_camera", [0, -0.3, 1.0], [0, 0.8, -0.6]),
    }
    scene: Any = object.__new__(Scene)
    scene._cameras, carried = cameras, cameras["left_camera"].entity
    scene.task = SimpleNamespace(
        scene=world,
        point_light_lst=lights,
        direction_light_lst=[sun],
        table_z_bias=0.0,
        robot=SimpleNamespace(left_camera=carried, right_camera=carried),
        cameras=SimpleNamespace(static_camera_name=["head_camera"], update_wrist_camera=lambda left, right: None),
    )
    found: dict[str, Any] = {}
    for axis in ("none", "camera:5", "light:3"):
        bodies[1].set_pose(sapien.Pose([0, 0, 1.05]))
        falling.set_linear_velocity([0, 0, 0])
        change = AS_IT_IS if axis == "none" else scene_change(Perturbation.parse(axis), "episode")
        for _ in range(10):
            world.step()
        pictures = {name: scene.picture(name, change).tolist() for name in cameras}
        for _ in range(10):
            world.step()
        with scene._seen_otherwise("head_camera", change):
            during = look()
        state = [bodies[1].pose.p, bodies[1].pose.q, lights[0].color, sun.color, world.ambient_light]
        found[axis] = {"state": [np.asarray(part).tolist() for part in state], "after": look(), "during": during}
        found[axis]["pictures"] = pictures
    return found


def histories(request: dict[str, Any]) -> Any:
    """One episode in an environment, after what the request lists ran in the same process."""
    benchmark = BENCHMARKS[request["benchmark"]]()
    env = benchmark.make_env(cameras=())
    for task, trial in request["before"]:
        env.begin(Episode(env.protocol.name, task, trial))
        env.advance(arm_waves(1, 6))
    info = env.begin(Episode(env.protocol.name, request["task"], request["trial"]))
    hashes = [hash_state(env.state())]
    for start in range(0, request["count"], request["chunk"]):
        env.advance(arm_waves(2, request["count"])[start : start + request["chunk"]])
    hashes.append(hash_state(env.state()))
    instruction = env.observe()["instruction"]
    env.close()
    return {"hashes": hashes, "instruction": instruction, "scene_seed": info["scene_seed"]}


def contract(request: dict[str, Any]) -> Any:
    """The checker that every benchmark's environment must pass, on the tasks that need no object models."""
    from simrun.testing.env_checker import check_benchmark_env

    benchmark = RobotwinEasy()
    # One camera shows as much of the contract as three, in a third of the time.
    protocol = benchmark.protocol().override(shader="default", cameras={"head_camera": (240, 320)})
    everything = benchmark.tasks
    benchmark.__dict__["tasks"] = lambda chosen: [task for task in everything(chosen) if task.trials < 100]

    def make(**options: Any) -> Any:
        return benchmark.make_env(protocol=protocol, **options)

    episode = Episode(protocol.name, request["task"], 0)
    check_benchmark_env(make, episode, steps=request["count"])
    return "passed"


def rehearsal(request: dict[str, Any]) -> Any:
    """Attributes that the success check needs, derived from the scene, against those that the expert's run sets."""
    derived = set_up(request)
    names = request["attributes"]
    before = hash_state(derived.state())
    findings: dict[str, Any] = {"derived": {name: str(getattr(derived.task, name)) for name in names}}
    findings["success_check"] = derived.succeeded()
    findings["unmoved"] = before == hash_state(derived.state())
    derived.close()
    expert = set_up(request, "cpu")
    for name in names:
        delattr(expert.task, name)
    with expert.visit():
        expert.task.play_once()
    findings["expert"] = {name: str(getattr(expert.task, name)) for name in names}
    return findings


def stages(request: dict[str, Any]) -> Any:
    """A task whose success check remembers a stage: the memory is empty at each start and part of the state."""
    scene = set_up(request, "cpu")
    start = hash_state(scene.state())
    with scene.visit():
        scene.task.play_once()
    reached = bool(scene.task.stage_success_tag) or scene.succeeded()
    scene.close()
    again = set_up(request)
    return {
        "reached": reached,
        "fresh": not again.task.stage_success_tag,
        "same_start": hash_state(again.state()) == start,
    }


def poses(request: dict[str, Any]) -> Any:
    """What the ``ee`` mode observes, against upstream's ``endpose``, and the privileged state."""
    benchmark = RobotwinEasy()
    protocol = benchmark.protocol().override(ee_planner="cpu")
    env = benchmark.make_env(protocol=protocol, cameras=(), action_mode="ee", privileged=True)
    observation, _ = env.reset(options={"episode": Episode(protocol.name, "stack_blocks_two", 0)})
    assert isinstance(env, RoboTwinEnv)
    scene = env._running_scene()
    with scene.visit():
        upstream = [*scene.task.get_arm_pose("left"), 1.0, *scene.task.get_arm_pose("right"), 1.0]
    return {
        "endpose": upstream,
        "proprio": observation["proprio"].tolist(),
        "in_space": observation in env.observation_space,
        "objects": int(observation["privileged"]["object_count"][0]),
        "names": list(scene.object_poses()),
    }


def refusals(request: dict[str, Any]) -> Any:
    """What an environment refuses on a machine without GPU and cuRobo, and what stands in its fingerprint."""
    benchmark = RobotwinEasy()
    official = benchmark.protocol()
    requests: dict[str, dict[str, Any]] = {
        "official pictures": {},
        "official planner": {"cameras": (), "action_mode": "ee"},
        "another size": {"protocol": official.override(shader="default", cameras={"head_camera": (480, 640)})},
        "another shader": {"protocol": official.override(shader="toon")},
        "trial beyond the file": {"cameras": ()},
    }
    found = {}
    for name, options in requests.items():
        try:
            env = benchmark.make_env(**options)
            env.begin(Episode(env.protocol.name, "stack_blocks_three", 7))
        except SimrunError as error:
            found[name] = f"{type(error).__name__}: {error}"
    unseen = benchmark.make_env(cameras=())
    unseen.begin(Episode(official.name, "stack_blocks_two", 0))
    try:
        unseen.render_camera("head_camera")
    except SimrunError as error:
        found["official film"] = f"{type(error).__name__}: {error}"
    unseen.close()
    rasterised = benchmark.make_env(protocol=official.override(shader="default"), cameras=("head_camera",))
    by_pose = benchmark.make_env(protocol=official.override(ee_planner="cpu"), cameras=(), action_mode="ee")
    return {"refused": found, "fingerprints": [rasterised.fingerprint(), by_pose.fingerprint()]}


EXPERIMENTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    experiment.__name__: experiment
    for experiment in (
        stepping,
        stepping_by_pose,
        flickering,
        pictures,
        seen_otherwise,
        histories,
        contract,
        rehearsal,
        stages,
        poses,
        refusals,
    )
}

if __name__ == "__main__":
    name, text, out = sys.argv[-3:]
    Path(out).write_text(json.dumps(EXPERIMENTS[name](json.loads(text))))
