"""Evaluate checkpoints as training writes them; keeps a board, a link to the best one, and goes on when restarted.

simrun watch runs/training --bench tabletop --exec full,half --episodes 0:5 --log tensorboard
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import typer

from simrun.cli import options
from simrun.cli.terminal import TerminalConsole
from simrun.errors import DONE, FAILED, INTERRUPTED, UsageError
from simrun.results.statistics.intervals import Interval
from simrun.runners.cluster.slurm import Resources, SlurmExecutor
from simrun.runners.engine.progress import make_display
from simrun.runners.search.watching.board import Board
from simrun.runners.search.watching.evaluations import Evaluator, ExecutorEvaluator, LocalEvaluator
from simrun.runners.search.watching.watcher import WatchSettings, watch
from simrun.runners.sweep import make_config

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SOON = 10.0


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that training writes its checkpoints into.")],
    bench: options.Bench = None,
    exec_: options.Execution = None,
    library: Annotated[
        str | None,
        typer.Option(
            help="Only checkpoints as one library lays them out: lerobot, huggingface, deepspeed, "
            "lightning or plain (.pt, .onnx). [default: all]"
        ),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Glob below DIR that names the checkpoints, instead of known layouts.")
    ] = None,
    complete: Annotated[
        str,
        typer.Option(
            help="When a checkpoint is complete: auto (its library's mark, else stable), rename, stable, marker:NAME."
        ),
    ] = "auto",
    settle: Annotated[str, typer.Option(help="Time without a change that counts as stable.")] = "10s",
    interval: Annotated[str, typer.Option(help="Time between two looks.")] = "10s",
    order: Annotated[str, typer.Option(help="newest or oldest first.")] = "newest",
    idle: Annotated[str | None, typer.Option(help="End when nothing happened for so long. [default: never]")] = None,
    once: Annotated[bool, typer.Option("--once", help="Evaluate what is there, then end.")] = False,
    budget: Annotated[int | None, typer.Option(min=1, help="Most episodes for each checkpoint.")] = None,
    time_: Annotated[str | None, typer.Option("--time", help="Time for each checkpoint, for instance 10m.")] = None,
    confidence: Annotated[float, typer.Option(help="Level of intervals and tests.")] = 0.95,
    patience: Annotated[
        int | None, typer.Option(help="Say when so many checkpoints brought no significant gain.")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="Log to tensorboard or wandb (offline) too; repeatable.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Name checkpoints that cannot be the best.")] = False,
    really_delete: Annotated[
        bool, typer.Option("--really-delete", help="With --prune: delete these checkpoints from the disk.")
    ] = False,
    keep_last: Annotated[int, typer.Option(min=0, help="Never delete the last so many.")] = 2,
    slurm: Annotated[bool, typer.Option("--slurm", help="Submit each checkpoint to Slurm instead.")] = False,
    array: Annotated[int, typer.Option(min=1, help="With --slurm: tasks for each checkpoint.")] = 1,
    sbatch_args: options.SbatchArgs = "",
    protocol: options.ProtocolName = None,
    set_: options.Overrides = None,
    tasks: options.Tasks = None,
    episodes: options.Episodes = None,
    instructions: options.Instructions = None,
    perturb: options.Perturb = None,
    seeds: options.Seeds = None,
    policy_seeds: options.PolicySeeds = None,
    policy: options.PolicyKind = None,
    policy_option: options.PolicyOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where results go. [default: runs/watch-NAME-OF-DIR]")
    ] = None,
    workers: options.Workers = None,
    devices: options.Devices = None,
    replicas: options.Replicas = None,
    batch_invariant: options.BatchInvariant = None,
    retries: options.Retries = None,
    timeout: options.Timeout = None,
    video: options.Video = None,
    record: options.Record = None,
    quiet: options.Quiet = False,
    trust_checkpoint: options.TrustCheckpoint = None,
) -> int:
    """Watch until it ends, print what happens and the last board.

    Raises:
        UsageError: a time cannot be read, or an array is asked to keep one.
        SimrunError: see `simrun.runners.search.watching.watcher.watch`.
    """
    settled = parse_duration(settle, "--settle") or 0.0
    pause = parse_duration(interval, "--interval") or 0.0
    if once:
        # The second look, which tells whether a file still grows, comes soon, whatever is set for a long watch.
        pause = min(pause, _SOON)
    settings = WatchSettings(
        root=directory,
        out=out or Path("runs") / f"watch-{directory.absolute().name}",
        layout=library,
        pattern=pattern,
        order=order,
        complete=complete,
        settle=settled,
        interval=pause,
        idle=settled + pause if once else parse_duration(idle, "--idle"),
        budget=budget,
        confidence=confidence,
        patience=patience,
        sinks=tuple(log or ()),
        prune=prune,
        really_delete=really_delete,
        keep_last=keep_last,
    )
    config = make_config({**options.given(context.params), "ckpt": [str(directory)]})
    seconds = parse_duration(time_, "--time")
    evaluator: Evaluator
    if slurm:
        if seconds is not None:
            raise UsageError("--time cannot be kept by an array; give --budget, or --sbatch-args '--time ...'")
        evaluator = ExecutorEvaluator(SlurmExecutor(Resources(sbatch_args=sbatch_args)), array, budget)
    else:
        console = TerminalConsole(stderr=True)
        evaluator = LocalEvaluator(lambda: make_display(console, quiet=quiet), episodes=budget, seconds=seconds)
    print(f"watching {settings.root}; results go to {settings.out}", flush=True)
    result = watch(settings, config, evaluator, _tell)
    if result.board is not None:
        _print_board(result.board)
    for checkpoint, error in result.failed.items():
        print(_in_two_lines(f"not evaluated: {checkpoint}: {error}"))
    if result.left:
        print(_in_two_lines(f"left alone, for no loader knows them: {len(result.left)} ({', '.join(result.left)})"))
    if result.interrupted:
        print(f"interrupted; go on with the same command and --out {settings.out}")
        return INTERRUPTED
    return FAILED if result.board is None and (result.failed or result.left) else DONE


def parse_duration(text: str | None, option: str) -> float | None:
    """Seconds from text like ``90``, ``90s``, ``10m`` or ``1.5h``.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,7}(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r:.100} is no duration; write for instance 90s, 10m or 1.5h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _in_two_lines(text: str) -> str:
    """Cut to two lines of a narrow terminal, the time before it included; ``watch.jsonl`` has all of it."""
    return shorten(text, 150, placeholder=" ... (all of it in watch.jsonl)")


