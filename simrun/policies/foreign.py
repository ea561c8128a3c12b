"""What other packages say and foreign files hold, in the form that one sentence needs."""

from __future__ import annotations

import sys
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any

from simrun.envs.machine.regular_files import read_object
from simrun.errors import DependencyError

_LONGEST = 300


def require_module(module: str, extra: str, purpose: str) -> Any:
    """Import an optional package.

    Args:
        module: its import name.
        extra: the pip extra of simrun that brings it; a policy's own interpreter, which knows none, is named instead.
        purpose: what needs it, for the message.

    Raises:
        DependencyError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        way = f"run: pip install 'simrun[{extra}]'"
        if not _simrun_is_installed():
            way = f"install it in the policy's interpreter, {sys.executable}, or name another one with -p python=PATH"
        raise DependencyError(f"{purpose} needs {module}, which cannot be imported ({error}); {way}") from None


def _simrun_is_installed() -> bool:
    """Whether this interpreter has simrun itself; what another one lends brings the names of its neighbours along."""
    try:
        return Path(str(metadata.distribution("simrun").locate_file(""))).is_relative_to(sys.prefix)
    except metadata.PackageNotFoundError:
        return False


def refuse_remote_code() -> None:
    """Let transformers refuse code that a folder brings, where nobody says whether it may run.

    It would ask at the terminal, and take the next line of a script for the answer.
    """
    if util.find_spec("transformers") is not None:
        asking: Any = import_module("transformers.dynamic_module_utils")
        asking.TIME_OUT_REMOTE_CODE = 0


def cause_of(error: BaseException) -> str:
    """What an error says, shortened to a sentence's length; its class where it says nothing.

    The first line, and the lines after it where the first only announces them: torch's "Error(s) in loading
    state_dict for X:" says nothing by itself.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines) if lines[0].endswith(":") else lines[0]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def read_json_object(file: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when the file is missing, or holds something else."""
    try:
        return read_object(file)
    except (OSError, ValueError):
        return None
