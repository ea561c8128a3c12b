"""Shards as one Slurm job array, and a dependent job for the last step; through Slurm's own commands.

The sbatch scripts are plain shell that people can read and edit.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simrun.envs.machine.folders import CACHE_VARIABLES
from simrun.envs.machine.processes import ask
from simrun.envs.machine.regular_files import parse_object, read_document
from simrun.errors import DependencyError, InfrastructureError, JournalError, UsageError
from simrun.runners.cluster.sharded_runs import Executor, ShardedRun, Task

_SHARD_BODY = """\
# Before the time limit, when it preempts the task, and on scancel Slurm signals this script. The shard then ends in
# order and gives back its work, and the task goes into the queue again, unless it was cancelled. It is named by
# array and index: the job id of one task of an array is that of the whole array.
trap 'signalled=yes; kill -USR1 "$shard"' USR1 TERM
{command} &
shard=$!
while kill -0 "$shard" 2>/dev/null; do wait "$shard"; done
wait "$shard"
status=$?
task="${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
if [ -n "$signalled" ] && [ "$status" -ne 0 ] && scontrol show job "$task" | grep -q JobState=RUNNING; then
    scontrol requeue "$task"
fi
exit "$status"
"""


@dataclass(frozen=True)
class Resources:
    """What each task asks Slurm for; None leaves it to the cluster.

    Attributes:
        partition: partition.
        gres: generic resources, for instance ``gpu:1``.
        time: time limit.
        cpus_per_task: cores of a task.
        mem: memory of a task.
        sbatch_args: any other options of sbatch, as on its command line; also used for the last step.
        container: Apptainer image that holds simrun; None uses the present Python environment.
        at_once: most tasks that run at a time.
        notice: seconds before the time limit at which a task shall end and requeue itself.
    """

    partition: str | None = None
    gres: str | None = None
    time: str | None = None
    cpus_per_task: int | None = None
    mem: str | None = None
    sbatch_args: str = ""
    container: Path | None = None
    at_once: int | None = None
    notice: int = 120

    def __post_init__(self) -> None:
        cards = (self.gres or "").rsplit(":", 1)[-1]
        if (self.gres or "").startswith("gpu") and cards.isdecimal() and int(cards) > 1:
            raise UsageError(
                f"--gres {self.gres}: a shard holds one policy on one GPU; ask for gpu:1 and a larger --array"
            )


def shard_script(work: ShardedRun, resources: Resources) -> str:
    """The script of the array, one task a shard."""
    requests = [
        ("array", f"0-{work.shards - 1}" + (f"%{resources.at_once}" if resources.at_once else "")),
        ("output", f"{work.path}/slurm/logs/%A_%a.log"),
        ("open-mode", "append"),
        ("requeue", None),
        ("signal", f"B:USR1@{resources.notice}"),
        ("partition", resources.partition),
        ("gres", resources.gres),
        ("time", resources.time),
        ("cpus-per-task", resources.cpus_per_task),
        ("mem", resources.mem),
    ]
    what = "One shard of a sweep. 'simrun slurm resubmit' submits this file as it is, so it may be edited."
    caches = [
        "# Compilers and drivers keep their caches on the disk of the node.",
        'caches="${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/simrun-caches-$(id -u)"',
        *(f'export {variable}="$caches/{folder}"' for variable, folder in CACHE_VARIABLES.items()),
        f'mkdir -p "$caches"/{{{",".join(CACHE_VARIABLES.values())}}}',
    ]
    command = _simrun(work, resources, work.shard_arguments())
    return _script(work, what, requests, resources, [*caches, "", _SHARD_BODY.format(command=command).rstrip()])


def finish_script(work: ShardedRun, resources: Resources) -> str:
    """The script of the job that runs when all tasks have ended."""
    requests = [
        ("output", f"{work.path}/slurm/logs/finish-%j.log"),
        ("partition", resources.partition),
        ("ntasks", 1),
    ]
    what = "The last step of a sweep: merge the journals, write tables and report."
    return _script(work, what, requests, resources, [_simrun(work, resources, work.finish_arguments())])


def _script(
    work: ShardedRun, what: str, requests: list[tuple[str, str | int | None]], resources: Resources, body: list[str]
) -> str:
    given = [(name, value) for name, value in requests if value is not None or name == "requeue"]
    lines = ["#!/bin/bash", f"# {what}", f"#SBATCH --job-name={shlex.quote(f'simrun-{work.path.name}')}"]
    lines += [f"#SBATCH --{name}" + ("" if value is None else f"={shlex.quote(str(value))}") for name, value in given]
    lines += [f"#SBATCH {resources.sbatch_args}"] if resources.sbatch_args else []
    lines += ["", f"cd {shlex.quote(str(Path.cwd()))} || exit", *_activation(resources, os.environ), ""]
    return "\n".join([*lines, *body]) + "\n"


def _activation(resources: Resources, environment: Mapping[str, str]) -> Iterator[str]:
    """How the tasks find the simrun that submitted them."""
    if resources.container is not None:
        return
    if sys.prefix != sys.base_prefix:
        yield f"source {shlex.quote(f'{sys.prefix}/bin/activate')}"
    elif "CONDA_PREFIX" in environment and "CONDA_EXE" in environment:
        yield f'eval "$({shlex.quote(environment["CONDA_EXE"])} shell.bash hook)"'
        yield f"conda activate {shlex.quote(environment['CONDA_PREFIX'])}"
    else:
        yield f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"


def _simrun(work: ShardedRun, resources: Resources, arguments: list[str]) -> str:
    command = ["simrun", *arguments]
    if resources.container is not None:
        card = ["--nv"] if resources.gres else []
        folders = ",".join(dict.fromkeys([str(Path.cwd()), str(work.path)]))
        command = ["apptainer", "exec", *card, "--bind", folders, str(resources.container.absolute()), *command]
    return shlex.join(command)


_SEPARATOR = "|"
_JOBS = "slurm/jobs.jsonl"


class SlurmExecutor(Executor):
    """Submits and returns; scripts, logs and job ids are kept in ``<run>/slurm/``.

    Args:
        resources: what each task asks for; used when the scripts are written, which `submit` does only where none
            are, so that edited scripts stay.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        self._resources = resources or Resources()

    def write_scripts(self, work: ShardedRun) -> list[Path]:
        """Write the scripts of array and last step, replacing earlier ones."""
        (work.path / "slurm" / "logs").mkdir(parents=True, exist_ok=True)
        scripts = _scripts(work.path)
        for path, text in zip(
            scripts, (shard_script(work, self._resources), finish_script(work, self._resources)), strict=True
        ):
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        return scripts

    def test(self, work: ShardedRun) -> list[str]:
        """What Slurm says to the scripts (``sbatch --test-only``), without submitting them.

        Raises:
            InfrastructureError: it would not accept them, or is not there.
        """
        return [_run("sbatch", "--test-only", str(script))[1].strip() for script in _scripts(work.path)]

    def commands(self, work: ShardedRun) -> list[str]:
        """What `submit` would run, as one types it; the last job waits for the array, whatever its tasks' fates."""
        array, last = self._array_command(work), self._last_command(work, "$array")
        return [f"array=$({shlex.join(array)})", shlex.join(last).replace("'afterany:$array'", '"afterany:$array"')]

    def _array_command(self, work: ShardedRun) -> list[str]:
        script, _ = _scripts(work.path)
        return ["sbatch", "--parsable", "--array", f"0-{work.shards - 1}{_limit(script)}", str(script)]

    def _last_command(self, work: ShardedRun, array: str) -> list[str]:
        _, script = _scripts(work.path)
        return ["sbatch", "--parsable", "--dependency", f"afterany:{array}", str(script)]

    def submit(self, work: ShardedRun) -> str:
        """Submit the array and the job that depends on it."""
        if not all(script.exists() for script in _scripts(work.path)):
            self.write_scripts(work)
        array = _submit(self._array_command(work))
        last = _submit(self._last_command(work, array))
        with (work.path / _JOBS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"array": array, "finish": last, "shards": work.shards}) + "\n")
        return f"submitted {work.shards} shard(s) as array {array}, and job {last} to write tables when they have ended"

    def tasks(self, run: Path) -> list[Task]:
        """The tasks of the last submission, from the queue, and from the accounting when they have left it."""
        if not (run / _JOBS).exists():
            return []
        array, _ = _last_jobs(run)
        known = {task.id: task for task in [*_accounted(array), *_queued(array)]}
        return sorted(known.values(), key=lambda task: int(task.id.rsplit("_", 1)[-1]))

    def cancel(self, run: Path) -> None:
        """Cancel the array and the last step of the last submission.

        Raises:
            UsageError: the run was never submitted.
        """
        _run("scancel", *_last_jobs(run))


