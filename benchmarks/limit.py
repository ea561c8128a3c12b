"""How far an environment is from the limit: the time inside the simulator's own physics and drawing calls.

    python benchmarks/limit.py libero_10 calvin [--chunks 1 4 10] [--turns 3] [--blind] [--profile]

Nothing can be faster than the physics steps of an action and one picture a chunk. Each benchmark's environment runs the
same actions twice in turns, in the benchmark's own interpreter: once as it is, and once with a stopwatch around the
simulator's calls (``mj_step1`` and ``mj_step2``, ``stepSimulation``, ``scene.step``, and those that draw). Printed are
the CPU seconds of both and their ratio; ``--profile`` names what the rest is spent on.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import json
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simrun.envs import BenchmarkEnv, Episode, get_benchmark
from simrun.envs.machine import bootstrap
from simrun.envs.machine.interpreters import find_interpreter


@dataclass(frozen=True)
class Course:
    """What is run on a benchmark.

    Attributes:
        task: task of the episode.
        trial: its trial.
        steps: control steps.
        chunks: chunk lengths by default.
        scale: size of the random motion, for each dimension but the gripper's.
        physics: the simulator's calls that step, as (module, dotted name).
        drawing: those that draw.
        overrides: settings of the protocol.
    """

    task: str
    trial: int
    steps: int
    chunks: tuple[int, ...]
    scale: tuple[float, ...]
    physics: tuple[tuple[str, str], ...]
    drawing: tuple[tuple[str, str], ...]
    overrides: tuple[tuple[str, Any], ...] = ()


_MUJOCO_DRAWING = tuple(("mujoco", name) for name in ("mjv_updateScene", "mjr_render", "mjr_readPixels"))
_SAPIEN2_DRAWING = (
    ("sapien.core", "Scene.update_render"),
    ("sapien.core", "CameraEntity.take_picture"),
    ("sapien.core", "CameraEntity.get_float_texture"),
    ("sapien.core", "CameraEntity.get_uint32_texture"),
)
_SAPIEN3_DRAWING = (
    ("sapien", "Scene.update_render"),
    ("sapien.render", "RenderCameraComponent.take_picture"),
    ("sapien.render", "RenderCameraComponent.get_picture"),
)

COURSES = {
    "libero_10": Course(
        "LIVING_ROOM_SCENE2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket",
        0,
        60,
        (1, 4, 10),
        (0.5,) * 6,
        (("mujoco", "mj_step1"), ("mujoco", "mj_step2")),
        _MUJOCO_DRAWING,
    ),
    "calvin": Course(
        "sequence",
        0,
        180,
        (1, 4, 10),
        (0.3,) * 6,
        (("pybullet", "stepSimulation"),),
        (("pybullet", "getCameraImage"),),
    ),
    "simpler_bridge": Course(
        "carrot", 7, 60, (1, 4, 10), (0.012,) * 3 + (0.04,) * 3, (("sapien.core", "Scene.step"),), _SAPIEN2_DRAWING
    ),
    "robotwin_easy": Course(
        "stack_blocks_two",
        0,
        16,
        (1, 4, 16),
        (),
        (("sapien", "Scene.step"),),
        _SAPIEN3_DRAWING,
        (("shader", "default"),),
    ),
}


class Stopwatch:
    """CPU seconds of the process spent inside wrapped functions, the renderer's threads included."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.process_time() - started

        return timed


@contextmanager
def watched(calls: tuple[tuple[str, str], ...], watch: Stopwatch) -> Iterator[None]:
    """Time some functions of modules and methods of classes."""
    originals = []
    for module, dotted in calls:
        owner: Any = importlib.import_module(module)
        *classes, name = dotted.split(".")
        for part in classes:
            owner = getattr(owner, part)
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, watch.around(originals[-1][2]))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


@contextmanager
def rebound(env: BenchmarkEnv) -> Iterator[None]:
    """Let CALVIN's client, which binds PyBullet's functions once, bind them anew inside and afterwards."""
    client = getattr(env, "_client", None)
    try:
        if client is not None:
            _unbind(client)
        yield
    finally:
        if client is not None:
            _unbind(client)


def _unbind(client: Any) -> None:
    for name in ("stepSimulation", "getCameraImage"):
        vars(client).pop(name, None)


