"""Which Python interpreter runs a benchmark: this one, one named by the user, or one made by ``simrun setup``.

Benchmarks cannot share an interpreter (SAPIEN 2.2.2 needs numpy < 2; SAPIEN 2 and 3 exclude each other), so each
may have a virtual environment of its own. The order is: ``$SIMRUN_PYTHON_<BENCHMARK>``, the present interpreter if
it holds the benchmark's packages in the right versions, the environment made by ``simrun setup``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path

from simrun.envs.description import BenchmarkDescription, Requirements
from simrun.envs.machine.folders import data_home
from simrun.envs.machine.processes import ask
from simrun.errors import DependencyError, UsageError

OLDEST_PYTHON = (3, 10)
"""The oldest Python that simrun's modules run in."""

_COMPUTING = ("numpy", "torch", "jax", "transformers", "tokenizers", "timm", "diffusers", "lerobot", "onnxruntime")
"""Packages whose version may change what a policy answers."""

_DESCRIBE = """
import json, sys
from importlib import metadata
found = {one.metadata["Name"].lower(): one.version for one in metadata.distributions() if one.metadata["Name"]}
print(json.dumps({"version": list(sys.version_info[:3]), "packages": found}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter of the user's, as it describes itself.

    Attributes:
        path: its absolute path; a link is left as it is, because a virtual environment's is one.
        version: of Python.
        packages: distribution in lower case -> version of what is installed.
    """

    path: str
    version: tuple[int, ...]
    packages: Mapping[str, str]

    @property
    def versions(self) -> dict[str, str]:
        """What decides the actions of a policy that lives there: Python and the packages that compute -> version."""
        decide = {name: self.packages[name] for name in _COMPUTING if name in self.packages}
        return {"Python": ".".join(map(str, self.version)), **decide}

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(f'{name} {version}' for name, version in self.versions.items())})"


@cache
def describe_interpreter(python: str) -> Interpreter:
    """Ask an interpreter what it is, and check that a policy can live in it.

    Args:
        python: its path, the folder of its environment, or a command's name.

    Raises:
        UsageError: there is none of that name.
        DependencyError: it does not run, is too old, or lacks numpy.
    """
    given = Path(python).expanduser()
    path = given / "bin" / "python" if given.is_dir() else given
    found = str(path.absolute()) if path.is_file() else shutil.which(python)
    if found is None:
        raise UsageError(f"python={python}: there is no such interpreter; name a file or an environment's folder")
    answer = ask([found, "-c", _DESCRIBE], seconds=120)
    try:
        document = json.loads(answer.output.splitlines()[-1]) if answer.ok else {}
        described = Interpreter(found, tuple(document["version"]), document["packages"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise DependencyError(
            f"{found} is no Python interpreter that runs here ({answer.problem or 'it says nothing'})"
        ) from None
    if described.version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise DependencyError(f"a policy's interpreter must be Python {oldest} or newer; this is {described}")
    if "numpy" not in described.packages:
        raise DependencyError(f"a policy's interpreter needs numpy, which {described} lacks; install it there")
    return described


def python_variable(benchmark: str) -> str:
    """Environment variable that names a benchmark's interpreter, for instance ``SIMRUN_PYTHON_SORTING``."""
    return f"SIMRUN_PYTHON_{benchmark.upper()}"


def environment_folder(name: str) -> Path:
    """The virtual environment of that name that ``simrun setup`` makes; benchmarks share that of their pip extra."""
    return data_home() / "environments" / name


def missing_requirements(requirements: Requirements) -> list[str]:
    """What the present interpreter lacks, each as a phrase; empty when it can run the benchmark."""
    missing = [f"module {name} is not installed" for name in requirements.modules if util.find_spec(name) is None]
    for distribution, specifier in requirements.constraints.items():
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            if distribution not in requirements.modules:
                missing.append(f"{distribution} is not installed")
            continue
        if not version_satisfies(version, specifier):
            missing.append(f"{distribution} {version} is installed, {distribution}{specifier} is needed")
    return missing


def check_requirements(benchmark: BenchmarkDescription) -> None:
    """Check that the present interpreter can run a benchmark; every `make_env` calls it first.

    Raises:
        DependencyError: a package is missing or of a wrong version, with the line that installs it.
    """
    missing = missing_requirements(benchmark.requirements)
    if missing:
        raise DependencyError(
            f"{benchmark.name} cannot run in {sys.executable}: {'; '.join(missing)}; run: simrun setup "
            f"{benchmark.name} (or: {install_line(benchmark)})"
        )


def install_line(benchmark: BenchmarkDescription) -> str:
    """What installs a benchmark's packages into the present interpreter."""
    requirements = benchmark.requirements
    if requirements.extra:
        return f"pip install 'simrun[{requirements.extra}]'"
    return "pip install " + " ".join(f"'{name}{wanted}'" for name, wanted in requirements.constraints.items())


def find_interpreter(benchmark: BenchmarkDescription) -> str:
    """Path of the Python interpreter that runs a benchmark.

    Raises:
        DependencyError: none can, with the line that makes one.
    """
    explicit = os.environ.get(python_variable(benchmark.name))
    if explicit:
        path = Path(explicit).expanduser()
        if not path.exists():
            raise DependencyError(f"{python_variable(benchmark.name)} names {explicit}, which does not exist")
        return str(path)
    if not missing_requirements(benchmark.requirements):
        return sys.executable
    python = environment_folder(benchmark.requirements.extra) / "bin" / "python"
    if python.exists():
        return str(python)
    check_requirements(benchmark)
    return sys.executable


def version_satisfies(version: str, specifier: str) -> bool:
    """Whether a version lies in a specifier, ``version_satisfies("3.11", ">=3.10,<3.12")``."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