def _scripts(run: Path) -> list[Path]:
    return [run / "slurm" / "shards.sbatch", run / "slurm" / "finish.sbatch"]


def read_script(script: Path) -> str:
    """A script as `SlurmExecutor.write_scripts` wrote it; a name in it may be no UTF-8."""
    return script.read_text(encoding="utf-8", errors="surrogateescape")


def _limit(script: Path) -> str:
    """How many tasks the script lets run at a time, ``%N``; the command line would override it otherwise."""
    found = re.search(r"^#SBATCH --array=\S*(%\d+)$", read_script(script), re.MULTILINE)
    return found[1] if found else ""


def _last_jobs(run: Path) -> tuple[str, str]:
    try:
        last = parse_object(read_document(run / _JOBS).splitlines()[-1])
        return str(last["array"]), str(last["finish"])
    except FileNotFoundError:
        raise UsageError(f"{run} was never submitted to Slurm") from None
    except (OSError, ValueError, LookupError) as error:
        raise JournalError(f"{run / _JOBS} is damaged: its last line names no jobs ({error})") from None


def _submit(command: list[str]) -> str:
    output, _ = _run(*command)
    return output.strip().split(";")[0]


def _queued(array: str) -> list[Task]:
    """What squeue still knows: tasks in the queue, and those that ended a few minutes ago."""
    listing = _SEPARATOR.join(("%i", "%T", "%N", "%r"))
    try:
        output, _ = _run("squeue", "--array", "--noheader", "--states=all", f"--jobs={array}", f"--format={listing}")
    except InfrastructureError as error:
        if "Invalid job id" in str(error):
            return []
        raise
    return [_task(line) for line in output.splitlines()]


def _accounted(array: str) -> list[Task]:
    """What the accounting knows; nothing on clusters without one."""
    columns = "JobID,State,NodeList,ExitCode"
    try:
        output, _ = _run(
            "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={array}", f"--format={columns}"
        )
    except InfrastructureError:
        return []
    # Tasks that wait are listed as one range, and are known from the queue.
    return [_task(line) for line in output.splitlines() if "[" not in line]


def _task(line: str) -> Task:
    name, state, node, remark = line.strip().split(_SEPARATOR)
    return Task(name, state.split()[0], node, "" if remark in ("None", "0:0") else remark)


def _run(program: str, *arguments: str) -> tuple[str, str]:
    """Run one of Slurm's commands; returns what it printed to standard output and standard error.

    Raises:
        DependencyError: it is not on this machine.
        InfrastructureError: it failed.
    """
    if shutil.which(program) is None:
        raise DependencyError(
            f"{program} is not on this machine; submit from a login node of the cluster, or use --executor local"
        )
    answer = ask([program, *arguments])
    if not answer.ok:
        raise InfrastructureError(f"{program} failed: {answer.last_line}")
    return answer.output, answer.complaints