def _print_board(board: Board) -> None:
    scoring = board.scoring

    def number(part: float) -> str:
        return scoring.number(scoring.largest * part)

    def between(interval: Interval) -> str:
        return scoring.interval(scoring.largest * interval.low, scoring.largest * interval.high)

    print(f"\nrank  {scoring.heading:>14}  {'at any time':>14}  states  checkpoint (execution)")
    for position, row in enumerate(board.rows, start=1):
        fate = "" if row.place.beaten_by is None else "  significantly worse than the best ones"
        print(
            f"{position:>4}  {number(row.place.mean):>14}  {between(row.place.interval):>14}  {row.place.states:>6}  "
            f"{row.checkpoint} ({row.execution}){fate}"
        )
    print(f"\nbest: {board.best.checkpoint} ({board.best.execution})")
    if board.corrected is not None:
        corrected = board.corrected
        print(
            "its score, corrected for having been chosen by it: "
            f"{scoring.with_unit(scoring.largest * corrected.corrected)} {between(corrected.interval)}"
        )
    if board.stalled is not None:
        print(f"hint: no significant gain over the last {board.stalled} checkpoints; training may have converged")


def _tell(event: dict[str, Any]) -> None:
    print(f"{time.strftime('%H:%M:%S')} {_phrase(event)}", flush=True)


def _phrase(event: dict[str, Any]) -> str:
    kind, checkpoint = event["event"], event.get("checkpoint", "")
    if kind == "finished":
        cells = ", ".join(f"{cell['execution']} {cell['score']:.3f} ({cell['episodes']})" for cell in event["cells"])
        lost = f"; {event['lost']} episodes could not be run" if event["lost"] else ""
        return f"{checkpoint}: {cells or 'no episode'}{lost}"
    if kind == "failed":
        return _in_two_lines(f"{checkpoint} failed: {event['error']}")
    if kind == "left":
        return f"{checkpoint} is left alone, as are others like it: no loader knows it ('simrun inspect' says why)"
    if kind == "best":
        return f"best is now {checkpoint} ({event['execution']})"
    if kind == "no_significant_gain":
        return (
            f"hint: no significant gain over the last {event['checkpoints']} checkpoints; the best is {event['best']}"
        )
    if kind == "pruned":
        return f"deleted {event['deleted']}"
    if kind == "would_prune":
        return f"{checkpoint} cannot be the best; --really-delete would delete it"
    return f"{kind} {checkpoint}"
