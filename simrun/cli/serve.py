"""Serve a checkpoint over a websocket, so that other harnesses can use it."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from simrun.cli import options
from simrun.cli.terminal import TerminalConsole
from simrun.envs import get_benchmark
from simrun.policies import ExecutionVariant
from simrun.policies.dialects.serving import PolicyServer, ServerSettings
from simrun.runners.engine.placement import open_policy


def command(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Path, name or URL.", metavar="CKPT")],
    bench: Annotated[str, typer.Option("--bench", "-b", help="Benchmark whose conventions it speaks.")],
    dialect: Annotated[str, typer.Option(help="What its clients speak: openpi, vlaeval.")] = "openpi",
    host: Annotated[str, typer.Option(help="Address; another than this machine's own needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[str | None, typer.Option(help="Secret that clients must send.", envvar="SIMRUN_TOKEN")] = None,
    exec_: Annotated[str, typer.Option("--exec", "-x", help="Execution variant, for vla-eval's clients.")] = "full",
    max_batch: Annotated[int, typer.Option(min=1, help="Largest inference batch.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the policy's randomness.")] = 0,
    policy: options.PolicyKind = None,
    policy_option: options.PolicyOption = None,
    trust_checkpoint: options.TrustCheckpoint = None,
) -> None:
    """Load a checkpoint and serve it until the process is ended.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UsageError: the address cannot be listened on, or lacks a token.
    """
    settings = ServerSettings(
        dialect=dialect,
        host=host,
        port=port,
        token=token,
        execution=ExecutionVariant.parse(exec_),
        max_batch_size=max_batch,
        seed=seed,
    )
    benchmark = get_benchmark(bench)
    loaded = open_policy(
        checkpoint,
        benchmark,
        most=1,
        kind=policy,
        trust_checkpoint=bool(trust_checkpoint),
        options=options.given(context.params).get("policy_options", {}),
    )
    # Refuses a variant that the chunk is too short for before anyone connects.
    settings.execution.horizon(loaded.spec.chunk_length)
    server = PolicyServer(loaded, benchmark, settings)
    logging.getLogger("websockets.server").addFilter(in_one_line)
    console = TerminalConsole(stderr=True, highlight=False)
    console.print(f"{loaded.spec.name} for {benchmark.name} at {server.url} ({dialect}); Ctrl-C ends it", markup=False)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.print("ended")
    finally:
        server.close()


def in_one_line(record: logging.LogRecord) -> bool:
    """Let what websockets says of a client be one line; of one that hangs up while refused it shows a traceback."""
    if record.exc_info:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r:.200}", ()
        record.exc_info = None
    return True
