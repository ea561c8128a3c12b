"""Results of other tools in texts and file names: rates, logs, videos.

Facts of the formats: RoboTwin-Platform/RoboTwin ``scripts/eval_policy_xpolicylab.py`` (``_result.txt``: the rate in the
last line, below folders of task, policy, configuration, checkpoint and time); simpler-env/SimplerEnv
``maniskill2_evaluator.py`` (``success_obj_episode_3_...mp4``); the loops of openpi and OpenVLA log
``Task: ...`` and ``Success: True``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import LARGEST_DOCUMENT, files_below, read_document, read_regular
from simrun.errors import UsageError
from simrun.results.imports.outcomes import Outcomes, Reader, counted_rate, read_csv

_VIDEO = re.compile(
    r"(?P<outcome>success|failure)_obj_(?:episode_(?P<episode>\d+)|(?P<place>-?[\d.]+_-?[\d.]+)).*\.mp4"
)
_TASK = re.compile(r"(?:^|[\s:\]])Task: (?P<task>.+?)\s*$")
_SUCCESS = re.compile(r"(?:^|[\s:\]])Success: (?P<outcome>True|False)\s*$")


def read_rates(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """``_result.txt`` below a folder, or one alone: a rate a task, of episodes whose number it does not hold."""
    files = [file for file in _below(path) if file.name == "_result.txt"]
    settings: dict[str, dict[str, list[float]]] = {}
    for file in files:
        try:
            lines = read_document(file).split()
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}") from None
        # .../task/policy/configuration/checkpoint/time/_result.txt
        parts = real_path(file).parts[-6:-2]
        try:
            rate = float(lines[-1])
        except (ValueError, IndexError):
            raise UsageError(f"{file} does not end in a success rate") from None
        task, *setting = parts
        tasks = settings.setdefault("/".join(setting), {})
        if task in tasks:
            raise UsageError(f"{path} holds two results of {task} in {'/'.join(setting)}; name the newer one's folder")
        tasks[task] = counted_rate(rate, episodes, str(file))
    return [Outcomes("upstream's own loop", name, tasks, name) for name, tasks in settings.items()]


def _below(path: Path) -> list[Path]:
    try:
        return files_below(path) if path.is_dir() else [path]
    except ValueError as error:
        raise UsageError(f"{path} {error}") from None


def read_videos(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """A folder of videos whose names begin with their outcome; the folder above the last two names the task."""
    if not path.is_dir():
        return []
    scores: dict[str, dict[str, float]] = {}
    for file in _below(path):
        match = _VIDEO.fullmatch(file.name)
        if match is None:
            continue
        # .../control mode/environment/robot's place/video
        task = file.parent.parent.name
        trial = match["episode"] or match["place"]
        if trial in scores.setdefault(task, {}):
            raise UsageError(f"{path} holds two videos of trial {trial} of {task}; name the folder of one evaluation")
        scores[task][trial] = float(match["outcome"] == "success")
    if not scores:
        return []
    outcomes = {task: list(trials.values()) for task, trials in scores.items()}
    return [Outcomes("SimplerEnv", path.name, outcomes, "as the names of the videos say")]


def read_log(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """A log with a line a task and a line an episode."""
    if not path.is_file() or path.suffix not in (".txt", ".log", ".out", ""):
        return []
    try:
        lines = read_regular(path, LARGEST_DOCUMENT).decode(errors="replace").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not any("# episodes completed so far" in line for line in lines):
        return []
    scores: dict[str, list[float]] = {}
    task = "task"
    for line in lines:
        if found := _TASK.search(line):
            task = found["task"]
        elif found := _SUCCESS.search(line):
            scores.setdefault(task, []).append(float(found["outcome"] == "True"))
    if not scores:
        raise UsageError(f"{path} counts episodes, but names no outcome (Success: True)")
    return [Outcomes("a log of openpi's or OpenVLA's loop", path.stem, scores)]


READERS: tuple[Reader, ...] = (read_rates, read_videos, read_log, read_csv)
