"""The command line: ``simrun --bench ... --ckpt ...`` evaluates, and verbs do the rest."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback

import typer

from simrun.cli import evaluate
from simrun.cli.verbs import SETTINGS, Verbs
from simrun.errors import DONE, FAILED, INTERRUPTED, InfrastructureError, SimrunError

_LONGEST = 4000
"""Characters of an error that are shown."""


def _exit(code: int | None, **_: object) -> None:
    raise typer.Exit(code or DONE)


app = typer.Typer(
    name="simrun",
    cls=Verbs,
    help=evaluate.__doc__,
    no_args_is_help=True,
    invoke_without_command=True,
    callback=evaluate.command,
    result_callback=_exit,
    **{**SETTINGS, "add_completion": True},
)


def main() -> None:
    """Entry point: every expected error becomes one sentence and an exit code."""
    from simrun.cli.terminal import clean_streams

    # Python would look for garbage among everything that was imported, a quarter of a second, to hand it all back next.
    atexit.register(gc.freeze)
    clean_streams()
    try:
        app()
    except SimrunError as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        print("simrun: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (OSError, MemoryError, RecursionError) as error:
        sys.exit(_report(InfrastructureError(_cause(error))))


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def _report(error: SimrunError) -> int:
    if os.environ.get("SIMRUN_DEBUG"):
        traceback.print_exception(error)
        if error.worker_traceback:
            print(f"\nin the worker:\n{error.worker_traceback}", file=sys.stderr)
    text = str(error)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ... ({len(text)} characters)"
    print(f"simrun: error: {text}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
