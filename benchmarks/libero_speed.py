"""CPU and wall seconds of LIBERO-10: simrun against hf-libero's own environment and against vla-eval's harness.

    python benchmarks/libero_speed.py [--tasks 0 2 5] [--steps 100] [--resets 3]

Runs under LIBERO's interpreter (``simrun setup libero_10``), which for the third column also needs
``pip install --no-deps vla-eval==0.8.0``; torch is not needed, its ``load`` is replaced by simrun's reader. Each system
runs in a process of its own, one after the other; CPU seconds count all its threads. A reset goes up to the first
observation for the policy, with 10 settle steps; unobserved, it stops before the images are drawn, which the other two
cannot. A chunk of k actions is followed by one observation; the other two
systems observe after every step, whatever the chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simrun
from simrun.envs import Episode, get_benchmark
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.machine import bootstrap
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.interpreters import find_interpreter

SUITE = "libero_10"
CHUNKS = (1, 4, 10)
CAMERA_SETS: dict[str, tuple[str, ...]] = {"two": ("agentview", "eye_in_hand"), "one": ("agentview",), "no": ()}
ENVIRONMENT_SEED = 7
SETTLE_STEPS = 10


class Cost:
    """CPU and wall seconds between two instants."""

    def __enter__(self) -> Cost:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

    def per(self, count: float) -> dict[str, float]:
        """Seconds for one of ``count`` things."""
        return {"cpu": self.cpu / count, "wall": self.wall / count}


def measure(
    reset: Callable[[int], None],
    advance: Callable[[Any], None],
    chunk: int,
    steps: int,
    resets: int,
    begin: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Cost of a reset and of 100 control steps, after a reset and some steps that are not counted.

    ``begin``, where a system has it, is a reset without the first observation.
    """
    actions = Laboratory.of(get_benchmark(SUITE)).sample_actions(0, steps + chunk)
    reset(0)
    advance(actions[steps:])
    with Cost() as resetting:
        for trial in range(1, resets + 1):
            reset(trial)
    with Cost() as stepping:
        for start in range(0, steps, chunk):
            advance(actions[start : start + chunk])
    figures = {"reset": resetting.per(resets), "steps": stepping.per(steps / 100)}
    if begin is not None:
        with Cost() as beginning:
            for trial in range(1, resets + 1):
                begin(trial)
        figures["begin"] = beginning.per(resets)
    return figures


def measure_simrun(task: int, steps: int, resets: int) -> dict[str, Any]:
    """The environment of this package, for every set of cameras and every chunk."""
    benchmark = get_benchmark(SUITE)
    protocol = benchmark.protocol()
    name = benchmark.tasks(protocol)[task].name
    figures = {}
    for label, cameras in CAMERA_SETS.items():
        env = benchmark.make_env(cameras=cameras)
        for chunk in CHUNKS:
            figures[f"{label} {chunk}"] = measure(
                lambda trial, env=env: env.reset(options={"episode": Episode(protocol.name, name, trial)}) and None,
                lambda actions, env=env: env.step_chunk(actions) and None,
                chunk,
                steps,
                resets,
                lambda trial, env=env: env.begin(Episode(protocol.name, name, trial)) and None,
            )
        env.close()
    return figures


def import_upstream() -> None:
    """Import hf-libero as its users do, with the answers that it would otherwise ask for on standard input."""
    from simrun.envs.libero.upstream import package_folder

    folder = tempfile.mkdtemp()
    root = package_folder()
    paths = {"bddl_files": str(root / "bddl_files"), "init_states": str(root / "init_files")}
    (Path(folder) / "config.yaml").write_text(json.dumps(paths), encoding="utf-8")
    os.environ["LIBERO_CONFIG_PATH"] = folder
    import libero.libero

    libero.libero._assets_path_cache = str(DataFiles.of(get_benchmark(SUITE)).folder())


def measure_upstream(task: int, steps: int, resets: int) -> dict[str, Any]:
    """hf-libero's OffScreenRenderEnv, used as the harnesses use it, for every set of cameras."""
    from simrun.envs.libero.environment import CAMERAS
    from simrun.envs.libero.initial_states import read_initial_states
    from simrun.envs.libero.scene import SETTLE_ACTION
    from simrun.envs.libero.upstream import initial_states_file, task_file

    import_upstream()
    from libero.libero.envs.env_wrapper import ControlEnv

    name = get_benchmark(SUITE).tasks(get_benchmark(SUITE).protocol())[task].name
    initial_states = read_initial_states(initial_states_file(SUITE, name))
    figures = {}
    for label, cameras in CAMERA_SETS.items():
        env = ControlEnv(
            bddl_file_name=str(task_file(SUITE, name)),
            camera_names=[CAMERAS[camera] for camera in cameras] or ["agentview"],
            camera_heights=256,
            camera_widths=256,
            use_camera_obs=bool(cameras),
            has_offscreen_renderer=bool(cameras),
        )
        env.seed(ENVIRONMENT_SEED)

        def reset(trial: int, env: Any = env) -> None:
            env.reset()
            env.set_init_state(initial_states[trial])
            for _ in range(SETTLE_STEPS):
                env.step(SETTLE_ACTION)

        def advance(actions: Any, env: Any = env) -> None:
            for action in actions:
                env.step(action)

        figures[label] = measure(reset, advance, 10, steps, resets)
        env.close()
    return figures


