"""``module:function``: a user's own Python code that makes policies, of nothing but itself or of a checkpoint."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simrun.envs.machine.folders import real_path
from simrun.errors import CheckpointError, SimrunError, UsageError
from simrun.policies.checkpoints import factory_parts, module_source
from simrun.policies.conventions import Convention
from simrun.policies.fitting import fit
from simrun.policies.loaders.loader import Evidence, Loader, LoadRequest
from simrun.policies.options import ConventionOptions
from simrun.policies.policy import Policy, PolicySpec

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class FunctionOptions(ConventionOptions):
    """Options of a function: whatever the user gives, handed on as a mapping, but for the name of a convention.

    Attributes:
        values: name -> value.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], owner: str) -> Self:
        """Take every option as it is."""
        ours = {entry.name for entry in fields(ConventionOptions)}
        known = ConventionOptions.of({name: value for name, value in values.items() if name in ours}, owner)
        handed_on = {name: value for name, value in values.items() if name not in ("convention", "preset")}
        return cls(**vars(known), values=handed_on)

    @classmethod
    def summary(cls) -> str:
        """What the options are, for ``simrun inspect``."""
        return "convention, and whatever the function takes"


class _CallingLoader(Loader[FunctionOptions]):
    """A loader that calls a user's function; what it makes answers as the benchmark takes it, unless told otherwise."""

    options = FunctionOptions

    def own_convention(self, checkpoint: str) -> Convention:
        """The benchmark's own: whoever writes the function speaks it where no convention is named or lies beside."""
        return Convention(self.kind)

    def _made(self, function: Any, arguments: list[Any], request: LoadRequest[FunctionOptions], name: str) -> Policy:
        policy = _call(function, arguments, request.options, name)
        convention = self.convention(request.checkpoint, request.benchmark, request.options)
        if convention is None or convention == self.own_convention(request.checkpoint):
            return policy
        return fit(policy, request, convention)


class FactoryLoader(_CallingLoader):
    """``--ckpt module:function``: calls a function that returns a `Policy`; needs the user's trust.

    The module is a dotted name (the current folder is searched first) or a path to a ``.py`` file. The function
    is called with as many of (benchmark, options) as it takes.
    """

    kind = "factory"
    looks_for = "package.module:function or path/to/file.py:function"
    evidence = Evidence.NAME

    def recognise(self, checkpoint: str) -> str | None:
        """It is ``module:function``."""
        parts = factory_parts(checkpoint)
        return None if parts is None else f"it names {parts[1]} in the Python module {parts[0]}"

    def describe(self, checkpoint: str) -> dict[str, str]:
        """Module, function and the file that holds them."""
        module, attribute = _parts(checkpoint)
        return {"module": module, "function": attribute, "source": str(module_source(module) or "not found")}

    def load(self, request: LoadRequest[FunctionOptions]) -> Policy:
        """Call the function.

        Raises:
            CheckpointError: not trusted, not found, failing, or not returning a policy.
            UsageError: options were given and the function takes none.
        """
        module, attribute = _parts(request.checkpoint)
        source = module_source(module)
        if source is None:
            raise CheckpointError(f"there is no Python module {module} (named by {request.checkpoint})")
        request.require_trust(f"the Python code in {source} and what it imports")
        arguments = [request.benchmark, request.options.values]
        return self._made(import_attribute(module, attribute), arguments, request, request.checkpoint)


class FunctionLoader(_CallingLoader):
    """``--policy module:function``: makes policies of checkpoints in a format of the user's own.

    The function, or the class of policies, is called with as many of (path, benchmark, options) as it takes. Whoever
    names it with ``--policy`` asks for its code to run; what it executes of the checkpoint is its own matter. A
    ``simrun.toml`` beside the checkpoint, or ``-p convention=``, says what it sees and how its answers are meant.

    Args:
        function: returns a `Policy`; a class of them does.
        name: ``module:function``.
    """

    looks_for = "a path that was given together with --policy module:function"

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.kind = name  # type: ignore[misc]
        self._function = function

    def recognise(self, checkpoint: str) -> str | None:
        """Never by itself: it is asked only where ``--policy`` names it."""
        return None

    def load(self, request: LoadRequest[FunctionOptions]) -> Policy:
        """Call the function with the path.

        Raises:
            CheckpointError: it fails, or does not return a policy.
            UsageError: options were given and the function takes none.
        """
        arguments = [request.checkpoint, request.benchmark, request.options.values]
        return self._made(self._function, arguments, request, self.kind)


def import_attribute(module: str, attribute: str) -> Any:
    """Import ``module:attribute``; the module is a dotted name or a path to a ``.py`` file.

    Raises:
        CheckpointError: there is no such module or attribute, or importing it fails.
    """
    source = module_source(module)
    if source is None:
        raise CheckpointError(f"there is no Python module {module} (named by {module}:{attribute})")
    try:
        loaded = _from_file(source) if module.endswith(".py") else _from_name(module)
    except Exception as error:  # whatever the user's module raises is reported as a failure to load it
        raise CheckpointError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(loaded, attribute, None)
    if not callable(found):
        raise CheckpointError(f"{source} defines no function {attribute}")
    return found


def _from_name(module: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return import_module(module)


def _from_file(file: Path) -> Any:
    path = real_path(file.expanduser())
    name = f"simrun_checkpoint_{path.stem}"
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by name; what lies beside the file is importable, as for a script.
    sys.modules[name] = loaded
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(loaded)
    return loaded


def _parts(checkpoint: str) -> tuple[str, str]:
    parts = factory_parts(checkpoint)
    if parts is None:
        raise CheckpointError(f"{checkpoint} does not name a function: write package.module:function")
    return parts


def _call(function: Any, arguments: list[Any], options: FunctionOptions, name: str) -> Policy:
    """Call a function with as many arguments as it takes, and check what it returns."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    takes_all = inspect.Parameter.VAR_POSITIONAL in kinds
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = len(arguments) if takes_all else sum(kind in positional for kind in kinds)
    unheard = [option for option in options.values if option not in vars(ConventionOptions())]
    if unheard and count < len(arguments):
        raise UsageError(f"{name} takes no options; it was given {', '.join(unheard)}")
    try:
        policy = function(*arguments[:count])
    except SimrunError:
        raise
    except Exception as error:  # whatever the user's code raises is reported as its failure
        raise CheckpointError(f"{name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(policy, Policy):
        raise CheckpointError(f"{name} returned a {type(policy).__name__}, not a simrun.policies.Policy")
    if not isinstance(getattr(policy, "spec", None), PolicySpec):
        raise CheckpointError(f"the policy of {name} has no attribute spec of type PolicySpec")
    return policy
