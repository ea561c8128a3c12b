"""Vulkan for the SAPIEN simulators: which driver renders here, and a process set up to use it.

On a machine with NVIDIA's driver nothing is needed. Elsewhere ``simrun setup`` unpacks Mesa's software driver into
`software_folder` (see `simrun.envs.machine.vulkan_setup`); the system stays as it is. A process must call
`prepare_process` before it imports SAPIEN, because the dynamic linker and SAPIEN both decide at import.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simrun.envs.machine.data_files import data_home
from simrun.envs.machine.regular_files import read_object
from simrun.errors import DependencyError, RendererError

LAYER_NAME = "VK_LAYER_SIMRUN_external_semaphore"
"""The Vulkan layer of ``vulkan_layer.c``."""

READY_FILE = "ready.json"
"""Written last by the setup: what lies in `software_folder`."""

_LOADER = "libvulkan.so.1"
DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""Environment variables that tell Vulkan's loader which drivers there are."""

_DRIVER_FOLDERS = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
_NVIDIA_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")

_NOTED = {"manifest": str, "version": str, "libraries": list, "layer_source": str}


@dataclass(frozen=True)
class VulkanDriver:
    """A Vulkan driver that this process uses or could use.

    Attributes:
        kind: ``nvidia``, ``software`` (Mesa's lavapipe) or ``chosen`` (named by the user's environment).
        manifest: path of the driver's manifest, as Vulkan's loader wants it.
        version: of the driver, as far as it is known without starting it.
    """

    kind: str
    manifest: str
    version: str


def software_folder() -> Path:
    """Where the software driver lies once it is set up."""
    return (data_home() / "vulkan").resolve()


def read_setup() -> dict[str, Any] | None:
    """What setup noted of the software driver; None where it is not set up, or the note is damaged."""
    try:
        document = read_object(software_folder() / READY_FILE)
    except (OSError, ValueError):
        return None
    return document if all(isinstance(document.get(name), kind) for name, kind in _NOTED.items()) else None


def find_driver() -> VulkanDriver | None:
    """The driver to render with: the one named by the environment, else NVIDIA's, else the software driver."""
    software = _software_driver()
    for variable in DRIVER_VARIABLES:
        if named := os.environ.get(variable):
            return software if software and named == software.manifest else VulkanDriver("chosen", named, "")
    return nvidia_driver() or software


def driver_files() -> list[str]:
    """The files that name Vulkan's drivers: those that the environment names, else the system's and our own."""
    for variable in DRIVER_VARIABLES:
        if named := os.environ.get(variable):
            return named.split(os.pathsep)
    files = [str(path) for folder in _DRIVER_FOLDERS for path in sorted(Path(folder).glob("*.json"))]
    software = _software_driver()
    return [*files, software.manifest] if software else files


def nvidia_driver() -> VulkanDriver | None:
    """NVIDIA's driver, if both its kernel module and its manifest are there."""
    if not _NVIDIA_KERNEL_DRIVER.exists():
        return None
    manifests = (path for folder in _DRIVER_FOLDERS for path in sorted(Path(folder).glob("nvidia_icd*.json")))
    manifest = next(manifests, None)
    if manifest is None:
        return None
    return VulkanDriver("nvidia", str(manifest), _NVIDIA_KERNEL_DRIVER.read_text().splitlines()[0])


def prepare_process() -> None:
    """Load Vulkan's loader and choose the driver for this process; may be called again, and without any driver.

    On the software driver the layer of ``vulkan_layer.c`` is put in between.

    Raises:
        DependencyError: Vulkan's loader is missing, without which SAPIEN cannot even be imported.
    """
    load_loader()
    driver = find_driver()
    if driver is None:
        return
    os.environ.update(_variables(driver))
    if driver.kind == "software":
        _load_in_any_order([Path(path) for path in (read_setup() or {}).get("libraries", ())])


def child_environment() -> dict[str, str]:
    """Environment variables with which a child process renders as this one does after `prepare_process`."""
    environment = dict(os.environ)
    driver = find_driver()
    libraries = [str(path) for path in sorted(software_folder().glob("root/usr/lib/*/"))]
    if libraries:
        known = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, *([known] if known else [])])
    if driver is not None:
        environment.update(_variables(driver))
    return environment


def require_driver() -> VulkanDriver:
    """The driver to render with.

    Raises:
        RendererError: there is none; the message names each thing that is missing.
    """
    driver = find_driver()
    if driver is None:
        raise RendererError(f"nothing can render here: {'; '.join(missing())}; run simrun setup for this benchmark")
    return driver


def missing() -> list[str]:
    """What this machine lacks to render with Vulkan, each as a phrase; empty when it can."""
    if find_driver() is not None:
        return []
    if not _NVIDIA_KERNEL_DRIVER.exists():
        hardware = f"no NVIDIA driver is loaded (there is no {_NVIDIA_KERNEL_DRIVER})"
    else:
        hardware = (
            f"NVIDIA's driver is loaded, but its Vulkan manifest nvidia_icd.json is in none of "
            f"{', '.join(_DRIVER_FOLDERS)} (in a container, set NVIDIA_DRIVER_CAPABILITIES=all)"
        )
    return [hardware, f"Mesa's software driver is not set up (there is no {software_folder() / READY_FILE})"]


def load_loader() -> None:
    """Load ``libvulkan.so.1``, which SAPIEN is linked against, from the system or from `software_folder`.

    Raises:
        DependencyError: it is in neither.
    """
    try:
        ctypes.CDLL(_LOADER, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        private = sorted(software_folder().glob(f"root/usr/lib/*/{_LOADER}"))
        if not private:
            raise DependencyError(
                f"SAPIEN needs {_LOADER}, which this machine does not have; install the package libvulkan1, or run "
                "simrun setup for this benchmark"
            ) from None
        ctypes.CDLL(str(private[0]), mode=ctypes.RTLD_GLOBAL)


def _variables(driver: VulkanDriver) -> dict[str, str]:
    variables = {} if driver.kind == "chosen" else {"VK_ICD_FILENAMES": driver.manifest}
    if driver.kind == "software":
        variables |= {"VK_LAYER_PATH": str(software_folder()), "VK_INSTANCE_LAYERS": LAYER_NAME}
    return variables


def _software_driver() -> VulkanDriver | None:
    ready = read_setup()
    return None if ready is None else VulkanDriver("software", ready["manifest"], ready["version"])


def _load_in_any_order(libraries: list[Path]) -> None:
    """Load libraries that may depend on each other, so that the driver finds them by name."""
    waiting = libraries
    while waiting:
        failed: list[Path] = []
        problem = ""
        for library in waiting:
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                failed.append(library)
                problem = str(error)
        if len(failed) == len(waiting):
            raise RendererError(
                f"the software driver cannot be loaded ({problem}); delete {software_folder()} and run "
                "simrun setup for this benchmark"
            )
        waiting = failed