def measure_vla_eval(task: int, steps: int, resets: int) -> dict[str, Any]:
    """vla-eval's LIBEROBenchmark, stepped directly: no websocket, an observation a step, as its runner asks."""
    from simrun.envs.libero.initial_states import read_initial_states

    torch = types.ModuleType("torch")
    torch.load = lambda path, **_: read_initial_states(Path(path))  # type: ignore[attr-defined]
    sys.modules["torch"] = torch
    import_upstream()
    from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark

    benchmark = LIBEROBenchmark(suite=SUITE, seed=ENVIRONMENT_SEED, send_wrist_image=True, send_state=True)
    chosen = benchmark.get_tasks()[task]
    loop = asyncio.new_event_loop()

    async def start(trial: int) -> None:
        await benchmark.start_episode({**chosen, "episode_idx": trial})
        await benchmark.get_observation()

    async def execute(actions: Any) -> None:
        for action in actions:
            await benchmark.apply_action({"actions": action})
            await benchmark.get_observation()

    def reset(trial: int) -> None:
        loop.run_until_complete(start(trial))

    def advance(actions: Any) -> None:
        loop.run_until_complete(execute(actions))

    figures = {"two": measure(reset, advance, 10, steps, resets)}
    benchmark.cleanup()
    return figures


SYSTEMS = {"simrun": measure_simrun, "hf-libero": measure_upstream, "vla-eval": measure_vla_eval}


def run_system(system: str, task: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one system in a process of its own."""
    python = find_interpreter(get_benchmark(SUITE))
    package = Path(simrun.__file__)
    shown = f"'simrun', {str(package)!r}, [{str(package.parent)!r}]"
    expose = f"import runpy; runpy.run_path({str(Path(bootstrap.__file__))!r})['expose']({shown})"
    command = [python, "-c", f"{expose}; runpy.run_path({__file__!r}, run_name='__main__')"]
    command += ["--system", system, "--tasks", str(task)]
    command += ["--steps", str(options.steps), "--resets", str(options.resets)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def report(task: int, figures: dict[str, dict[str, Any]]) -> None:
    """Print the tables of one task: seconds, then ratios of CPU seconds, theirs over ours."""
    print(f"\ntask {task}: seconds for 100 control steps and for one reset")
    columns = f"{'cameras':<9}{'chunk':<7}{'steps CPU':>10}{'wall':>8}{'reset CPU':>11}{'wall':>8}{'unobserved':>12}"
    print(f"{'system':<11}{columns}")
    for system, rows in figures.items():
        for label, row in rows.items():
            cameras, _, chunk = label.partition(" ")
            steps, reset = row["steps"], row["reset"]
            unobserved = f"{row['begin']['cpu']:12.3f}" if "begin" in row else ""
            print(f"{system:<11}{cameras:<9}{chunk or 'any':<7}{steps['cpu']:10.2f}{steps['wall']:8.2f}", end="")
            print(f"{reset['cpu']:11.3f}{reset['wall']:8.3f}{unobserved}")
    print(f"{'times ours':<11}{columns.replace('wall', '    ')}")
    for other in (name for name in figures if name != "simrun"):
        for cameras, row in figures[other].items():
            for chunk in CHUNKS:
                ours = figures["simrun"][f"{cameras} {chunk}"]
                steps = row["steps"]["cpu"] / ours["steps"]["cpu"]
                reset = row["reset"]["cpu"] / ours["reset"]["cpu"]
                unobserved = row["reset"]["cpu"] / ours["begin"]["cpu"]
                print(f"{other:<11}{cameras:<9}{chunk:<7}{steps:10.1f}{'':8}{reset:11.1f}{'':8}{unobserved:12.0f}")


def main() -> None:
    """Measure all systems on the chosen tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[0], help="indices of LIBERO-10 tasks")
    parser.add_argument("--steps", type=int, default=100, help="control steps to measure")
    parser.add_argument("--resets", type=int, default=3, help="resets to measure")
    parser.add_argument("--system", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.system:
        print(json.dumps(SYSTEMS[options.system](options.tasks[0], options.steps, options.resets)))
        return
    for task in options.tasks:
        report(task, {system: run_system(system, task, options) for system in SYSTEMS})


if __name__ == "__main__":
    main()
