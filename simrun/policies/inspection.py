"""What a checkpoint is, told without loading it: its kind, its properties, its transforms, the benchmarks it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from simrun.envs import Benchmark
from simrun.envs.machine.interpreters import describe_interpreter
from simrun.errors import CheckpointError, ServerError
from simrun.policies.checkpoints import check_exists, checkpoint_hash, factory_parts, is_url, located
from simrun.policies.conventions import Convention, Entry
from simrun.policies.families import families, named_convention
from simrun.policies.loaders.loader import Loader, Needs
from simrun.policies.options import ConventionOptions, LoaderOptions, interpreter_of
from simrun.policies.registry import options_of, recognise


@dataclass(frozen=True)
class Fit:
    """Whether a checkpoint fits a benchmark.

    Attributes:
        benchmark: name of the benchmark.
        fits: True, False, or None when that cannot be told.
        reason: why.
        convention: what the policy sees and how its answers are meant there, a line each with where it comes from;
            empty where it speaks every benchmark's convention, or nothing is known.
    """

    benchmark: str
    fits: bool | None
    reason: str
    convention: dict[str, str]


@dataclass(frozen=True)
class Inspection:
    """What was found out about a checkpoint.

    Attributes:
        checkpoint: the checkpoint as it was named.
        kind: kind that it was recognised as.
        reason: why.
        hash: SHA-256 that names it in fingerprints.
        properties: what its kind can tell, as texts.
        fits: verdict for each benchmark.
    """

    checkpoint: str
    kind: str
    reason: str
    hash: str
    properties: dict[str, str]
    fits: tuple[Fit, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return asdict(self)


def inspect_checkpoint(
    checkpoint: str,
    benchmarks: Sequence[Benchmark],
    *,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Inspection:
    """Find out what a checkpoint is; executes nothing of it.

    Args:
        checkpoint: path, URL or name.
        benchmarks: benchmarks to compare it with.
        kind: a kind, or ``module:Class``, that the user insists on.
        options: the user's options; the convention that they name is shown.

    Raises:
        CheckpointError: it is missing, empty, unreadable, or of no known kind.
        UnknownNameError: no such kind or convention.
    """
    named, checkpoint = checkpoint, located(checkpoint)
    if not is_url(checkpoint) and factory_parts(checkpoint) is None and not checkpoint.startswith("scripted:"):
        check_exists(checkpoint.removeprefix("replay:"))
    loader, reason = recognise(checkpoint, kind)
    chosen = options_of(loader, checkpoint, options or {})
    if isinstance(chosen, ConventionOptions) and (name := chosen.convention or chosen.preset):
        named_convention(name)
    needs = loader.needs(checkpoint)
    return Inspection(
        checkpoint=named,
        kind=loader.kind,
        reason=reason,
        hash=checkpoint_hash(checkpoint),
        properties={
            **loader.describe(checkpoint),
            **_family(loader, checkpoint),
            **_interpreter(loader, options or {}),
            "options": loader.options_of(checkpoint).summary() or "none",
        },
        fits=tuple(_fit(checkpoint, benchmark, loader, needs, chosen) for benchmark in benchmarks),
    )


def _interpreter(loader: Loader[Any], options: Mapping[str, Any]) -> dict[str, str]:
    """The interpreter that the user wants it to live in, with the versions that decide results."""
    python = interpreter_of(options, loader.kind)
    return {} if python is None else {"interpreter": str(describe_interpreter(python))}


def _family(loader: Loader[Any], checkpoint: str) -> dict[str, str]:
    """What is known of the family that a checkpoint belongs to, and where its environment is."""
    family = families().get(loader.family(checkpoint) or "")
    if family is None:
        return {}
    known = {"family": f"{family.title} (simrun list families {family.name})"}
    if family.is_built_here:
        built = family.interpreter()
        known["environment"] = built or f"none of its own yet: simrun setup {family.name}"
    return known


def _fit(checkpoint: str, benchmark: Benchmark, loader: Loader[Any], needs: Needs, options: LoaderOptions) -> Fit:
    if needs.nothing:
        return Fit(benchmark.name, True, "it speaks every benchmark's convention", {})
    try:
        convention = loader.convention(checkpoint, benchmark, options)
    except (CheckpointError, ServerError) as error:
        return Fit(benchmark.name, False, str(error), {})
    fits, reason = _verdict(benchmark, needs, convention)
    return Fit(benchmark.name, fits, reason, {} if convention is None else _lines(convention, benchmark))


def _verdict(benchmark: Benchmark, needs: Needs, convention: Convention | None) -> tuple[bool | None, str]:
    dimensions = {mode: spec.dimension for mode, spec in benchmark.action_specs.items()}
    changed = {entry["name"] for entry in convention.transforms} if convention is not None else set()
    if needs.benchmarks is not None and benchmark.name not in needs.benchmarks:
        return False, f"it was made for {', '.join(needs.benchmarks)}"
    unfit = needs.actions is not None and needs.actions not in dimensions.values()
    if unfit and not changed & {"select_actions", "pad_actions", "convert_rotation"}:
        known = ", ".join(f"{mode} {size}" for mode, size in dimensions.items())
        return False, f"its actions have {needs.actions} numbers, the benchmark's: {known}"
    names = {} if convention is None else {theirs: ours for ours, theirs in convention.names.items()}
    missing = [camera for camera in needs.cameras or () if names.get(camera, camera) not in benchmark.cameras]
    if missing and "rename_cameras" not in changed:
        return False, f"camera {missing[0]} is unknown there (a convention's names could give it)"
    given = dict.fromkeys(len(benchmark.proprio_of(mode)) for mode in benchmark.action_specs)
    if needs.proprio and needs.proprio not in given and not changed & {"select_proprio", "append_opening"}:
        there = " or ".join(map(str, given))
        return False, f"it reads {needs.proprio} values of proprioception, there are {there}"
    if needs.benchmarks is not None:
        return True, "it says that it was made for it"
    if convention is not None and convention.source:
        return True, f"by the convention {convention.name}"
    if needs.cameras is None or needs.actions is None:
        told = [f"actions of {needs.actions} numbers fit"] if needs.actions else []
        return None, ", ".join([*told, "the rest cannot be told without loading it"])
    return True, "cameras, proprioception and number of actions agree"


def _lines(convention: Convention, benchmark: Benchmark) -> dict[str, str]:
    """Both sides of a convention: what the benchmark gives and takes, and what the policy makes of it."""
    protocol = benchmark.protocol()
    cameras = convention.cameras or tuple(protocol.cameras)
    seen = [
        f"{camera} {'x'.join(map(str, protocol.cameras.get(camera, ())))}"
        + (f" as {convention.names[camera]}" if camera in convention.names else "")
        for camera in cameras
    ]
    mode = convention.control_mode or benchmark.default_action_mode
    takes = benchmark.action_specs[mode].convention if mode in benchmark.action_specs else f"no control mode {mode}"
    state = _steps(convention.state) or f"as it is ({len(benchmark.proprio_of(mode))} values)"
    lines = {
        "from": f"{convention.name}: {convention.source or 'nothing but its own word'}",
        "cameras": ", ".join(seen),
        "images": _steps(convention.images) or "as they are",
        "state": state if convention.sends_state else "none is sent",
        "prompt": convention.prompt.replace("\n", "\\n") or "the instruction",
        "actions": f"{_steps(convention.actions) or 'as they are'}; {benchmark.name} takes {mode}: {takes}",
    }
    if convention.execution is not None:
        steps = convention.execution.steps or "all"
        lines["native"] = f"{steps} actions of a chunk" + (
            f", {convention.execution.also}" if convention.execution.also else ""
        )
    return lines


def _steps(entries: Sequence[Entry]) -> str:
    texts = []
    for entry in entries:
        parameters = ", ".join(f"{name}={value}" for name, value in entry.items() if name != "name")
        texts.append(f"{entry['name']}({parameters})" if parameters else str(entry["name"]))
    return "; ".join(texts)
