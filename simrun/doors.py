"""The doors for other packages: what they offer as entry points, and what ``module:attribute`` names.

simrun's own benchmarks, loaders, dialects, transforms, layouts and sinks come through the same doors: its
``pyproject.toml`` lists them. Nothing is imported before it is asked for.

What no package holds is named by its file, ``path/to/file.py:attribute``; other processes are told its absolute path.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module, metadata, util
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from simrun.errors import DependencyError, UnknownNameError, UsageError

BENCHMARKS = "simrun.benchmarks"
LOADERS = "simrun.loaders"
DIALECTS = "simrun.dialects"
TRANSFORMS = "simrun.transforms"
LAYOUTS = "simrun.layouts"
SINKS = "simrun.sinks"

_TARGET = re.compile(r"([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.+\.py):[A-Za-z_]\w*")
_FILE_MODULE = "simrun_file_"


def is_target(text: str) -> bool:
    """Whether a text reads ``package.module:attribute`` or ``path/to/file.py:attribute``."""
    return _TARGET.fullmatch(text) is not None


def target_of_class(kind: type) -> str:
    """The target by which another process finds a class.

    Raises:
        UsageError: it cannot find it there; the message says what to do.
    """
    module, name = sys.modules[kind.__module__], kind.__qualname__
    home = kind.__module__
    if home == "__main__":
        # What `python -m package.module` runs has a name of its own; a script has its path alone.
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        if spec is None and file is None:
            raise UsageError(
                f"{name} was defined at a prompt or in a notebook, where no other process can import it: "
                f"write it into a file and name it path/to/file.py:{name}"
            )
        home = spec.name if spec is not None else os.path.abspath(str(file))
    elif home.startswith(_FILE_MODULE):
        home = str(module.__file__)
    if getattr(module, name, None) is not kind:
        raise UsageError(f"{home} has no {name} that another process could import: define it at the top of that module")
    return f"{home}:{name}"


_told: dict[str, dict[str, str]] = {}


def tell(offered: Mapping[str, Mapping[str, str]]) -> None:
    """Say what is offered behind each door, where simrun is not installed: what the runner's interpreter offers."""
    _told.update({group: dict(names) for group, names in offered.items()})
    offers.cache_clear()


@cache
def offers(group: str) -> dict[str, str]:
    """Name -> ``module:attribute`` of everything that the installed packages offer behind a door, by name.

    Raises:
        UsageError: two packages offer different things under one name.
    """
    if _told:
        return _told.get(group, {})
    found: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=group):
        known = found.setdefault(entry.name, entry)
        if known.value != entry.value:
            owners = " and ".join(_owner(one) for one in (known, entry))
            raise UsageError(f"{owners} both offer {group.removeprefix('simrun.')} named {entry.name}; uninstall one")
    return {name: entry.value for name, entry in sorted(found.items())}


def target_of(group: str, name: str, kind: str) -> str:
    """The ``module:attribute`` behind a name, or the name itself where it is one already.

    Args:
        group: the door.
        name: name of an entry point, or ``module:attribute``.
        kind: what it is, for messages: ``benchmark``, ``table layout``.

    Raises:
        UnknownNameError: nobody offers that name.
        DependencyError: nothing at all is offered, because simrun itself is not installed.
    """
    if is_target(name):
        home, _, attribute = name.rpartition(":")
        return f"{os.path.abspath(home)}:{attribute}" if home.endswith(".py") else name
    known = offers(group)
    if not known:
        raise DependencyError(
            f"no {kind} is known to this interpreter: simrun is importable here but not installed; install it with pip"
        )
    if name not in known:
        raise UnknownNameError(kind, name, list(known))
    return known[name]


@cache
def load(target: str, kind: str) -> Any:
    """Import ``module:attribute``.

    Args:
        target: what to import.
        kind: what it is, for messages.

    Raises:
        UsageError: no such module or attribute, or importing it fails; the message has the cause.
    """
    module_name, _, attribute = target.rpartition(":")
    try:
        module = _import_file(Path(module_name)) if module_name.endswith(".py") else import_module(module_name)
    except Exception as error:  # whatever a foreign module raises while it is imported
        raise UsageError(f"{kind} {target}: {module_name} cannot be imported: {describe(error)}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{kind} {target}: {module_name} has no {attribute}")
    return getattr(module, attribute)


def _import_file(path: Path) -> ModuleType:
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is None and os.path.abspath(str(getattr(main, "__file__", ""))) == str(path):
        return main
    name = f"{_FILE_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(name, path)
    # What the kernel shows as a file has no size, and reading it may wait for ever.
    if spec is None or spec.loader is None or not path.is_file() or path.stat().st_size == 0:
        raise ImportError(f"there is no file {path}, or it is empty")
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def gymnasium_id(target: str) -> str:
    """The id under which `gymnasium.make` knows a benchmark: ``simrun/<Class>-v1``.

    Args:
        target: ``module:Class`` of the benchmark.
    """
    return f"simrun/{target.partition(':')[2]}-v1"


def tell_gymnasium() -> None:
    """Make every offered benchmark known to `gymnasium.make`: now, or as soon as somebody imports Gymnasium.

    Importing it costs half a second, and a policy's own interpreter does not even have it.
    """
    if sys.modules.get("gymnasium") is not None:
        register_with_gymnasium()
    else:
        sys.meta_path.insert(0, _GymnasiumIsImported())


class _GymnasiumIsImported(MetaPathFinder):
    """Lets the import of Gymnasium happen as it does, and registers the benchmarks after it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register_with_gymnasium()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_with_gymnasium() -> None:
    """Make every offered benchmark known to `gymnasium.make`; none is imported."""
    from gymnasium.envs import registration

    for name, target in offers(BENCHMARKS).items():
        if gymnasium_id(target) not in registration.registry:
            # Gymnasium's passive checker refuses the empty dictionary of images of an environment without cameras.
            registration.register(
                gymnasium_id(target),
                entry_point="simrun.envs.registry:make_unopened_env",
                kwargs={"name": name},
                order_enforce=False,
                disable_env_checker=True,
            )


def describe(error: BaseException) -> str:
    """Kind and first line of an error that another package raised."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _owner(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
