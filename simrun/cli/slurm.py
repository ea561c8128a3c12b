"""Run a sweep as one Slurm job array that ends in one table; its state, and what to do when something is missing.

What is evaluated follows after two dashes, with the options of simrun itself:

    simrun slurm --array 32 --gres gpu:1 --time 4:00:00 -- --bench libero_10 --ckpt 'ckpts/*' --exec full,half

Tasks that fail or are preempted lose nothing: others take over what they had begun.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from simrun.cli import options, slurm_status
from simrun.cli.evaluate import choose_folder, complete_config, print_report
from simrun.cli.verbs import SETTINGS
from simrun.errors import DONE, FAILED, InfrastructureError, UsageError
from simrun.runners.cluster.executors import make_executor
from simrun.runners.cluster.leases import DEFAULT_LEASE
from simrun.runners.cluster.sharded_runs import ShardedRun, finish_run, plan_shards, reopen
from simrun.runners.cluster.shards import Sharding
from simrun.runners.cluster.slurm import Resources, SlurmExecutor, read_script
from simrun.runners.sweep import SweepConfig

_SWEEP = "simrun.sweep"


class _SweepAfterDashes(TyperGroup):
    """Keeps what follows after ``--`` from being read as a subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_SWEEP] = args[at + 1 :]
            args = args[:at]
        return list(super().parse_args(ctx, args))


app = typer.Typer(cls=_SweepAfterDashes, help=__doc__, invoke_without_command=True, **SETTINGS)


@app.callback()
def submit(
    context: typer.Context,
    array: Annotated[int | None, typer.Option(min=1, help="Tasks of the array.")] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Most tasks that run at a time. [default: all]")] = None,
    executor: Annotated[
        str, typer.Option(help="slurm, local (processes of this machine) or debug (this process).")
    ] = "slurm",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan, write the scripts, show them and the commands; submit nothing.")
    ] = False,
    partition: Annotated[str | None, typer.Option(help="Partition.")] = None,
    gres: Annotated[str | None, typer.Option(help="Generic resources of a task, for instance gpu:1.")] = None,
    time: Annotated[str | None, typer.Option(help="Time limit of a task.")] = None,
    cpus_per_task: Annotated[int | None, typer.Option(min=1, help="Cores of a task; one worker each.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of a task.")] = None,
    sbatch_args: options.SbatchArgs = "",
    container: Annotated[Path | None, typer.Option(help="Apptainer image that holds simrun.")] = None,
    notice: Annotated[int, typer.Option(min=0, help="Seconds before the time limit at which a task requeues.")] = 120,
    lease: options.Lease = None,
) -> None:
    """Submit, unless a verb is given."""
    if context.invoked_subcommand is not None:
        return
    if array is None:
        raise UsageError("--array is missing: into how many tasks shall the sweep be divided?")
    resources = Resources(partition, gres, time, cpus_per_task, mem, sbatch_args, container, at_once, notice)
    config, folder = _sweep(context)
    work = plan_shards(config, folder, array, lease or DEFAULT_LEASE)
    if executor != "slurm" and not dry_run:
        print(make_executor(executor).submit(work))
        return
    slurm = SlurmExecutor(resources)
    _refuse_while_live(slurm, work.path)
    scripts = slurm.write_scripts(work)
    if dry_run:
        _show(slurm, work, scripts)
    else:
        print(slurm.submit(work))
    print(f"run folder: {work.path}")


@app.command()
def status(run: options.Run, json_: options.Json = False) -> None:
    """Show progress, failures and the time it will take, from the journals and from Slurm."""
    slurm_status.show(run, as_json=json_)


@app.command()
def resubmit(
    run: options.Run,
    array: Annotated[int | None, typer.Option(min=1, help="Tasks. [default: as before, if so many are needed]")] = None,
) -> None:
    """Submit what is missing again, with the scripts in the run folder as they are now."""
    slurm = SlurmExecutor()
    _refuse_while_live(slurm, run)
    missing = reopen(run, abandoned=True)
    if not missing:
        print("nothing is missing")
        return
    print(slurm.submit(ShardedRun(Path(os.path.abspath(run)), min(array or Sharding.read(run).shards, missing))))


@app.command()
def cancel(run: options.Run) -> None:
    """Cancel all tasks; what they recorded stays, and 'resubmit' goes on from there."""
    SlurmExecutor().cancel(run)


@app.command()
def finish(run: options.Run) -> int:
    """Merge the journals and write tables and report; the array's dependent job does this."""
    finished = finish_run(run)
    print(finished)
    if finished.table:
        print_report(finished.run)
    return DONE if finished.complete else FAILED


def _sweep(context: typer.Context) -> tuple[SweepConfig, Path]:
    """Configuration and run folder of the options after the dashes, read by the command line of simrun itself."""
    arguments = context.meta.get(_SWEEP)
    if not arguments:
        raise UsageError("say what to evaluate after two dashes: simrun slurm --array 4 -- --bench ... --ckpt ...")
    with context.find_root().command.make_context("simrun", list(arguments)) as sweep:
        parameters = sweep.params
        if sweep.args or getattr(sweep, "_protected_args", None):
            raise UsageError(f"cannot read {' '.join(arguments)!r}: after the dashes come options of simrun only")
    if parameters["until_half_width"] is not None:
        raise UsageError("--until-half-width decides after each round what comes next; run it without slurm")
    file, out = (Path(parameters[name]) if parameters[name] else None for name in ("config", "out"))
    config = complete_config(options.given(parameters), file)
    return config, choose_folder(config, out, resume=parameters["resume"])


def _refuse_while_live(slurm: SlurmExecutor, run: Path) -> None:
    live = [task.id for task in slurm.tasks(run) if task.live]
    if live:
        raise UsageError(f"tasks are still there ({', '.join(live[:5])}); wait for them, or: simrun slurm cancel {run}")


def _show(slurm: SlurmExecutor, work: ShardedRun, scripts: list[Path]) -> None:
    for script in scripts:
        print(f"--- {script}\n{read_script(script)}")
    print("--- submitted by")
    print("\n".join(slurm.commands(work)))
    try:
        for answer in slurm.test(work):
            print(answer)
    except InfrastructureError as error:
        print(f"not tested: {error}")
