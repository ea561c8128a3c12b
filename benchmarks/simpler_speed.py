"""How long an episode of SimplerEnv-Bridge takes: ours, and the same environment observing as upstream does.

Run it with SIMRUN_ASSETS set: ``python benchmarks/simpler_speed.py``. Upstream takes, after every control step, two
pictures (640x480 and an unused 128x128) with colour, position and segmentation each, and mixes the photograph in
floating point. Ours takes one picture a chunk. All ways run in turns in one process, on the same actions and up to the
same state; each figure is that of the least disturbed turn. A warm reset is compared with a process that constructs
its first environment. Exit code 1 if ours is not at least 2.5 (chunks of 4) and 4 (chunks of 10) times faster.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs import BenchmarkEnv, Episode, get_benchmark, hash_state
from simrun.envs.machine import bootstrap
from simrun.envs.machine.interpreters import find_interpreter

BENCHMARK = get_benchmark("simpler_bridge")
TURNS = 5
STEPS = 60
TASK, TRIAL = "carrot", 7
WANTED = {4: 2.5, 10: 4.0}

Clock = Callable[[], float]


def wandering_actions() -> npt.NDArray[np.float32]:
    """Smooth random motion over the table, ``[60, 7]``."""
    generator = np.random.default_rng(0)
    actions = np.zeros((STEPS, 7), dtype=np.float32)
    velocity = np.zeros(6)
    for step in range(STEPS):
        velocity = 0.8 * velocity + 0.6 * generator.standard_normal(6)
        actions[step, :6] = velocity * [0.012, 0.012, 0.012, 0.04, 0.04, 0.04]
        actions[step, 6] = 1.0 if step % 20 < 10 else -1.0
    return actions


class UpstreamObserver:
    """Takes the pictures that upstream takes after every step, of the world that an environment simulates."""

    def __init__(self, env: Any) -> None:
        import sapien.core as sapien

        from simrun.envs.simpler_bridge.camera import OverlayCamera, renderer
        from simrun.envs.simpler_bridge.shaders import SHIPPED

        self._env = env
        renderer()
        ours = sapien.render_config.camera_shader_dir
        sapien.render_config.camera_shader_dir = SHIPPED
        self._camera = OverlayCamera(env._world.task, env._files)
        self._photo = self._camera._photo / 255
        self._base_camera = self._camera._scene.add_camera("base_camera", 128, 128, np.pi / 2, 0.01, 10)
        self._base_camera.set_pose(sapien.Pose([0.3, 0.0, 0.6], [0.38, 0.0, 0.92, 0.0]))
        sapien.render_config.camera_shader_dir = ours

    def observe(self) -> npt.NDArray[np.uint8]:
        """Both pictures with all their textures, the photograph mixed in; returns the large one."""
        self._camera.follow(self._env._world)
        cameras = (self._base_camera, self._camera._camera)
        for camera in cameras:
            camera.take_picture()
        for camera in cameras:
            color = camera.get_float_texture("Color")
            camera.get_float_texture("Position")
            segmentation = camera.get_uint32_texture("Segmentation")
        mask = self._camera.shows_photo(segmentation)[..., None].astype(np.float32)
        color[..., :3] = color[..., :3] * (1 - mask) + self._photo * mask
        picture: npt.NDArray[np.uint8] = np.clip(color[..., :3] * 255, 0, 255).astype(np.uint8)
        return picture


def run_as_upstream(env: BenchmarkEnv, observer: UpstreamObserver, actions: npt.NDArray[np.float32]) -> None:
    """Execute all actions one by one, observing after each as upstream does."""
    for action in actions:
        env.advance(action[None])
        observer.observe()


def run_in_chunks(env: BenchmarkEnv, actions: npt.NDArray[np.float32], chunk: int) -> None:
    """Execute all actions in chunks, observing once a chunk."""
    for position in range(0, STEPS, chunk):
        env.step_chunk(actions[position : position + chunk])


def measure_episodes() -> dict[str, Any]:
    """Wall and CPU seconds of an episode in each way, and of a warm reset with its first observation."""
    env = BENCHMARK.make_env()
    episode = Episode(env.protocol.name, TASK, TRIAL)
    env.reset(options={"episode": episode})
    observer = UpstreamObserver(env)
    if not np.array_equal(observer.observe(), env.observe()["images"]["3rd_view_camera"]):
        raise SystemExit("the two ways of observing gave different pictures; the comparison is void")
    actions = wandering_actions()
    ways: dict[str, Callable[[], None]] = {
        "upstream": lambda: run_as_upstream(env, observer, actions),
        **{str(chunk): lambda chunk=chunk: run_in_chunks(env, actions, chunk) for chunk in WANTED},
    }
    figures: dict[str, Any] = {name: [] for name in (*ways, "reset")}
    states = set()
    for _ in range(TURNS):
        for name, run in ways.items():
            started = time.perf_counter(), time.process_time()
            env.reset(options={"episode": episode})
            ready = time.perf_counter(), time.process_time()
            run()
            done = time.perf_counter(), time.process_time()
            figures["reset"].append([ready[0] - started[0], ready[1] - started[1]])
            figures[name].append([done[0] - ready[0], done[1] - ready[1]])
            states.add(hash_state(env.state()))
    if len(states) != 1:
        raise SystemExit("the ways of stepping led to different states; the comparison is void")
    return {name: np.min(values, axis=0).tolist() for name, values in figures.items()}


def measure_construction() -> dict[str, Any]:
    """Wall and CPU seconds to construct an environment in a new process and observe its first state."""
    started = time.perf_counter(), time.process_time()
    env = BENCHMARK.make_env()
    env.reset(options={"episode": Episode(env.protocol.name, TASK, TRIAL)})
    return {"construction": [time.perf_counter() - started[0], time.process_time() - started[1]]}


EXPERIMENTS = {"episodes": measure_episodes, "construction": measure_construction}


def in_interpreter(experiment: str) -> dict[str, Any]:
    """The figures of an experiment run in a new process of the benchmark's interpreter."""
    expose = f"import runpy; runpy.run_path({bootstrap.__file__!r})['expose'](*{bootstrap.location('simrun')!r})"
    code = f"{expose}; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')"
    output = subprocess.run(
        [find_interpreter(BENCHMARK), "-c", code, experiment], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def main() -> int:
    """Measure, print, and say whether the figures are good enough."""
    figures = in_interpreter("episodes") | in_interpreter("construction")
    upstream = figures["upstream"]
    print(f"seconds for {STEPS} control steps, least of {TURNS} turns             wall     CPU")
    print(f"  two full pictures every step, as upstream          {upstream[0]:8.2f}{upstream[1]:8.2f}")
    good = True
    for chunk, wanted in WANTED.items():
        wall, cpu = figures[str(chunk)]
        good = good and upstream[0] / wall >= wanted
        ratios = f"{upstream[0] / wall:.1f} and {upstream[1] / cpu:.1f} times less (wanted: {wanted:g})"
        print(f"  ours, one picture a chunk of {chunk:2}                    {wall:8.2f}{cpu:8.2f}   {ratios}")
    reset, construction = figures["reset"], figures["construction"]
    ratios = f"{construction[0] / reset[0]:.1f} and {construction[1] / reset[1]:.1f} times less"
    print(f"  first environment of a process, to its first image {construction[0]:8.2f}{construction[1]:8.2f}")
    print(f"  warm reset, to its first image                     {reset[0]:8.2f}{reset[1]:8.2f}   {ratios}")
    print("reached" if good else "missed")
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(EXPERIMENTS[sys.argv[1]]()))
    else:
        sys.exit(main())
