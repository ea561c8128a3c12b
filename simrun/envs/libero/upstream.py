"""Uses hf-libero 0.1.4 and robosuite 1.4.0 as libraries that build a task, without the side effects of their import.

As they come, importing them asks for a folder on standard input, makes ``~/.libero``, may download assets, logs to
``/tmp/robosuite.log`` and picks an OpenGL backend for the process. Only their task definitions are used here: the
scene that a BDDL file describes, and the predicates of its goal.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from simrun.envs.libero.initial_states import read_initial_states
from simrun.envs.libero.recipes import Arena, Recipe, SceneModel
from simrun.envs.machine.machine_setup import environment_variables
from simrun.errors import AssetError, DependencyError

ROBOT = "Panda"
CONTROLLER = "OSC_POSE"


def package_folder() -> Path:
    """The folder of hf-libero that holds its ``bddl_files`` and ``init_files``; imports nothing.

    Raises:
        DependencyError: hf-libero is not installed.
    """
    spec = util.find_spec("libero")
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location) / "libero" / "bddl_files").is_dir():
            return Path(location) / "libero"
    raise DependencyError(f"hf-libero 0.1.4 is not installed in {sys.executable}; run: simrun setup libero_10")


def task_file(suite: str, task: str) -> Path:
    """The BDDL file of a task."""
    return package_folder() / "bddl_files" / suite / f"{task}.bddl"


def initial_states_file(suite: str, task: str) -> Path:
    """The file with a task's initial states."""
    return package_folder() / "init_files" / suite / f"{task}.pruned_init"


def suite_recipe(suite: str, task: str) -> Recipe:
    """What the scene of a task of one of LIBERO's own suites is made of, from hf-libero's files.

    Raises:
        AssetError: the task's BDDL file cannot be read.
        DependencyError: hf-libero is not installed.
    """
    file = task_file(suite, task)
    try:
        bddl = file.read_text(encoding="utf-8")
    except OSError as error:
        raise AssetError(f"{file} cannot be read ({error.strerror}); install hf-libero 0.1.4 again") from None
    return Recipe(
        task, SceneModel(bddl), lambda: read_initial_states(initial_states_file(suite, task)), fixture_table=task
    )


def import_upstream(assets: Path) -> None:
    """Import MuJoCo, robosuite and hf-libero; must be called before any of them is imported otherwise.

    Args:
        assets: folder with upstream's ``libero/libero/assets``, which hf-libero is told to use.

    Raises:
        DependencyError: a package is missing.
    """
    if "libero.libero" not in sys.modules:
        _import_libero(assets)
    # What get_assets_path() returns first of all; hf-libero does not ask for the key `assets` of its configuration.
    sys.modules["libero.libero"]._assets_path_cache = str(assets)  # type: ignore[attr-defined]


def build_problem(model: SceneModel, name: str, assets: Path) -> Any:
    """Compile a task with upstream's own code: arena, robot, objects, goal.

    Args:
        model: what is compiled.
        name: name of the task, for messages.
        assets: folder with upstream's ``libero/libero/assets``.

    Returns:
        hf-libero's problem object (a robosuite environment) without renderer and cameras; its ``sim`` holds the
        compiled model and the data.

    Raises:
        AssetError: a file that the scene names is missing or unreadable.
        DependencyError: a package is missing.
    """
    # Imports robosuite, which `import_upstream` has prepared.
    from simrun.envs.libero.compiled_models import models_from_files

    wrapper = importlib.import_module("libero.libero.envs.env_wrapper")
    with preserved_random_state(), models_from_files(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.bddl"
        # Upstream reads it in the locale's encoding; what is not ASCII stands in the sentence alone, which is not used.
        file.write_text(model.bddl, encoding="ascii", errors="replace")
        try:
            control = wrapper.ControlEnv(
                bddl_file_name=str(file),
                robots=[ROBOT],
                controller=CONTROLLER,
                use_camera_obs=False,
                has_offscreen_renderer=False,
                **_arena_options(model.arena),
            )
        except (OSError, ValueError) as error:
            raise AssetError(
                f"task {name} cannot be built from the data files in {assets}: {str(error).strip()}; simrun setup "
                "completes them"
            ) from error
    return control.env


def _arena_options(arena: Arena) -> dict[str, Any]:
    """Options of upstream's problem classes; a picture is made known to upstream as a style of its own name."""
    styles = importlib.import_module("libero.libero.envs.arenas.style").STYLE_MAPPING
    options: dict[str, Any] = {"scene_xml": arena.scene} if arena.scene else {}
    pictures = {"floor": arena.floor, "wall": arena.wall}
    if any(pictures.values()):
        options["scene_properties"] = {f"{kind}_style": picture for kind, picture in pictures.items()}
        for kind, picture in pictures.items():
            styles[kind][picture] = picture
    return options


def free_problem(problem: Any) -> None:
    """Release a problem's model and data; its objects refer to each other, so the collector is run."""
    problem.close()
    problem.__dict__.clear()
    gc.collect()


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Give numpy's global generator, which upstream draws from, its state back at the end."""
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)


def _import_libero(assets: Path) -> None:
    root = package_folder()
    answers = {
        "benchmark_root": str(root),
        "bddl_files": str(root / "bddl_files"),
        "init_states": str(root / "init_files"),
        "datasets": str(root.parent / "datasets"),
        "assets": str(assets),
    }
    _preset_robosuite()
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML; with this file in place the import has nothing to ask.
        (Path(folder) / "config.yaml").write_text(json.dumps(answers), encoding="utf-8")
        # MuJoCo would import an OpenGL library, and fail if it is broken, even where nothing is drawn.
        without = {"LIBERO_CONFIG_PATH": folder, "MUJOCO_GL": "disabled", "MUJOCO_EGL_DEVICE_ID": None}
        with environment_variables(without):
            try:
                importlib.import_module("libero.libero.envs")
            except ImportError as error:
                raise DependencyError(
                    f"hf-libero cannot be imported in {sys.executable}: {error}; run: simrun setup libero_10"
                ) from error


def _preset_robosuite() -> None:
    """Load ``robosuite.macros`` before robosuite itself: no log file, no warnings, no choice of OpenGL backend."""
    if "robosuite" in sys.modules:
        return
    spec = util.find_spec("robosuite")
    if spec is None or spec.origin is None:
        raise DependencyError(f"robosuite 1.4.0 is not installed in {sys.executable}; run: simrun setup libero_10")
    macros = _load_file("robosuite.macros", Path(spec.origin).with_name("macros.py"))
    macros.MUJOCO_GPU_RENDERING = False  # type: ignore[attr-defined]
    macros.CONSOLE_LOGGING_LEVEL = None  # type: ignore[attr-defined]
    macros.FILE_LOGGING_LEVEL = None  # type: ignore[attr-defined]
    logging.getLogger("robosuite_logs").addHandler(logging.NullHandler())


def _load_file(name: str, path: Path) -> ModuleType:
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
