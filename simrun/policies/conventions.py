"""Conventions: what a policy expects to see and how its answers are meant, as data beside the policy.

A table of TOML: ``simrun.toml`` beside or inside a checkpoint, an entry of a family's file, or a file of the user's
that ``-p convention=FILE`` names. What is left out is as the benchmark has it.

.. code-block:: toml

    cameras = ["static", "gripper"]         # what it looks at, in its order
    images = [{ name = "resize", height = 224, width = 224, method = "bicubic" }]
    names = { static = "rgb_static" }       # what it calls the cameras
    state = ["fold_axis_angle"]             # from the proprioception to its state, or "none"
    prompt = "What action should the robot take to {lower}?"
    actions = ["gripper_sign"]              # from its answer to the benchmark's action, in this order
    control_mode = "relative"               # the benchmark's control mode that the result is meant for
    native = { steps = 5 }                  # what its authors execute of each chunk
    statistics_keys = ["bridge_orig"]       # data sets whose statistics it is normalised by, the likeliest first
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

from simrun.envs.machine.regular_files import parse_toml, read_document
from simrun.errors import CheckpointError, UsageError
from simrun.policies.checkpoints import SIDECAR
from simrun.policies.execution import NativeExecution

IDENTITY = "identity"
"""Name of the convention that changes nothing; whoever names it takes the responsibility."""

Entry: TypeAlias = Mapping[str, Any]
"""A transform: its ``name``, and its parameters."""

NO_STATE: tuple[Entry, ...] = ({"name": "select_proprio", "dimensions": []},)
"""``state = "none"``: the policy is given no state."""

_TRANSFORMS = ("images", "state", "actions")
_TEXTS = ("name", "summary", "source", "prompt", "control_mode")
_TABLES = ("when", "names", "native", "wire", "states")


@dataclass(frozen=True)
class Convention:
    """What a policy expects and answers.

    Attributes:
        name: name by which ``-p convention=NAME`` finds it, or the file that it was read from.
        summary: whose convention it is.
        source: where the facts come from.
        benchmarks: patterns of the names of benchmarks that it holds on; empty means any.
        when: settings that a server must announce for it to hold; a setting that it does not announce is false.
        cameras: cameras that the policy looks at, in its order; None leaves that to the checkpoint.
        images: transforms of what it sees.
        names: camera -> what the policy calls it.
        state: transforms of the proprioception.
        states: further states that a server is sent: name -> transforms of the proprioception.
        prompt: template of the sentence that it is given, see the transform ``prompt``; empty gives the instruction.
        actions: transforms of what it answers.
        control_mode: the benchmark's control mode that the transformed actions are meant for; None means the default.
        native: what its authors execute of each chunk: ``steps`` (0 for all), ``last`` (the last of them), ``actions``
            (transforms put before the others, where chunks are executed so) and ``also``, what those do.
        statistics_keys: data sets whose statistics normalise it, the likeliest first; ``{benchmark}`` stands for
            the benchmark's name.
        wire: what the dialect of a server is told; its module says what it takes.
    """

    name: str
    summary: str = ""
    source: str = ""
    benchmarks: tuple[str, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)
    cameras: tuple[str, ...] | None = None
    images: tuple[Entry, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    state: tuple[Entry, ...] = ()
    states: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    prompt: str = ""
    actions: tuple[Entry, ...] = ()
    control_mode: str | None = None
    native: Mapping[str, Any] = field(default_factory=dict)
    statistics_keys: tuple[str, ...] = ()
    wire: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> Convention:
        """Read a table.

        Args:
            table: keys as in the module's docstring.
            where: the file, for messages, and the name where the table has none.

        Raises:
            CheckpointError: an unknown key, or a value of a wrong type.
        """
        known = [entry.name for entry in fields(cls)]
        if unknown := sorted(set(table) - set(known)):
            raise CheckpointError(f"{where} has unknown keys {', '.join(unknown)}; known: {', '.join(known)}")
        values: dict[str, Any] = {"name": where}
        value: Any
        for key, value in table.items():
            wanted, kind = (
                (str, "a text") if key in _TEXTS else (dict, "a table") if key in _TABLES else (list, "a list")
            )
            if key == "state" and value == "none":
                values[key] = NO_STATE
                continue
            if not isinstance(value, wanted):
                raise CheckpointError(f"{where}: {key} must be {kind}")
            values[key] = _READ.get(key, _plain)(value, where)
        return cls(**values)

    @property
    def transforms(self) -> tuple[Entry, ...]:
        """All transforms of what is seen and answered, in order."""
        prompt: tuple[Entry, ...] = ({"name": "prompt", "template": self.prompt},) if self.prompt else ()
        return self.images + self.state + prompt + self.actions

    @property
    def sends_state(self) -> bool:
        """Whether the policy is given a state at all."""
        return self.state != NO_STATE

    @property
    def execution(self) -> NativeExecution | None:
        """What its authors execute; None where that is not said."""
        if not self.native:
            return None
        return NativeExecution(self.native["steps"], self.native["last"], self.native["also"])

    def holds_on(self, benchmark: str) -> bool:
        """Whether it is a convention on the benchmark of that name."""
        return not self.benchmarks or any(fnmatchcase(benchmark, pattern) for pattern in self.benchmarks)

    def holds_for(self, announced: Mapping[str, Any]) -> bool:
        """Whether it is the convention of a server that announces these settings."""
        return all(announced.get(key, False) == value for key, value in self.when.items())


def entries_of(values: list[Any], where: str) -> tuple[Entry, ...]:
    """Transforms from names, or from tables with a name and parameters.

    Raises:
        UsageError: a table without a name, or something else.
    """
    if not isinstance(values, (list, tuple)):
        raise UsageError(f"{where}: transforms must be a list of names or tables")
    entries: list[Entry] = [{"name": value} if isinstance(value, str) else value for value in values]
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UsageError(f"{where}: each transform needs a name; got {entry!r:.100}")
    return tuple(entries)


@dataclass(frozen=True)
class Sidecar:
    """What a ``simrun.toml`` says.

    Attributes:
        file: where it was read.
        kind: kind of the checkpoint, None when it leaves that open.
        preset: name of a convention that its own is laid over, None without one.
        convention: its own convention.
        transforms: further transforms of any sort, in one list, as version 0.1 wrote them; None when it has none.
    """

    file: Path
    kind: str | None
    preset: str | None
    convention: Convention
    transforms: tuple[Entry, ...] | None

    @property
    def states_all(self) -> bool:
        """Whether it says what is done to observations or actions, so that nothing else is asked."""
        own = self.convention
        return (
            self.preset is not None or self.transforms is not None or own != Convention(own.name, cameras=own.cameras)
        )


def read_sidecar(checkpoint: str) -> Sidecar | None:
    """The sidecar of a checkpoint; None when it has none.

    Raises:
        CheckpointError: it is no TOML, has unknown keys, or values of wrong types.
    """
    path = Path(checkpoint).expanduser()
    file = (path if path.is_dir() else path.parent) / SIDECAR
    if not path.exists() or not os.path.lexists(file):
        return None
    document = read_toml(file)
    for key in ("kind", "preset", "convention"):
        if not isinstance(document.get(key, ""), str):
            raise CheckpointError(f"{file}: {key} must be a text")
    kind, preset, convention = (document.pop(key, None) for key in ("kind", "preset", "convention"))
    transforms = document.pop("transforms", None)
    if transforms is not None and not isinstance(transforms, list):
        raise CheckpointError(f"{file}: transforms must be a list")
    entries = None if transforms is None else entries_of(transforms, str(file))
    return Sidecar(file, kind, convention or preset, Convention.of(document, str(file)), entries)


def read_toml(file: Path) -> dict[str, Any]:
    """A file of TOML.

    Raises:
        CheckpointError: it cannot be read, or is no TOML.
    """
    try:
        text = read_document(file)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} {error}") from None
    try:
        return parse_toml(text)
    except ValueError as error:
        raise CheckpointError(f"{file} is no TOML: {error}") from None


def _plain(value: Any, where: str) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _states(table: Mapping[str, Any], where: str) -> dict[str, tuple[Entry, ...]]:
    return {name: entries_of(entries, where) for name, entries in table.items()}


def _native(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {"steps": 0, "last": False, "also": "", "actions": []}
    for key, value in table.items():
        if key not in defaults or type(value) is not type(defaults[key]):
            raise CheckpointError(
                f"{where}: native takes steps (a number), last, also and actions; got {key} = {value!r:.100}"
            )
    merged = {**defaults, **table}
    if merged["steps"] < 0:
        raise CheckpointError(f"{where}: native steps must not be negative, got {merged['steps']}")
    return {**merged, "actions": entries_of(merged["actions"], where)}


_READ: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(_TRANSFORMS, entries_of),
    "states": _states,
    "native": _native,
}
"""Key -> how its value is read."""
