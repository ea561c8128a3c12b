"""The rules of the house, as ARCHITECTURE.md states them: what is known in one place stays there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

from simrun.envs import benchmark_names, get_benchmark

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "simrun"

FLOORS = (
    ("cli", "callbacks"),
    ("api", "testing"),
    ("runners",),
    ("policies", "results"),
    ("envs",),
    ("doors",),
    ("errors",),
)
"""Imports go down only; neighbours on one floor do not know each other."""

EXEMPT_DATA = ("results/published/", "results/imports/", "policies/families/", "policies/boundary/")
"""What papers, other tools and policy families say of benchmarks is data about them, not knowledge of ours."""


@cache
def house() -> grimp.ImportGraph:
    """Every import of simrun, those for type hints too; the package itself is left out, which only passes names on."""
    graph = grimp.build_graph("simrun")
    graph.remove_module("simrun")
    return graph


@cache
def sources() -> dict[str, str]:
    return {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def code_of(file: str, text: str) -> str:
    """A file without its module docstring, where that is a page of the command line's help."""
    help_text = ast.get_docstring(ast.parse(text), clean=False) if file.startswith("cli/") else None
    return text if help_text is None else text.replace(help_text, "\n" * help_text.count("\n"), 1)


def benchmark_folders() -> dict[str, set[str]]:
    """Folder below ``simrun/envs`` -> the names and aliases of the benchmarks in it."""
    folders: dict[str, set[str]] = {}
    for name in benchmark_names():
        benchmark = get_benchmark(name)
        if not benchmark.target.startswith("simrun.envs."):
            continue
        folder = benchmark.target.split(".")[2]
        folders.setdefault(folder, {folder}).update((benchmark.name, *benchmark.aliases))
    return folders


@pytest.mark.parametrize("folder", sorted(benchmark_folders()))
def test_what_is_known_of_a_benchmark_stands_in_its_folder(folder: str) -> None:
    names = sorted(benchmark_folders()[folder] - {"bridge"}, key=len, reverse=True)
    named = re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, names))})", re.IGNORECASE)
    own = tuple(f"envs/{other}/" for other in benchmark_folders() if other.startswith(folder.split("_")[0]))
    found = {
        f"{file}:{number}: {line.strip()}"
        for file, text in sources().items()
        if not file.startswith((*own, *EXEMPT_DATA))
        for number, line in enumerate(code_of(file, text).splitlines(), start=1)
        if named.search(line)
    }
    assert not found, "\n".join(sorted(found))


def test_no_circle_of_imports() -> None:
    graph = house()
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if imported not in order:
                visit(imported)
                low[module] = min(low[module], low[imported])
            elif imported in stack:
                low[module] = min(low[module], order[imported])
        if low[module] == order[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                circles.append(sorted(members))

    for module in sorted(graph.modules):
        if module not in order:
            visit(module)
    assert not circles, "\n".join(" <-> ".join(circle) for circle in circles)


def test_no_arrow_goes_up() -> None:
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    graph = house()
    wrong = [
        f"{module} -> {imported}"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if (here := room_of(module)) in floor
        and (there := room_of(imported)) in floor
        and here != there
        and floor[there] <= floor[here]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_file_name_stands_twice_in_a_room() -> None:
    """A benchmark's folder is a room of its own: each has a ``benchmark.py`` and an ``environment.py``."""
    folders = tuple(f"envs/{folder}/" for folder in benchmark_folders())
    names = Counter(
        (file.split("/")[0], file.rsplit("/", 1)[1])
        for file in sources()
        if "/" in file and not file.startswith(folders) and not file.endswith("__init__.py")
    )
    assert not [name for name, count in names.items() if count > 1]


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sizes = {file: len(text.splitlines()) for file, text in sources().items()}
    assert not sorted(file for file, size in sizes.items() if size > 500)


def test_benchmarks_import_what_is_there() -> None:
    """Scripts that no test runs go stale in silence; packages that they need beside simrun may be missing here."""
    missing = []
    for file in sorted((ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("simrun"):
                continue
            for name in node.names:
                try:
                    exec(f"from {node.module} import {name.name}", {})
                except ImportError as error:
                    if (error.name or "").startswith("simrun"):
                        missing.append(f"{file.relative_to(ROOT)}: {error}")
    assert not missing, "\n".join(missing)
