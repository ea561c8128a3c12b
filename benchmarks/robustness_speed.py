"""Episodes an hour of LIBERO-plus: simrun beside the package's own loop, over the same variants in one run.

    python benchmarks/robustness_speed.py FOLDER [--suite spatial] [--each 2] [--chunk 8] [--python PYTHON]

FOLDER is a checkout of sylvestf/LIBERO-plus, with the data files under its ``libero/libero/assets``. PYTHON, by default
LIBERO's own interpreter (``simrun setup libero_plus_spatial``), needs what the package imports besides: wand with
ImageMagick, scikit-image and gym.

The package's loop is that of its evaluation script: an environment for each variant, one reset, ten settling actions,
then the policy's steps; both cameras are drawn at every step, whatever the chunk. simrun runs the same variants with
one worker, two cameras and the same number of steps. The policy of both rests, answers at once and succeeds nowhere.
Wall time counts from the first episode's beginning to the last one's end; CPU seconds are those of the whole processes,
with their start.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

SETTLE_STEPS = 10
REST = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]
CATEGORIES = (
    "Camera Viewpoints",
    "Robot Initial States",
    "Language Instructions",
    "Sensor Noise",
    "Objects Layout",
)


def play_upstream(job: dict[str, Any]) -> dict[str, float]:
    """Run the package's loop; called in a process of its own."""
    import gymnasium

    sys.modules.setdefault("gym", gymnasium)
    # The checkout's folder has no __init__.py, so that another package of its name would be found first.
    package = types.ModuleType("libero")
    package.__path__ = [job["package"]]
    sys.modules["libero"] = package
    # The package was written for numpy 1.
    np.float_ = np.float64  # type: ignore[attr-defined]
    from libero.libero.envs import OffScreenRenderEnv

    states = np.load(job["states"])
    began = time.perf_counter()
    for number, definition in enumerate(job["definitions"]):
        print(f"{time.perf_counter() - began:6.0f} s: {Path(definition).stem}", file=sys.stderr, flush=True)
        env = OffScreenRenderEnv(bddl_file_name=definition, camera_heights=256, camera_widths=256)
        env.seed(0)
        env.reset()
        env.set_init_state(states[f"state_{number}"])
        for _ in range(SETTLE_STEPS + job["steps"]):
            _, _, done, _ = env.step(REST)
            assert not done
        env.close()
    return {"wall": time.perf_counter() - began}


def measure_upstream(python: str, folder: Path, suite: str, tasks: Sequence[Any], steps: int) -> dict[str, float]:
    """Wall seconds of the package's loop over these variants, and CPU seconds of its process."""
    from simrun.envs import get_benchmark
    from simrun.envs.libero.initial_states import read_initial_states

    root = folder.resolve() / "libero" / "libero"
    base = get_benchmark(f"libero_plus_{suite}").base_suite
    with tempfile.TemporaryDirectory() as scratch:
        states = {}
        for number, task in enumerate(tasks):
            own = root / "init_files" / "libero_newobj" / base / f"{task.name}.pruned_init"
            file = own if own.exists() else root / "init_files" / base / f"{task.variant.twin_task}.pruned_init"
            states[f"state_{number}"] = np.atleast_2d(read_initial_states(file))[0]
        np.savez(Path(scratch) / "states.npz", **states)
        names = {"bddl_files": root / "bddl_files", "init_states": root / "init_files", "assets": root / "assets"}
        config = {"benchmark_root": root, "datasets": root, **names}
        # JSON is YAML.
        (Path(scratch) / "config.yaml").write_text(json.dumps({name: str(path) for name, path in config.items()}))
        job = {
            "package": str(root.parent),
            "definitions": [str(root / "bddl_files" / base / f"{task.name}.bddl") for task in tasks],
            "states": str(Path(scratch) / "states.npz"),
            "steps": steps,
        }
        environment = {**os.environ, "LIBERO_CONFIG_PATH": scratch, "MUJOCO_GL": "egl"}
        before = _children_cpu()
        finished = subprocess.run(
            [python, __file__, "--job", json.dumps(job)], env=environment, stdout=subprocess.PIPE, check=True, text=True
        )
    return {**json.loads(finished.stdout.splitlines()[-1]), "cpu": _children_cpu() - before}


def measure_simrun(suite: str, tasks: Sequence[Any], steps: int, chunk: int) -> dict[str, float]:
    """The same of simrun, with one worker."""
    from simrun.api import evaluate

    def policy(observations: Sequence[Any]) -> list[list[list[float]]]:
        return [[REST] * chunk for _ in observations]

    before = _children_cpu() + time.process_time()
    names = [task.name for task in tasks]
    settings = {"tasks": names, "set": {"max_steps": steps}, "workers": 1}
    results = evaluate(policy, f"libero_plus_{suite}", chunk_length=chunk, **settings)
    records = [record for record in results.records if record.completed and not record.success]
    assert len(records) == len(tasks), results.records
    began = min(datetime.fromisoformat(record.started_at) for record in records)
    ended = max(datetime.fromisoformat(record.finished_at) for record in records)
    return {"wall": (ended - began).total_seconds(), "cpu": _children_cpu() + time.process_time() - before}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure both, and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--suite", default="spatial", choices=("spatial", "object", "goal", "10"))
    parser.add_argument("--each", type=int, default=2, help="variants of each category, all of one base task")
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--steps", type=int, help="policy steps of an episode, instead of the suite's")
    parser.add_argument("--python")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(play_upstream(json.loads(arguments.job))))
        return
    from simrun.envs import get_benchmark
    from simrun.envs.machine.interpreters import find_interpreter

    benchmark = get_benchmark(f"libero_plus_{arguments.suite}")
    known = benchmark.tasks(benchmark.protocol())
    base = known[0].variant.twin_task
    tasks = []
    for category in CATEGORIES:
        of_category = [one for one in known if (one.variant.category, one.variant.twin_task) == (category, base)]
        tasks += of_category[: arguments.each]
    steps = arguments.steps or tasks[0].max_steps
    print(f"{len(tasks)} variants of {base}, {steps} steps each, chunk {arguments.chunk}", flush=True)
    python = arguments.python or find_interpreter(benchmark)
    figures = {}
    for name, measure in (
        ("simrun", lambda: measure_simrun(arguments.suite, tasks, steps, arguments.chunk)),
        ("LIBERO-plus", lambda: measure_upstream(python, arguments.folder, arguments.suite, tasks, steps)),
    ):
        figures[name] = used = measure()
        rate, cpu = 3600 * len(tasks) / used["wall"], used["cpu"] / len(tasks)
        print(f"{name:<12} {rate:7.0f} episodes an hour, {cpu:6.1f} CPU seconds an episode", flush=True)
    for name in ("wall", "cpu"):
        print(f"LIBERO-plus / simrun, {name}: {figures['LIBERO-plus'][name] / figures['simrun'][name]:.1f}")


if __name__ == "__main__":
    main()
