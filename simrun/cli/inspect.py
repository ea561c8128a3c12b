"""Say what a checkpoint is, why, and which benchmarks it fits; loads nothing that needs trust."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from simrun.cli import options
from simrun.cli.terminal import TerminalConsole
from simrun.envs import benchmark_names, get_benchmark
from simrun.errors import UnknownKindError
from simrun.policies.inspection import Inspection, inspect_checkpoint
from simrun.policies.registry import expand_checkpoints

_VERDICTS = {True: "fits", False: "no", None: "maybe"}


def command(
    context: typer.Context,
    checkpoints: Annotated[list[str], typer.Argument(help="Paths, globs, URLs or names.", metavar="CKPT...")],
    policy: options.PolicyKind = None,
    policy_option: options.PolicyOption = None,
    json_: options.Json = False,
) -> None:
    """Print what was recognised of each checkpoint, and why.

    Raises:
        CheckpointError: one is missing, empty, unreadable or of no known kind.
        UnknownNameError: no such kind or preset.
    """
    benchmarks = [get_benchmark(name) for name in benchmark_names()]
    wanted = options.given(context.params).get("policy_options", {})
    try:
        found = [
            inspect_checkpoint(checkpoint, benchmarks, kind=policy, options=wanted)
            for checkpoint in expand_checkpoints(checkpoints)
        ]
    except UnknownKindError as error:
        if not json_:
            print("looked for")
            _print_rows(TerminalConsole(highlight=False, soft_wrap=True), "  ", error.looked_for)
        raise
    if json_:
        print(json.dumps([inspection.to_json() for inspection in found], indent=1))
        return
    console = TerminalConsole(highlight=False, soft_wrap=True)
    for inspection in found:
        _show(console, inspection)


def _show(console: TerminalConsole, inspection: Inspection) -> None:
    console.print(inspection.checkpoint, style="bold", markup=False)
    rows = {"kind": f"{inspection.kind}: {inspection.reason}", "SHA-256": inspection.hash, **inspection.properties}
    _print_rows(console, "  ", rows)
    console.print("  benchmarks")
    widest = max(len(fit.benchmark) for fit in inspection.fits)
    for fit in inspection.fits:
        console.print(f"    {fit.benchmark:<{widest}}  {_VERDICTS[fit.fits]:<5}  {fit.reason}", markup=False)
    shown: list[dict[str, str]] = []
    for fit in inspection.fits:
        if fit.convention and fit.convention not in shown:
            shown.append(fit.convention)
            where = [other.benchmark for other in inspection.fits if other.convention == fit.convention]
            console.print(f"  convention on {', '.join(where)}", markup=False)
            _print_rows(console, "    ", fit.convention)


def _print_rows(console: TerminalConsole, margin: str, rows: Mapping[str, str]) -> None:
    width = max(map(len, rows))
    for name, value in rows.items():
        console.print(f"{margin}{name:<{width}}  {value}", markup=False)
