"""Any checkpoint becomes a Policy: recognise its kind, then let the loader of that kind make it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from simrun import doors
from simrun.envs import Benchmark
from simrun.envs.machine.interpreters import describe_interpreter
from simrun.errors import CheckpointError, DependencyError, UnknownKindError, UnknownNameError, UsageError
from simrun.policies.checkpoints import (
    check_exists,
    checkpoint_hash,
    expand_checkpoints,
    factory_parts,
    is_url,
    located,
)
from simrun.policies.conventions import read_sidecar
from simrun.policies.families import families, family_of_folder
from simrun.policies.loaders.factory import FunctionLoader, import_attribute
from simrun.policies.loaders.loader import Loader, LoadRequest, surest
from simrun.policies.options import LoaderOptions, interpreter_of, options_for_kind
from simrun.policies.policy import Policy

__all__ = [
    "check_options",
    "checkpoint_hash",
    "declares_native",
    "expand_checkpoints",
    "get_loader",
    "load_policy",
    "options_of",
    "policy_kinds",
    "recognise",
]


def policy_kinds() -> list[str]:
    """Every kind that packages offer, by name; ``--policy`` also takes ``module:Class``."""
    return list(doors.offers(doors.LOADERS))


def get_loader(kind: str) -> Loader[Any]:
    """The loader of a kind, or of ``module:Class``, ``module:function`` or ``file.py:Class``.

    An offered loader's module is imported, not the libraries that it needs.

    Raises:
        CheckpointError: the module that was named cannot be imported, or has no such class.
        UnknownNameError: no such kind.
        UsageError: what is offered under that name is no loader.
    """
    parts = factory_parts(kind)
    return _offered(kind) if parts is None else _named(*parts)


def recognise(checkpoint: str, kind: str | None = None) -> tuple[Loader[Any], str]:
    """Find the loader for a checkpoint, and why it is the right one.

    Every loader is asked; the claim with the surest `Evidence` wins, whatever the order of their names.

    Args:
        checkpoint: path, URL or name.
        kind: a kind, or ``module:Class``, that the user insists on.

    Raises:
        CheckpointError: it is missing, empty, or of two kinds alike.
        UnknownKindError: no loader knows it.
        UnknownNameError: no such kind.
    """
    checkpoint = located(checkpoint)
    if kind is not None:
        loader = get_loader(kind)
        return loader, loader.recognise(checkpoint) or f"--policy {kind} was given"
    sidecar = read_sidecar(checkpoint)
    if sidecar is not None and sidecar.kind is not None:
        if factory_parts(sidecar.kind) is not None:
            raise CheckpointError(
                f"{sidecar.file} asks for the code {sidecar.kind}, which a file beside a checkpoint cannot order; "
                f"if you want it to run, add --policy {sidecar.kind}"
            )
        return get_loader(sidecar.kind), f"{sidecar.file} says so"
    loaders = [_offered(name) for name in policy_kinds()]
    claims = [(loader, reason) for loader in loaders if (reason := loader.recognise(checkpoint)) is not None]
    best = surest(claims)
    if len(best) == 1:
        return best[0]
    if best:
        alike = " and ".join(f"{loader.kind} ({reason})" for loader, reason in best)
        raise CheckpointError(f"{checkpoint} is claimed by the kinds {alike}; choose with --policy {best[0][0].kind}")
    if not is_url(checkpoint) and factory_parts(checkpoint) is None:
        check_exists(checkpoint)
    family = family_of_folder(Path(checkpoint).expanduser())
    if family is not None:
        raise CheckpointError(
            f"{checkpoint} is a folder of {family.title}, which is not loaded here{family.how_served()}"
        )
    raise UnknownKindError(checkpoint, {loader.kind: loader.looks_for for loader in loaders})


def options_of(loader: Loader[Any], checkpoint: str, values: Mapping[str, Any]) -> LoaderOptions:
    """The user's options as the loader of a checkpoint declares them.

    Args:
        loader: the loader.
        checkpoint: path, URL or name.
        values: ``name`` -> value for every kind, ``kind.name`` -> value for one kind.

    Raises:
        UnknownNameError: an unknown kind, or an option that the loader does not have.
        UsageError: a value of a wrong type.
    """
    for name in values:
        owner = name.rpartition(".")[0]
        if owner and owner not in (loader.kind, *policy_kinds()):
            raise UnknownNameError("policy kind", owner, policy_kinds())
    return loader.options_of(located(checkpoint)).of(options_for_kind(values, loader.kind), f"the kind {loader.kind}")


def check_options(checkpoint: str, kind: str | None, values: Mapping[str, Any]) -> None:
    """Check the user's options before a checkpoint is loaded; one that cannot be recognised yet is left for later.

    Raises:
        UnknownNameError: an unknown kind, or an option that the checkpoint's loader does not have.
        UsageError: a value of a wrong type, or an interpreter that is not there.
        DependencyError: an interpreter that no policy can live in.
    """
    try:
        loader, _ = recognise(checkpoint, kind)
    except CheckpointError:
        return
    options_of(loader, checkpoint, values)
    if python := interpreter_of(values, loader.kind):
        describe_interpreter(python)


def declares_native(checkpoint: str, kind: str | None, benchmarks: Sequence[str]) -> bool:
    """Whether a checkpoint or its family says what its authors execute, on any of the benchmarks of these names."""
    try:
        loader, _ = recognise(checkpoint, kind)
    except CheckpointError:
        return False
    return any(loader.declares_native(located(checkpoint), benchmark) for benchmark in benchmarks)


def load_policy(
    checkpoint: str,
    benchmark: Benchmark,
    *,
    kind: str | None = None,
    trust_checkpoint: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Policy:
    """Make a policy of a checkpoint.

    Args:
        checkpoint: path, URL, name on the hub, ``scripted:NAME``, ``replay:DIR`` or ``module:factory``.
        benchmark: the benchmark whose action convention it must speak.
        kind: a kind, or ``module:Class``, to load it with; None recognises it from its files.
        trust_checkpoint: allow code that comes with the checkpoint to be executed.
        options: what the kind's loader may be told: device, dtype, batch size and the like.

    Returns:
        A policy that answers in the benchmark's native action convention.

    Raises:
        CheckpointError: missing, empty, of no known kind, unfit for the benchmark, or unsafe to load unasked.
        DependencyError: a package that its kind needs is missing.
        ServerError: a remote policy cannot be reached.
        UnknownNameError: no such kind, option or scripted policy.
    """
    # OpenMP's threads sleep where they wait; spinning, they take the cores from the simulators: 64 episodes with a tiny
    # network of torch ran three times as long. Libraries read it when they are first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    loader, _ = recognise(checkpoint, kind)
    chosen = options_of(loader, checkpoint, options or {})
    request = LoadRequest(located(checkpoint), benchmark, chosen, trust_checkpoint)
    try:
        return loader.load(request)
    except DependencyError as error:
        family = families().get(loader.family(request.checkpoint) or "")
        if family is None or not family.is_built_here or family.interpreter() is not None:
            raise
        raise DependencyError(
            f"{error}; or build the environment of {family.title}, once: simrun setup {family.name}"
        ) from None


@cache
def _offered(name: str) -> Loader[Any]:
    target = doors.target_of(doors.LOADERS, name, "policy kind")
    return _loader(doors.load(target, "policy kind"), target)


@cache
def _named(module: str, attribute: str) -> Loader[Any]:
    return _loader(import_attribute(module, attribute), f"{module}:{attribute}")


def _loader(found: Any, name: str) -> Loader[Any]:
    if isinstance(found, Loader):
        return found
    if isinstance(found, type) and issubclass(found, Loader):
        return found()
    if callable(found) and (not isinstance(found, type) or issubclass(found, Policy)):
        return FunctionLoader(found, name)
    raise UsageError(f"{name} is neither a simrun.policies.Loader nor a Policy nor a function")
