"""What a comparison needs before it can start: interpreters, checkouts, and files that the contenders read."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contest.workload import Workload
from simrun.envs import get_benchmark
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.interpreters import find_interpreter


@dataclass
class Preparation:
    """What the contenders are given.

    Attributes:
        vla_eval: interpreter in which vla-eval and the benchmark's upstream packages are installed.
        upstream: interpreter in which the benchmark's upstream packages are importable.
        environment: variables for every process.
        settings: further settings of simrun's protocol, ``KEY=VALUE``.
        instructions: LIBERO's task names in vla-eval, by task index.
    """

    vla_eval: str = ""
    upstream: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    instructions: dict[int, str] = field(default_factory=dict)


def prepare(workload: Workload, vla_eval: str | None, upstream: str | None, scratch: Path) -> Preparation:
    """Write what the contenders of a benchmark read, and check that they can be started.

    Args:
        workload: what is to be run.
        vla_eval: see `Preparation`; None where vla-eval takes no part.
        upstream: see `Preparation`; None where upstream takes no part.
        scratch: folder for those files.

    Raises:
        SystemExit: something is missing; says what.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    preparation = Preparation(vla_eval or "", upstream or "")
    steps = {"libero_10": _libero, "calvin_abcd": _calvin, "simpler_bridge": _bridge, "robotwin_easy": _robotwin}
    steps[workload.benchmark](preparation, workload, scratch)
    return preparation


def _require(python: str, modules: str, option: str, environment: Mapping[str, str] | None = None) -> None:
    command = [python, "-c", f"import {modules}"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, check=False
        )
    except OSError as error:
        raise SystemExit(f"{option}: {python} cannot be run ({error.strerror})") from None
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"{option}: {python} cannot import {modules} ({reason})")


def _libero(preparation: Preparation, workload: Workload, scratch: Path) -> None:
    benchmark = get_benchmark(workload.benchmark)
    for option, python, modules in (
        ("--vla-eval", preparation.vla_eval, "vla_eval, robosuite, torch"),
        ("--upstream", preparation.upstream, "robosuite, torch"),
    ):
        if python:
            _require(python, modules, option)
    python = preparation.upstream or preparation.vla_eval
    if python:
        code = "import importlib.util as u; print(list(u.find_spec('libero').submodule_search_locations)[0])"
        folder = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        root = Path(folder) / "libero"
        paths = {"bddl_files": str(root / "bddl_files"), "init_states": str(root / "init_files")}
        (scratch / "config.yaml").write_text(json.dumps(paths), encoding="utf-8")
    preparation.instructions = {
        index: task.instruction for index, task in enumerate(benchmark.tasks(benchmark.protocol()))
    }
    preparation.environment = {
        "LIBERO_CONFIG_PATH": str(scratch),
        "PEERS_LIBERO_ASSETS": str(DataFiles.of(benchmark).folder()),
        "PYOPENGL_PLATFORM": "egl",
        "MUJOCO_GL": "egl",
    }


def _calvin(preparation: Preparation, workload: Workload, scratch: Path) -> None:
    from simrun.envs.calvin.scenes import get_scene
    from simrun.envs.calvin.sequences import initial_state, sequences

    if preparation.vla_eval:
        _require(preparation.vla_eval, "vla_eval, calvin_env, calvin_agent, pytorch_lightning", "--vla-eval")
    if preparation.upstream:
        _require(preparation.upstream, "calvin_env, hydra", "--upstream")
    states = {}
    for trial in workload.episodes:
        sequence = sequences()[trial.trial]
        robot, scene = initial_state(sequence.initial_state, get_scene("D"))
        states |= {f"robot_{trial.trial}": robot, f"scene_{trial.trial}": scene}
        states[f"subtasks_{trial.trial}"] = np.array(sequence.subtasks)
    np.savez(scratch / "states.npz", **states)
    drawn = [[dict(entry.initial_state), list(entry.subtasks)] for entry in sequences()]
    (scratch / "sequences.json").write_text(json.dumps(drawn), encoding="utf-8")
    preparation.environment = {
        "PEERS_CALVIN_STATES": str(scratch / "states.npz"),
        "PEERS_CALVIN_SEQUENCES": str(scratch / "sequences.json"),
        "PEERS_CALVIN_DATASET": str(scratch / "validation"),
        "EGL_VISIBLE_DEVICES": "0",
        # vla-eval's default for EGL_PLATFORM, device, is more than PyBullet's plugin can do without a GPU.
        "EGL_PLATFORM": "surfaceless",
        "PYTHONWARNINGS": "ignore",
    }
    if preparation.vla_eval:
        _write_calvin_dataset(preparation.vla_eval, scratch / "validation")


def _write_calvin_dataset(python: str, folder: Path) -> None:
    """What CALVIN's data set says of its environment, composed from calvin_env's own configuration."""
    code = (
        "import pathlib, sys, hydra, calvin_env; from omegaconf import OmegaConf\n"
        "root = pathlib.Path(calvin_env.__file__).resolve().parents[1]\n"
        "with hydra.initialize_config_dir(config_dir=str(root / 'conf'), version_base=None):\n"
        "    config = hydra.compose('config_data_collection', overrides=['scene=calvin_scene_D',"
        " 'cameras=static_and_gripper', 'use_vr=false', '+env.use_egl=true', 'data_path=' + str(root / 'data')])\n"
        "OmegaConf.save(config, sys.argv[1])\n"
    ).replace("'+env", "'++env")
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    target = folder / ".hydra" / "merged_config.yaml"
    done = subprocess.run([python, "-c", code, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"--vla-eval: calvin_env's configuration cannot be composed: {done.stderr.strip()[-300:]}")


def _bridge(preparation: Preparation, workload: Workload, scratch: Path) -> None:
    from simrun.envs.machine.vulkan import child_environment
    from simrun.envs.simpler_bridge import upstream_recorder
    from simrun.envs.simpler_bridge.laboratory import copy_data

    environment = child_environment()
    preparation.environment = {key: value for key, value in environment.items() if os.environ.get(key) != value}
    if not preparation.upstream:
        return
    data = scratch / "data"
    if not data.exists():
        copy_data(DataFiles.of(get_benchmark(workload.benchmark)).folder() / "data", data)
        recorder = str(Path(upstream_recorder.__file__))
        subprocess.run([preparation.upstream, recorder, "cook", str(data)], env=environment, check=True)
    preparation.environment["MS2_REAL2SIM_ASSET_DIR"] = str(data)
    _require(preparation.upstream, "mani_skill2_real2sim.envs", "--upstream", preparation.environment)


def _robotwin(preparation: Preparation, workload: Workload, scratch: Path) -> None:
    if not os.environ.get("ROBOTWIN_ROOT"):
        raise SystemExit("ROBOTWIN_ROOT must name a RoboTwin checkout")
    preparation.upstream = preparation.upstream or find_interpreter(get_benchmark("robotwin_easy"))
    preparation.settings = ["shader=default"]
