"""What SAPIEN 2 needs of a machine: the libraries that it is linked against."""

from __future__ import annotations

from collections.abc import Iterator

from simrun.envs.machine.diagnosis import Cause, Diagnosis
from simrun.envs.machine.egl import library_loads
from simrun.envs.machine.vulkan import load_loader
from simrun.envs.machine.vulkan_setup import VulkanMachine
from simrun.errors import DependencyError

_SHARED_LIBRARIES = {"libX11.so.6": "libx11-6", "libGL.so.1": "libgl1"}


class SimplerBridgeMachine(VulkanMachine):
    """Draws with Vulkan, in an interpreter whose SAPIEN needs libraries of the system."""

    def diagnose(self) -> Iterator[Diagnosis]:
        """Look for the libraries without which SAPIEN 2 cannot even be imported.

        Yields:
            One diagnosis a question, each failure with the line that fixes it.
        """
        absent = [name for name in _SHARED_LIBRARIES if not library_loads(name)]
        if absent:
            packages = " ".join(_SHARED_LIBRARIES[name] for name in absent)
            line = f"sudo apt-get install -y {packages}"
            yield Diagnosis("shared libraries", f"SAPIEN needs {', '.join(absent)}", line, Cause.RENDERER)
        else:
            yield Diagnosis("shared libraries", f"{', '.join(_SHARED_LIBRARIES)} are there")
        try:
            load_loader()
        except DependencyError as error:
            yield Diagnosis("Vulkan loader", str(error), f"simrun setup {self.benchmark.name}", Cause.RENDERER)
        else:
            yield Diagnosis("Vulkan loader", "libvulkan.so.1 is there")
