"""Experiments that need MuJoCo, run in LIBERO's interpreter: ``laboratory.py EXPERIMENT REQUEST FINDINGS``."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.spatial.transform import Rotation

from simrun.envs import BenchmarkEnv, Episode, hash_state, perturbations
from simrun.envs.expert import find_expert
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.libero import robustness
from simrun.envs.libero.benchmark import Libero10, LiberoGoal, LiberoObject
from simrun.envs.libero.robustness import LiberoPlusObject
from simrun.envs.libero.robustness.suites import PROMPTS
from simrun.envs.libero.suites import suite_tasks
from simrun.envs.machine.machine_setup import MachineSetup
from simrun.envs.perturbations import AXES
from simrun.errors import SimrunError
from simrun.testing.env_checker import check_benchmark_env

# That interpreter knows no entry points of simrun.
BENCHMARK = Libero10()
# MuJoCo chooses how to draw when it is imported.
MachineSetup.of(BENCHMARK).prepare_process()
TASKS = suite_tasks("libero_10")
PERTURBED = {benchmark.name: benchmark for benchmark in (getattr(robustness, name) for name in robustness.__all__)}


def episode(task: int, trial: int, protocol: str = "standard", seed: int = 0) -> Episode:
    """An episode of a LIBERO-10 task, by the task's index."""
    return Episode(BENCHMARK.protocol(protocol).name, TASKS[task], trial, seed)


def check(request: dict[str, Any]) -> str:
    """Everything that the contract asks of an environment, for some tasks."""
    for task in request["tasks"]:
        check_benchmark_env(BENCHMARK.make_env, episode(task, 3), steps=request["steps"])
    return "passed"