def actions_of(course: Course, env: BenchmarkEnv) -> np.ndarray:
    """Smooth random motion; RoboTwin's own sample of joint targets."""
    if not course.scale:
        from simrun.envs.robotwin.laboratory import arm_waves

        return arm_waves(0, course.steps)
    generator = np.random.default_rng(0)
    actions = np.zeros((course.steps, env.action_spec.dimension), dtype=np.float32)
    motion = np.zeros(len(course.scale))
    for step in range(course.steps):
        motion = 0.85 * motion + 0.35 * generator.standard_normal(len(course.scale))
        actions[step, :-1] = np.clip(motion, -1, 1) * course.scale
        actions[step, -1] = 1.0 if step // 20 % 2 == 0 else -1.0
    return actions


def execute(env: BenchmarkEnv, actions: np.ndarray, chunk: int) -> None:
    """All actions, with one observation a chunk."""
    for position in range(0, len(actions), chunk):
        env.advance(actions[position : position + chunk])
        env.observe()


def run(env: BenchmarkEnv, episode: Episode, actions: np.ndarray, chunk: int) -> tuple[float, float]:
    """Wall and CPU seconds of all actions, without the reset."""
    env.reset(options={"episode": episode})
    started, spent = time.perf_counter(), time.process_time()
    execute(env, actions, chunk)
    return time.perf_counter() - started, time.process_time() - spent


def measure(name: str, target: str, chunks: list[int], turns: int, profiled: bool, blind: bool) -> dict[str, Any]:
    """Figures of a benchmark, in its own interpreter, which knows no benchmark by its name."""
    course, benchmark = COURSES[name], get_benchmark(target)
    protocol = benchmark.protocol().override(**dict(course.overrides))
    env = benchmark.make_env(protocol=protocol, cameras=() if blind else None)
    episode = Episode(protocol.name, course.task, course.trial)
    actions = actions_of(course, env)
    run(env, episode, actions[: max(chunks)], max(chunks))
    figures: dict[str, Any] = {}
    for chunk in chunks:
        rows = []
        for _ in range(turns):
            wall, cpu = run(env, episode, actions, chunk)
            physics, drawing = Stopwatch(), Stopwatch()
            env.reset(options={"episode": episode})
            with watched(course.physics, physics), watched(course.drawing, drawing), rebound(env):
                execute(env, actions, chunk)
            rows.append([1000 * value / len(actions) for value in (wall, cpu, physics.seconds, drawing.seconds)])
        figures[str(chunk)] = [statistics.median(column) for column in zip(*rows, strict=True)]
    if profiled:
        profile = cProfile.Profile()
        env.reset(options={"episode": episode})
        profile.runcall(execute, env, actions, chunks[-1])
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(18)
    env.close()
    return figures


def in_interpreter(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of the benchmark's interpreter."""
    expose = f"import runpy; runpy.run_path({bootstrap.__file__!r})['expose'](*{bootstrap.location('simrun')!r})"
    code = f"{expose}; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')"
    chunks = options.chunks or list(COURSES[name].chunks)
    benchmark = get_benchmark(name)
    request = json.dumps([name, benchmark.target, chunks, options.turns, options.profile, options.blind])
    command = [find_interpreter(benchmark), "-c", code, "--inside", request]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", metavar="BENCH", help=", ".join(COURSES))
    parser.add_argument("--chunks", type=int, nargs="+", help="chunk lengths")
    parser.add_argument("--turns", type=int, default=3, help="turns of which the median is taken")
    parser.add_argument("--profile", action="store_true", help="print where the longest chunk's time goes")
    parser.add_argument("--blind", action="store_true", help="without any camera")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measure(*json.loads(options.inside))))
        return
    if unknown := set(options.benchmarks) - set(COURSES):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(COURSES)}")
    print("| benchmark | chunk | wall ms a control step | CPU ms | of it physics | drawing | CPU / limit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.benchmarks or list(COURSES):
        for chunk, (wall, cpu, physics, drawing) in in_interpreter(name, options).items():
            ratio = cpu / (physics + drawing)
            print(f"| {name} | {chunk} | {wall:.2f} | {cpu:.2f} | {physics:.2f} | {drawing:.2f} | {ratio:.2f} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
