"""The folders of simrun on a machine: data files, environments, and what third parties compile.

``$SIMRUN_HOME`` holds what simrun keeps between runs, ``$SIMRUN_ASSETS`` the benchmarks' data files. Numba, Mesa,
matplotlib, torch and triton, left alone, each write into a folder of their own below the home, or beside their
package, and several end with an error where they may not. Here all write into simrun's cache folder:
``$SIMRUN_HOME/cache``, else ``$XDG_CACHE_HOME/simrun``, else ``~/.cache/simrun``; and where that cannot be written,
into a folder of this user below the temporary ones, which costs compiling anew after a restart and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

ASSETS_VARIABLE = "SIMRUN_ASSETS"
"""Environment variable that names the assets root: a folder with one folder a benchmark."""

STANDINS_FILE = "STANDINS.txt"
"""A file of this name in a benchmark's asset folder lists files that are not upstream's own."""


def data_home() -> Path:
    """Folder for what simrun keeps between runs: ``$SIMRUN_HOME``, else ``$XDG_DATA_HOME/simrun``."""
    explicit = os.environ.get("SIMRUN_HOME")
    if explicit:
        return Path(explicit).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "simrun"


def real_path(path: Path) -> Path:
    """Where a path leads, links followed; a circle of links stays what it is.

    `Path.resolve` raises a RuntimeError for a circle before Python 3.13, which no reader expects.
    """
    return Path(os.path.realpath(path))


def assets_root() -> Path:
    """The assets root: ``$SIMRUN_ASSETS`` if set, else ``assets`` in `data_home`."""
    explicit = os.environ.get(ASSETS_VARIABLE)
    return real_path(Path(explicit).expanduser()) if explicit else data_home() / "assets"


CACHE_VARIABLES: Mapping[str, str] = {
    "MESA_SHADER_CACHE_DIR": "mesa",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}
"""Environment variable that moves a cache -> its folder below the cache folder."""


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The cache folder; it is there and can be written.

    Raises:
        OSError: not even a temporary folder can be written.
    """
    home = environment.get("SIMRUN_HOME")
    below = environment.get("XDG_CACHE_HOME") or "~/.cache"
    wanted = Path(home).expanduser() / "cache" if home else Path(below).expanduser() / "simrun"
    temporary = Path(tempfile.gettempdir()) / f"simrun-cache-{os.getuid()}"
    for folder in (wanted, temporary):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, RuntimeError):
            continue
        # What lies below the temporary folder under our name may be somebody else's.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="simrun-cache-"))


def cache_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that move the caches; what a user has set is left as it is.

    Args:
        environment: environment variables.
    """
    unset = {variable: name for variable, name in CACHE_VARIABLES.items() if not environment.get(variable)}
    if not unset:
        return {}
    folder = cache_folder(environment)
    return {variable: str(folder / name) for variable, name in unset.items()}


def use_own_caches() -> None:
    """Move the caches of this process and of those that it starts; call before the libraries are imported."""
    os.environ.update(cache_variables())
