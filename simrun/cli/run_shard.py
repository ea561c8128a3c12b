"""Run one shard of a planned sweep: in a Slurm task, or with --shard on any machine that sees the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from simrun.cli import options
from simrun.envs.machine.processes import RUNNER, die_with_parent
from simrun.errors import DONE, FAILED, INTERRUPTED, UsageError
from simrun.runners.cluster.leases import DEFAULT_LEASE
from simrun.runners.cluster.shard_session import ShardDisplay, run_shard
from simrun.runners.cluster.shards import Shard, Sharding
from simrun.runners.sweep import MACHINE_FIELDS


def command(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run folder, planned by 'simrun slurm'.")],
    shard: Annotated[
        str | None, typer.Option(help="Which shard, i/n from 0. [default: by SLURM_ARRAY_TASK_ID]")
    ] = None,
    lease: options.Lease = None,
    workers: options.Workers = None,
    devices: options.Devices = None,
    replicas: options.Replicas = None,
    max_batch: options.MaxBatch = None,
    max_wait: options.MaxWait = None,
    retries: options.Retries = None,
    timeout: options.Timeout = None,
    recycle: options.Recycle = None,
    video: options.Video = None,
    record: options.Record = None,
) -> int:
    """Run the shard until nothing is left to do.

    Raises:
        SimrunError: see `simrun.runners.cluster.shard_session.run_shard`.
    """
    if RUNNER in os.environ:
        die_with_parent()
    machine: dict[str, Any] = {
        name: value for name, value in options.given(context.params).items() if name in MACHINE_FIELDS
    }
    display = ShardDisplay()
    result = run_shard(run, _which(shard, run, os.environ), machine, display, lease or DEFAULT_LEASE)
    for note in result.notes:
        display.remark(f"note: {note}")
    for checkpoint, error in result.failures.items():
        display.remark(f"error: {checkpoint}: {error}")
    if result.interrupted:
        display.remark("interrupted; what is missing goes on in other shards, or when this one is started again")
        return INTERRUPTED
    lost = sum(row.errors for row in display.tallies.rows.values())
    return FAILED if result.failures or lost else DONE


def _which(text: str | None, run: Path, environment: Mapping[str, str]) -> Shard:
    if text is not None:
        return Shard.parse(text)
    task = environment.get("SLURM_ARRAY_TASK_ID")
    if task is None:
        raise UsageError("this is no task of a Slurm array; say which shard to run, for instance --shard 0/4")
    # Arrays may be submitted by hand with any indices; a shard number only says where to begin.
    count = Sharding.read(run).shards
    return Shard(int(task) % count, count)
