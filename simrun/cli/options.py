"""The options that several verbs share, each declared here once; those of an evaluation in their groups."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from simrun.cli import completion
from simrun.cli.completion import listed
from simrun.errors import UsageError

_PLAIN = (
    *("protocol", "episodes", "policy", "trust_checkpoint", "batch_invariant"),
    *("workers", "replicas", "max_batch", "max_wait", "retries", "timeout", "recycle", "video", "record"),
)


HOW = "How it is run"
"""Group of the options that decide nothing about the numbers."""


def _first(*names: str, help: str, completion: Any = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="What everybody needs", autocompletion=completion)


def _what(*names: str, help: str, completion: Any = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="What exactly is evaluated", autocompletion=completion)


def _how(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=HOW)


Bench = Annotated[
    list[str] | None,
    _first("--bench", "-b", help="Benchmark; repeat, or separate by commas.", completion=completion.benchmarks),
]
Checkpoints = Annotated[
    list[str] | None,
    _first("--ckpt", "-c", help="Checkpoint: path, glob, URL, scripted:..., replay:FOLDER; repeatable."),
]
Execution = Annotated[
    str | None,
    _first(
        "--exec",
        "-x",
        help="Execution variants: native, full, half, single, k=N, ensemble, delay=N, delay=measured. "
        "[default: native, else full]",
    ),
]
ProtocolName = Annotated[
    str | None, _what("--protocol", help="Protocol; see 'simrun list BENCH'.", completion=completion.protocols)
]
Overrides = Annotated[
    list[str] | None,
    _what("--set", help="Override one entry of the protocol, KEY=VALUE; it gets a new name."),
]
Tasks = Annotated[
    str | None,
    _what(
        "--tasks",
        "-t",
        help="Tasks, names or patterns; commas separate. [default: all]",
        completion=completion.tasks,
    ),
]
Episodes = Annotated[
    str | None,
    _first("--episodes", "-e", help="Trials of each task: 0:20, or 6,15. [default: all]"),
]
Seeds = Annotated[
    str | None,
    _what("--seeds", help="Episode seeds, for what the trial does not fix. [default: 0]"),
]
PolicySeeds = Annotated[
    str | None,
    _what("--policy-seeds", help="Seeds of a stochastic policy; commas separate. [default: 0]"),
]
Instructions = Annotated[
    list[str] | None,
    _what("--instructions", help="What policies are told: none, empty, swap, or a file; repeatable. [default: none]"),
]
Perturb = Annotated[
    str | None,
    _what("--perturb", help="What is seen otherwise: none, camera:N, light:N, noise:N, blur:N; commas separate."),
]
UntilHalfWidth = Annotated[
    float | None,
    _what("--until-half-width", help="Stop once every cell's anytime-valid interval is that narrow, in points."),
]
PolicyKind = Annotated[
    str | None,
    _what(
        "--policy",
        help="Kind of checkpoint, when it is not recognised; lab.py:CLASS loads your own.",
        completion=completion.kinds,
    ),
]
PolicyOption = Annotated[
    list[str] | None,
    _what(
        "--policy-option",
        "-p",
        help="Option of the checkpoint's loader, KEY=VALUE: device=cuda:0, convention=NAME or FILE.",
        completion=completion.policy_options,
    ),
]
ConfigFile = Annotated[
    Path | None,
    _what("--config", help="TOML file with these options as keys; the command line wins."),
]
Out = Annotated[
    Path | None,
    _first("--out", "-o", help="Run folder. [default: runs/TIME-BENCH-CKPT]"),
]
Resume = Annotated[
    bool,
    _how("--resume", help="Go on with the newest run of the same configuration in runs/."),
]
Workers = Annotated[
    int | None,
    _how("--workers", "-w", help="Environment processes. [default: as many as help; one a core to begin with]"),
]
Devices = Annotated[
    str | None,
    _how("--devices", help="A policy process on each: cuda:0,cuda:1, or cpu. [default: every card, if several]"),
]
Replicas = Annotated[int | None, _how("--replicas", help="Policy processes on each device. [default: 1]")]
MaxBatch = Annotated[int | None, _how("--max-batch", help="Largest inference batch. [default: by device]")]
MaxWait = Annotated[
    float | None,
    _how("--max-wait", help="Seconds a request waits for company. [default: as long as it pays]"),
]
BatchInvariant = Annotated[
    bool | None,
    _how("--batch-invariant", help="Pad batches to one shape: results do not depend on company."),
]
Retries = Annotated[
    int | None,
    _how("--retries", help="Restarts of an episode whose worker failed. [default: 2]"),
]
Timeout = Annotated[float | None, _how("--timeout", help="Seconds a worker may be silent. [default: 600]")]
Recycle = Annotated[
    int | None,
    _how("--recycle", help="Episodes after which a worker is replaced. [default: 200]"),
]
Video = Annotated[
    str | None,
    _how(
        "--video",
        help="Film: none, failures, all, N-per-task, or outcomes: one success and one failure of each task. "
        "[default: none]",
    ),
]
Record = Annotated[
    str | None,
    _how("--record", help="Keep rollouts as a LeRobot data set: none, failures, all, or N-per-task. [default: none]"),
]
Quiet = Annotated[bool, _how("--quiet", "-q", help="Show no progress.")]
TrustCheckpoint = Annotated[
    bool | None,
    _what("--trust-checkpoint", help="Allow pickles and code of the checkpoint to run."),
]
Offline = Annotated[bool, _how("--offline", help="Fetch nothing from the hub: take what is on this machine.")]
Debug = Annotated[bool, _how("--debug", help="Show tracebacks.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...")]
OneProtocol = Annotated[str | None, typer.Option("--protocol", help="Only this protocol; part of a name will do.")]
MixFingerprints = Annotated[
    bool, typer.Option("--mix-fingerprints", help="Pool records that different machines or versions made.")
]
Lease = Annotated[
    float | None,
    typer.Option(
        "--lease", min=0.1, max=1e6, help="Seconds until work of a silent shard is taken over. [default: 120]"
    ),
]
SbatchArgs = Annotated[str, typer.Option("--sbatch-args", help="Other options of sbatch, in quotes.")]


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `SweepConfig` among the parameters of a parsed command line, without those that were not given.

    Raises:
        UsageError: a list of numbers or a KEY=VALUE cannot be read.
    """
    values = {
        "bench": listed(parameters.get("bench")),
        "ckpt": list(parameters.get("ckpt") or ()),
        "exec": listed(parameters.get("exec_")),
        "set": _assignments(parameters.get("set_"), "--set"),
        "tasks": listed(parameters.get("tasks")),
        "devices": listed(parameters.get("devices")),
        "instructions": list(parameters.get("instructions") or ()),
        "perturb": listed(parameters.get("perturb")),
        "seeds": _integers(parameters.get("seeds"), "--seeds"),
        "policy_seeds": _integers(parameters.get("policy_seeds"), "--policy-seeds"),
        "policy_options": _assignments(parameters.get("policy_option"), "--policy-option"),
        **{name: parameters.get(name) for name in _PLAIN},
    }
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _integers(text: str | None, option: str) -> list[int]:
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise UsageError(f"{option} {text!r} is no list of whole numbers; write for instance 0,1,2") from None


def _assignments(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"{option} {text!r} is no KEY=VALUE")
        try:
            values[key] = json.loads(value)
        except (ValueError, RecursionError):
            values[key] = value
    return values
