"""Success-rate tables that can be trusted, for robot policies in simulation.

Roll out checkpoints over chunk-execution variants, and get a table with intervals:

    simrun --bench calvin --ckpt path/to/checkpoint --exec full,half,single

    simrun --bench tabletop --ckpt 'runs/train/*.onnx' --episodes 0:10

    simrun --bench libero_10 --ckpt ws://localhost:8000 --video failures

A run folder holds everything: running the same command with the same --out,
or with --resume, goes on where it was. Checkpoints that need no file:
scripted:zero, scripted:random, scripted:expert, replay:FOLDER.

See 'simrun list' for benchmarks, tasks and protocols, 'simrun doctor' when something does not work.
"""

# Nothing heavy is imported here: this file is read at every start, for whatever verb.
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simrun.cli import options
from simrun.errors import DONE, FAILED, INTERRUPTED, DependencyError, UsageError

if TYPE_CHECKING:
    from simrun.cli.terminal import TerminalConsole
    from simrun.results.run import Run
    from simrun.runners.engine.session import SessionResult
    from simrun.runners.sweep import SweepConfig


def command(
    context: typer.Context,
    bench: options.Bench = None,
    ckpt: options.Checkpoints = None,
    exec_: options.Execution = None,
    protocol: options.ProtocolName = None,
    set_: options.Overrides = None,
    tasks: options.Tasks = None,
    episodes: options.Episodes = None,
    instructions: options.Instructions = None,
    perturb: options.Perturb = None,
    seeds: options.Seeds = None,
    policy_seeds: options.PolicySeeds = None,
    until_half_width: options.UntilHalfWidth = None,
    policy: options.PolicyKind = None,
    policy_option: options.PolicyOption = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    resume: options.Resume = False,
    workers: options.Workers = None,
    devices: options.Devices = None,
    replicas: options.Replicas = None,
    max_batch: options.MaxBatch = None,
    max_wait: options.MaxWait = None,
    batch_invariant: options.BatchInvariant = None,
    retries: options.Retries = None,
    timeout: options.Timeout = None,
    recycle: options.Recycle = None,
    video: options.Video = None,
    record: options.Record = None,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
    trust_checkpoint: options.TrustCheckpoint = None,
    debug: options.Debug = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> int:
    """Run a sweep and print its table, unless a verb is given.

    Raises:
        SimrunError: see `simrun.runners.engine.session.run_session`.
    """
    if debug:
        os.environ["SIMRUN_DEBUG"] = "1"
    if offline:
        forbid_downloads()
    if version:
        from simrun import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return DONE
    from simrun.cli.terminal import TerminalConsole
    from simrun.envs.machine.folders import use_own_caches
    from simrun.runners.engine.progress import make_display
    from simrun.runners.engine.session import run_session
    from simrun.runners.search.narrowing import run_until_narrow

    use_own_caches()
    sweep = complete_config(options.given(context.params), config)
    folder = choose_folder(sweep, out, resume=resume)
    console = TerminalConsole(stderr=True)
    display = make_display(console, quiet=quiet)
    if until_half_width is None:
        result = run_session(sweep, folder, display)
    else:
        result = run_until_narrow(sweep, folder, display, until_half_width / 100).session
    print_result(result)
    return report_result(result, console)


def forbid_downloads() -> None:
    """Let nothing be fetched from the hub, by this process or by those that it starts."""
    from simrun.policies.hub import OFFLINE_VARIABLE

    os.environ[OFFLINE_VARIABLE] = "1"


def complete_config(options: dict[str, Any], config_file: Path | None) -> SweepConfig:
    """The configuration of a command line and a TOML file; the command line wins.

    Raises:
        UsageError: the benchmark or the checkpoint is missing, or a value is illegal.
    """
    from simrun.runners.sweep import make_config, read_config

    values = {**(read_config(config_file) if config_file else {}), **options}
    for name in ("bench", "ckpt"):
        if name not in values:
            raise UsageError(
                f"--{name} is missing; write simrun --bench BENCH --ckpt CKPT; 'simrun list' shows the benchmarks"
            )
    return make_config(values)


def choose_folder(config: SweepConfig, out: Path | None, *, resume: bool) -> Path:
    """The run folder that was named, else the one to go on with, else a new one.

    Raises:
        UsageError: there is nothing to resume.
    """
    from simrun.results.description import newest_run
    from simrun.runners.engine.session import default_out

    runs = Path("runs")
    if out or not resume:
        return out or default_out(config, runs)
    newest = newest_run(runs, config.identity())
    if newest is None:
        raise UsageError("--resume found no run of this configuration in runs/; name its folder with --out")
    return newest


def print_result(result: SessionResult) -> None:
    """Print the table of a session, write it into the run folder, and the report."""
    from simrun.results.pooling import cells_of
    from simrun.results.tables import render, table_of_runs, write_tables
    from simrun.results.tables.verdicts import verdict_sentences

    if not result.records:
        return
    table = table_of_runs([result.run])
    write_tables(table, result.run.tables)
    print(render(table, "text"))
    if sentences := verdict_sentences(cells_of([result.run])):
        print("\n".join([*sentences, ""]))
    print_report(result.run)


def print_report(run: Run) -> None:
    """Write the report of a run and print where it is, or what it would need."""
    from simrun.results.page import write_report

    try:
        print(f"report: {_shown(write_report([run], run.path / 'report.html'))}")
    except DependencyError as error:
        print(f"no report: {error}")


def _shown(path: Path) -> Path:
    """A path as it is typed in the present folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def report_result(result: SessionResult, console: TerminalConsole) -> int:
    """Say how a session ended, and return the exit code for it."""

    def tell(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    for note in result.notes:
        tell(f"note: {note}")
    for checkpoint, error in result.failures.items():
        tell(f"simrun: error: {checkpoint}: {error}")
    lost = [record for record in result.records if not record.completed]
    if lost:
        tell(
            f"simrun: {len(lost)} episode(s) could not be run on this machine and are in no rate; run again with "
            f"--out {result.run.path} to retry them; the first, {lost[0].episode}: {lost[0].error}"
        )
    if result.interrupted:
        tell(f"simrun: interrupted; go on with the same command and --out {result.run.path}")
    if result.records:
        print(f"run folder: {_shown(result.run.path)}")
    if result.interrupted:
        return INTERRUPTED
    return FAILED if result.failures or lost else DONE
