"""The episodes of each benchmark's comparison: recorded successes and smooth random motion, both played open loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import simrun.envs.libero
from contest.workload import Actions, Trial, Workload
from simrun.envs import Episode, get_benchmark

Motion = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """How a benchmark's workload is made.

    Attributes:
        benchmark: simrun's name.
        protocol: the protocol whose initial states, cameras and limits all contenders can follow.
        steps: control steps an episode may take in full; for CALVIN a subtask.
        episodes: what is run, as (task, trial).
        actions: the actions of an episode, given the folder of recordings.
    """

    benchmark: str
    protocol: str
    steps: int
    episodes: tuple[tuple[str, int], ...]
    actions: Callable[[Path, str, int, int], Actions]


def make_workload(name: str, golden: Path, chunk: int, steps: int | None, inference: float, workers: int) -> Workload:
    """Assemble a workload.

    Args:
        name: a key of `RECIPES`.
        golden: folder with a folder of recordings for each benchmark.
        chunk: actions executed for one inference.
        steps: limit of control steps; None takes the benchmark's own.
        inference: seconds that one inference takes.
        workers: environments that run side by side.
    """
    recipe = RECIPES[name]
    benchmark = get_benchmark(recipe.benchmark)
    protocol = benchmark.protocol(recipe.protocol)
    names = [task.name for task in benchmark.tasks(protocol)]
    limit = min(steps or recipe.steps, recipe.steps)
    episodes = tuple(Trial(task, names.index(task), trial) for task, trial in recipe.episodes)
    actions = tuple(recipe.actions(golden, trial.task, trial.trial, recipe.steps) for trial in episodes)
    return Workload(recipe.benchmark, protocol.name, limit, chunk, inference, workers, episodes, actions)


def _smooth(seed: int, steps: int, scale: list[float], period: int) -> Motion:
    """Smooth random motion in the first numbers, a gripper that changes now and then in the last."""
    generator = np.random.default_rng(seed)
    actions = np.zeros((steps, len(scale) + 1))
    motion = np.zeros(len(scale))
    for step in range(steps):
        motion = 0.85 * motion + 0.35 * generator.standard_normal(len(scale))
        actions[step, :-1] = np.clip(motion, -1, 1) * scale
        actions[step, -1] = 1.0 if step // period % 2 == 0 else -1.0
    return actions


def _recorded(file: Path, key: str = "actions") -> Motion | None:
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as archive:
        return np.array(archive[key]) if key in archive.files else None


def _libero(golden: Path, task: str, trial: int, steps: int) -> Actions:
    """The expert's successes that simrun ships, played on the MuJoCo that they were found on."""
    for file in (Path(simrun.envs.libero.__file__).parent / "recordings").glob("libero_10_*.npz"):
        with np.load(file, allow_pickle=False) as archive:
            if str(archive["episode"]).rsplit("/", 3)[1:3] == [task, str(trial)]:
                return np.asarray(archive["actions"], np.float32)
    return _smooth(trial, steps, [0.5] * 6, 20).astype(np.float32)


def _calvin(golden: Path, task: str, trial: int, steps: int) -> Actions:
    """Absolute poses, because vla-eval takes no relative actions; the recordings' are summed up as CALVIN does."""
    recorded = _recorded(golden / "calvin" / f"chain_{trial:04d}.npz")
    relative = _smooth(trial, steps, [0.3] * 6, 20) if recorded is None else recorded
    env = get_benchmark("calvin_abcd").make_env(cameras=())
    env.begin(Episode(env.protocol.name, task, trial))
    start = env.state()["target_pose"]
    env.close()
    poses = start + np.cumsum(relative[:, :6] * ([0.02] * 3 + [0.05] * 3), axis=0)
    return np.column_stack([poses, relative[:, 6]]).astype(np.float32)


def _bridge(golden: Path, task: str, trial: int, steps: int) -> Actions:
    recorded = _recorded(golden / "simpler_bridge" / "positive_controls.npz", f"{task}_ep{trial:02d}_actions")
    if recorded is not None:
        return recorded.astype(np.float32)
    return _smooth(trial, steps, [0.012] * 3 + [0.04] * 3, 10).astype(np.float32)


def _robotwin(golden: Path, task: str, trial: int, steps: int) -> Actions:
    recorded = _recorded(golden / "robotwin" / f"expert_{task}_s{trial}.npz")
    if recorded is None:
        raise SystemExit(f"there is no recording expert_{task}_s{trial}.npz in {golden / 'robotwin'}; see --golden")
    return recorded.astype(np.float32)


_BASKET = "LIVING_ROOM_SCENE2_put_both_the_alphabet_soup_and_the_tomato_sauce_in_the_basket"
_BASKET_TOO = "LIVING_ROOM_SCENE1_put_both_the_alphabet_soup_and_the_cream_cheese_box_in_the_basket"

RECIPES = {
    "libero_10": Recipe(
        "libero_10", "openvla", 520, ((_BASKET, 0), (_BASKET, 1), (_BASKET_TOO, 0), (_BASKET_TOO, 1)), _libero
    ),
    "calvin": Recipe("calvin_abcd", "standard", 360, tuple(("sequence", trial) for trial in (6, 15, 0, 1)), _calvin),
    "simpler_bridge": Recipe(
        "simpler_bridge", "final-step", 60, (("carrot", 0), ("carrot", 8), ("spoon", 0), ("spoon", 8)), _bridge
    ),
    "robotwin_easy": Recipe("robotwin_easy", "standard", 800, (("stack_blocks_two", 100000),), _robotwin),
}
"""Benchmarks that can be compared. LIBERO's tasks are two without drawn fixtures: elsewhere a peer's initial state
depends on how many episodes its process has run."""
