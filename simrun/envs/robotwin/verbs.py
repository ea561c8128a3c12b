"""The verbs of ``simrun robotwin``: they make the episode files that RoboTwin is evaluated from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from simrun.envs.machine import bootstrap
from simrun.envs.machine.folders import real_path
from simrun.envs.machine.interpreters import find_interpreter
from simrun.envs.robotwin.benchmark import RobotwinEasy, RobotwinHard, task_names
from simrun.envs.robotwin.episode_files import episode_file_path
from simrun.envs.robotwin.seed_search import PLANNER_CHOICES
from simrun.envs.robotwin.vla_eval import DISTRIBUTION, import_expert_seeds
from simrun.errors import ConfigurationMismatchError, UnknownNameError, UsageError

app = typer.Typer(
    name="robotwin",
    help="Make the episode files that RoboTwin is evaluated from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_OUT = "Episode file; by default where evaluation looks for it."
_BENCHMARKS = {benchmark.name: benchmark for benchmark in (RobotwinEasy(), RobotwinHard())}


@app.command("accept-seeds")
def accept_seeds(
    bench: Annotated[str, typer.Argument(help="robotwin_easy or robotwin_hard.")] = "robotwin_easy",
    tasks: Annotated[str | None, typer.Option(help="Task names, comma-separated; default: all 50.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Accepted episodes wanted of each task.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The official loop's seed: search from 100000 * (1 + seed).")] = 0,
    planner: Annotated[str, typer.Option(help="The expert's planner: auto, curobo or cpu.")] = "auto",
    give_up: Annotated[int, typer.Option(min=1, help="Give a task up after so many rejected seeds in a row.")] = 50,
    out: Annotated[Path | None, typer.Option(help=_OUT)] = None,
) -> None:
    """Run upstream's expert on one scene after another and write down those that it solves.

    The file is written after every seed, so the search can be interrupted and continued. It runs in RoboTwin's own
    interpreter.
    """
    name = _robotwin_name(bench)
    if planner not in PLANNER_CHOICES:
        raise UnknownNameError("planner", planner, PLANNER_CHOICES)
    request = {
        "benchmark": name,
        "task_config": _task_config(name),
        "tasks": _chosen_tasks(tasks),
        "episodes": episodes,
        "block": seed,
        "planner": planner,
        "longest": give_up,
        "out": str(real_path(out or episode_file_path(name))),
    }
    command = [find_interpreter(_BENCHMARKS[name]), bootstrap.__file__, "simrun.envs.robotwin.seed_search"]
    raise typer.Exit(subprocess.call([*command, json.dumps(request)]))


@app.command("import-seeds")
def import_seeds(
    source: Annotated[str, typer.Option("--from", help="Where the seeds come from: vla-eval.")] = "vla-eval",
    bench: Annotated[str | None, typer.Option(help="robotwin_easy or robotwin_hard; default: both.")] = None,
    package_folder: Annotated[
        Path | None, typer.Option(help="Folder that holds vla_eval/; default: this interpreter's packages.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help=f"{_OUT} Needs --bench.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an episode file that is there already.")] = False,
) -> None:
    """Make episode files from the expert-verified lists of an installed vla-eval 0.8.0; needs no simulator."""
    if source != DISTRIBUTION:
        raise UnknownNameError("source of seeds", source, [DISTRIBUTION])
    if out is not None and bench is None:
        raise UsageError("--out names one file; say with --bench which benchmark it is for")
    names = [_robotwin_name(bench)] if bench is not None else list(_BENCHMARKS)
    for name in names:
        target = out or episode_file_path(name)
        file = import_expert_seeds(name, _task_config(name), task_names(), package_folder)
        if target.exists() and not force:
            raise ConfigurationMismatchError(f"{target} is there already; replace it with --force")
        file.write(target)
        tasks = len({entry.task for entry in file.episodes})
        typer.echo(f"{target}: {len(file.episodes)} episodes of {tasks} tasks, hash {file.hash[:12]}")


def _robotwin_name(bench: str) -> str:
    if bench not in _BENCHMARKS:
        raise UnknownNameError("RoboTwin benchmark", bench, list(_BENCHMARKS))
    return bench


def _task_config(bench: str) -> str:
    return str(_BENCHMARKS[bench].protocol().settings["task_config"])


def _chosen_tasks(text: str | None) -> list[str]:
    if text is None:
        return list(task_names())
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    for name in chosen:
        if name not in task_names():
            raise UnknownNameError("RoboTwin task", name, task_names())
    return chosen