def verify(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Reports of the recordings of these names in a folder; all of them when none is named."""
    folder = Path(request["folder"])
    with tempfile.TemporaryDirectory() as chosen:
        for name in request.get("names") or [path.name for path in folder.glob("*.npz")]:
            (Path(chosen) / Path(name).name).symlink_to(folder / name)
        benchmark = PERTURBED[request["benchmark"]]() if "benchmark" in request else BENCHMARK
        return [{**asdict(report), "passed": report.passed} for report in Laboratory.of(benchmark).verify(Path(chosen))]


def states(request: dict[str, Any]) -> dict[str, list[str]]:
    """Hashes of the states after each chunk, in one environment for all tasks in turn, twice, and in fresh ones."""

    def run(env: BenchmarkEnv, task: int) -> str:
        env.begin(episode(task, 4))
        hashes = [hash_state(env.state())]
        for start in range(0, 12, 4):
            env.advance(actions[start : start + 4])
            hashes.append(hash_state(env.state()))
        return " ".join(hashes)

    actions = Laboratory.of(BENCHMARK).sample_actions(0, 12)
    reused = BENCHMARK.make_env(cameras=())
    found = {"first": [], "again": [], "fresh": []}
    for name in ("first", "again"):
        found[name] = [run(reused, task) for task in request["tasks"]]
    reused.close()
    for task in request["tasks"]:
        fresh = BENCHMARK.make_env(cameras=())
        found["fresh"].append(run(fresh, task))
        fresh.close()
    return found


def compiled_functions(request: dict[str, Any]) -> list[int]:
    """How often numba took what it had compiled, of one file in two folders, then with another content."""
    from numba import config

    config.CACHE_DIR = request["cache"]
    hits = []
    for number, factor in enumerate((2, 2, 3)):
        file = Path(request["cache"]) / f"checkout{number}" / "law.py"
        file.parent.mkdir()
        line = "from simrun.envs.libero.compiled_functions import compiled\n\n\n@compiled\ndef law(x):\n"
        file.write_text(f"{line}    return {factor} * x\n")
        law = runpy.run_path(str(file))["law"]
        assert law(1.5) == factor * 1.5
        hits.append(sum(law.stats.cache_hits.values()))
    return hits


def two_environments(request: dict[str, Any]) -> dict[str, bool]:
    """Whether environments of different tasks in one process draw as each draws alone."""

    def draw(env: BenchmarkEnv) -> list[Any]:
        return list(env.observe()["images"].values())

    def same(left: list[Any], right: list[Any]) -> bool:
        return all(np.array_equal(ours, theirs) for ours, theirs in zip(left, right, strict=True))

    first, second = BENCHMARK.make_env(), BENCHMARK.make_env()
    first.begin(episode(5, 0))
    alone = draw(first)
    second.begin(episode(9, 0))
    other = draw(second)
    found = {
        "differ": not same(alone, other),
        "plausible": all(float(image.std()) > 10 for image in [*alone, *other]),
        "beside another": same(draw(first), alone),
    }
    first.advance(Laboratory.of(BENCHMARK).sample_actions(1, 4))
    moved = draw(first)
    found["moves"] = not same(moved, alone)
    found["the other unmoved"] = same(draw(second), other)
    second.close()
    found["after the other was closed"] = same(draw(first), moved)
    first.begin(episode(5, 0))
    found["begun again"] = same(draw(first), alone)
    first.close()
    return found


def images(request: dict[str, Any]) -> list[Any]:
    """Sum of the pixels of both cameras, and the OpenGL backend that drew them."""
    env = BENCHMARK.make_env()
    env.begin(episode(request["task"], 0))
    observed = [image.astype(int).sum().item() for image in env.observe()["images"].values()]
    env.close()
    return [BENCHMARK.make_env(cameras=()).fingerprint()["renderer"]["backend"], *observed]


def in_sight(request: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """Camera -> of each state along some motion: geometries left out, and whether drawing them changes a pixel."""
    from simrun.envs.libero.sight import Sight

    env = BENCHMARK.make_env()
    env.begin(episode(request["task"], 0))
    found: dict[str, list[list[Any]]] = {camera: [] for camera in env.camera_names}
    left_out, unseen = [], Sight.unseen

    def counting(sight: Sight, *view: Any) -> Any:
        left_out.append(unseen(sight, *view))
        return left_out[-1]

    for action in Laboratory.of(BENCHMARK).sample_actions(request["seed"], request["steps"]):
        env.advance(np.tile(action, (8, 1)))
        for camera, states in found.items():
            with patch.object(Sight, "unseen", counting):
                limited = env.render_camera(camera)
            with patch.object(Sight, "unseen", lambda *_: np.empty(0, np.intp)):
                whole = env.render_camera(camera)
            states.append([len(left_out[-1]), not np.array_equal(limited, whole)])
    env.close()
    return found


def perturbed(request: dict[str, Any]) -> dict[str, list[Any]]:
    """Axis -> whether the state is the same as without it, and how far each camera's mean grey moves."""
    found, before = {}, None
    for axis in ("none", *AXES):
        protocol = perturbations.perturbed(BENCHMARK.protocol(), BENCHMARK, axis if axis == "none" else f"{axis}:4")
        env = BENCHMARK.make_env(protocol=protocol)
        env.begin(Episode(protocol.name, TASKS[request["task"]], 0))
        env.advance(np.tile(env.action_spec.neutral_action(), (2, 1)))
        seen, state = {name: image.astype(float) for name, image in env.observe()["images"].items()}, env.state()
        before = before or (seen, hash_state(state))
        moved = {name: float(np.abs(image - before[0][name]).mean()) for name, image in seen.items()}
        found[axis] = [hash_state(state) == before[1], moved]
        env.close()
    return found


def interest(request: dict[str, Any]) -> list[float]:
    """The largest extent of each object of interest in a perturbed task (m); 0 where there is none."""
    benchmark = PERTURBED[request["benchmark"]]()
    env = benchmark.make_env(cameras=(), privileged=True)
    env.begin(Episode(env.protocol.name, request["task"], 0))
    bounds = env.observe()["privileged"]["object_bounds"]
    env.close()
    return [float(np.ptp(one, axis=0).max()) for one in bounds]


def twins(request: dict[str, Any]) -> dict[str, list[Any]]:
    """Variant -> how many numbers of the state that it begins in are not its twin's, and what each is told and asks."""
    found = {}
    for name in request["tasks"]:
        benchmark = PERTURBED[request["benchmark"]]()
        variant = benchmark.task(benchmark.protocol(), name).variant
        others = {one.name: one for one in (BENCHMARK, LiberoGoal(), LiberoObject(), benchmark)}
        twin = others[variant.twin_protocol.partition("/")[0]]
        begun = []
        for one, protocol, task in ((benchmark, "base", name), (twin, variant.twin_protocol, variant.twin_task)):
            env = one.make_env(cameras=(), protocol=one.protocol(protocol).override(settle_steps=0))
            env.begin(Episode(env.protocol.name, task, 0))
            state = env.state()
            numbers = np.concatenate([state[key].ravel() for key in ("time", "qpos", "qvel", "fixtures")])
            begun.append((numbers, env.observe()["instruction"], list(env._stages())))
            env.close()
        (ours, *said), (theirs, *twin_said) = begun
        found[name] = [int((ours != theirs).sum()), said, twin_said]
    return found


def traps(request: dict[str, Any]) -> dict[str, Any]:
    """For each number of dummy steps, two variants of one task: equal states, angle between hands, equal pictures.

    The pictures are the first variant's beside the second's, and beside its own, begun again after that.
    """
    benchmark, found = LiberoPlusObject(), {}
    for settle in (0, 10):
        protocol = benchmark.protocol().override(settle_steps=settle)
        env, seen = benchmark.make_env(protocol=protocol, cameras=("agentview",)), []
        for name in (request["noise"], request["robot"], request["noise"]):
            generator = np.random.get_state()[1].tolist()
            env.begin(Episode(protocol.name, name, 0))
            observed = env.observe()
            assert generator == np.random.get_state()[1].tolist()
            state = {name: env.state()[name] for name in ("time", "qpos", "qvel", "fixtures")}
            seen.append((hash_state(state), observed["images"]["agentview"], observed["proprio"][3:6]))
        env.close()
        (begun, picture, hand), (other, plain, turned), (again, repeated, _) = seen
        assert begun == again
        angle = (Rotation.from_rotvec(hand).inv() * Rotation.from_rotvec(turned)).magnitude()
        same = [bool(np.array_equal(picture, one)) for one in (plain, repeated)]
        found[str(settle)] = [begun == other, float(np.degrees(angle)), *same]
    return found


def definitions(request: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Benchmark -> category and number of states -> variants whose definition, sentences and states were read."""
    found = {}
    for name, kind in PERTURBED.items():
        benchmark, read = kind(), Counter()
        for task in benchmark.tasks(benchmark.protocol()):
            variant = benchmark.perturbed_tasks()[task.name]
            recipe = benchmark.recipe(variant, "base")
            assert "(:goal" in recipe.model.bddl, task
            assert all(benchmark.told(variant, prompt) for prompt in PROMPTS), task
            states = np.atleast_2d(recipe.read_states())
            assert np.isfinite(states).all(), task
            read[f"{variant.category}, {len(states)}"] += 1
        found[name] = read
    return found


def interleaved(request: dict[str, Any]) -> dict[str, Any]:
    """Whether the VLM4VLA protocol settles between the first five policy steps, as written out step by step."""
    from simrun.envs.libero.environment import LiberoEnv
    from simrun.envs.libero.scene import SETTLE_ACTION

    actions = Laboratory.of(BENCHMARK).sample_actions(2, 8)
    env = BENCHMARK.make_env(protocol="vlm4vla", cameras=())
    env.begin(episode(5, 6, "vlm4vla"))
    env.advance(actions)
    interleaved = env.state()
    assert isinstance(env, LiberoEnv)
    scene = env.load_scene(TASKS[5])
    env.replay(TASKS[5], scene.initial_states[6], scene.fixture_poses(0, 6))
    for step, action in enumerate(actions):
        if step < 5:
            scene.step(SETTLE_ACTION)
        scene.step(action)
    written_out = env.state()
    limit = BENCHMARK.tasks(env.protocol)[5].max_steps
    env.close()
    return {"equal": hash_state(interleaved) == hash_state(written_out), "limit": limit}


def absolute(request: dict[str, Any]) -> dict[str, bool]:
    """Whether absolute control is upstream's controller with deltas off, and observes what that measured."""
    env: Any = BENCHMARK.make_env(cameras=(), action_mode="absolute_pose")
    env.begin(episode(1, 0))
    from libero.libero.envs.env_wrapper import ControlEnv

    from simrun.envs.libero.scene import SETTLE_ACTION
    from simrun.envs.libero.upstream import task_file

    upstream = ControlEnv(
        bddl_file_name=str(task_file("libero_10", TASKS[1])), use_camera_obs=False, has_offscreen_renderer=False
    )
    upstream.seed(7)
    upstream.reset()
    upstream.sim.data._data.qacc_warmstart[:] = 0.0
    upstream.set_init_state(env.load_scene(TASKS[1]).initial_states[0])
    for _ in range(10):
        upstream.step(SETTLE_ACTION)
    controller = upstream.env.robots[0].controller
    controller.use_delta = False
    found = {"states": True, "poses": True}
    generator = np.random.default_rng(3)
    for step in range(request["steps"]):
        target = controller.ee_pos + generator.normal(0, 0.02, 3)
        turn = np.array([3.0, 0.1, -0.2]) + generator.normal(0, 0.1, 3)
        action = np.concatenate([target, turn, [(-1.0) ** step]]).astype(np.float32)
        upstream.step(action)
        env.advance(action[None])
        scene = env.load_scene(TASKS[1])
        found["states"] &= np.array_equal(upstream.get_sim_state(), scene.flattened_state())
        position, orientation = scene.arm.measured_pose()
        found["poses"] &= np.array_equal(controller.ee_pos, position)
        found["poses"] &= np.array_equal(controller.ee_ori_mat, orientation)
        observed = env.observe()["proprio"]
        found["poses"] &= np.array_equal(observed[8:11], position.astype(np.float32)) and len(observed) == 14
    upstream.close()
    env.close()
    return found


def fixtures(request: dict[str, Any]) -> dict[str, bool]:
    """Whether replayed draws are those of upstream's own hard resets, for a seed beyond the table."""
    from simrun.envs.libero.environment import LiberoEnv
    from simrun.envs.libero.fixtures import fixture_bodies, read_poses
    from simrun.envs.libero.upstream import task_file

    found = {}
    env = BENCHMARK.make_env(cameras=())
    assert isinstance(env, LiberoEnv)
    for task in request["tasks"]:
        ours = env.load_scene(TASKS[task]).drawn_poses(request["seed"])[: request["episodes"]]
        from libero.libero.envs.env_wrapper import ControlEnv

        upstream = ControlEnv(
            bddl_file_name=str(task_file("libero_10", TASKS[task])), use_camera_obs=False, has_offscreen_renderer=False
        )
        upstream.seed(request["seed"])
        theirs = []
        for _ in range(request["episodes"]):
            upstream.reset()
            theirs.append(read_poses(upstream.sim.model._model, fixture_bodies(upstream.env)))
        upstream.close()
        found[TASKS[task]] = np.array_equal(ours, np.stack(theirs))
    env.close()
    return found


def blind(request: dict[str, Any]) -> dict[str, Any]:
    """What an environment without cameras leaves behind: OpenGL modules, numpy's global generator, an observation."""
    before = np.random.get_state()[1].tolist()
    env = BENCHMARK.make_env(cameras=(), privileged=True)
    observation, _ = env.reset(options={"episode": episode(2, 1, seed=3)})
    found = {
        "opengl": sorted(name for name in sys.modules if name.startswith(("OpenGL", "glfw", "mujoco.egl", "torch"))),
        "generator untouched": np.random.get_state()[1].tolist() == before,
        "in space": observation in env.observation_space,
        "proprio": observation["proprio"].tolist(),
        "instruction": observation["instruction"],
    }
    env.close()
    return found


def refusal(request: dict[str, Any]) -> str:
    """Type and message of the error that an attempt ends in, with data files in another folder where one is named."""
    if "assets" in request:
        os.environ["SIMRUN_ASSETS"] = request["assets"]
    attempts: dict[str, Callable[[], Any]] = {
        "begin": lambda: begin(request["suite"]),
        "rotation": lambda: BENCHMARK.make_env(protocol=BENCHMARK.protocol().override(image_rotation=90), cameras=()),
        "seed": lambda: BENCHMARK.make_env(cameras=()).begin(episode(0, 0, seed=-8)),
        "idle": lambda: BENCHMARK.make_env(cameras=()).state(),
    }
    try:
        attempts[request["attempt"]]()
    except SimrunError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def begin(suite: str) -> None:
    """Start the first episode of a suite."""
    benchmark = {"libero_10": Libero10, "libero_goal": LiberoGoal}[suite]()
    env = benchmark.make_env(cameras=())
    try:
        env.reset(options={"episode": Episode(env.protocol.name, suite_tasks(suite)[0], 0)})
    finally:
        env.close()


def fingerprint(request: dict[str, Any]) -> dict[str, Any]:
    """The benchmark's fingerprint on this machine."""
    return BENCHMARK.make_env(cameras=()).fingerprint()


def expert(request: dict[str, Any]) -> list[bool]:
    """Success of the expert in the trials asked for, each a task's index and a trial."""
    env = BENCHMARK.make_env(cameras=(), privileged=True)
    successes = []
    for task, trial in request["trials"]:
        seen, _ = env.reset(options={"episode": episode(task, trial)})
        acting = find_expert(BENCHMARK)(TASKS[task])
        ended = False
        while not ended:
            chunk = acting.act(seen["privileged"], np.random.default_rng(0))
            seen, _, terminated, truncated, info = env.step_chunk(chunk)
            ended = terminated or truncated
        successes.append(bool(info["success"]))
    env.close()
    return successes


if __name__ == "__main__":
    experiment, request, findings = sys.argv[1:]
    result = globals()[experiment](json.loads(request))
    Path(findings).write_text(json.dumps(result))
