"""The user's RoboTwin checkout and its asset files: where they are, which they are, how the process visits them.

Upstream's code reads its assets relative to the working directory and is imported as a top-level package named
``envs``. Both are confined to `Checkout.visit`: a worker enters it while upstream code needs it and leaves it
with the working directory, ``sys.path``, NumPy's global generator and standard output as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from simrun.envs.machine.data_files import STANDINS_FILE, assets_root, data_home
from simrun.envs.machine.folders import real_path
from simrun.errors import AssetError

ROOT_VARIABLE = "ROBOTWIN_ROOT"
"""Environment variable that names the checkout of RoboTwin-Platform/RoboTwin."""

ASSETS_VARIABLE = "ROBOTWIN_ASSETS"
"""Environment variable that names the asset folder when it is not the checkout's own ``assets``.

cuRobo reads its configuration from the checkout's own folder only.
"""

REPOSITORY = "https://github.com/RoboTwin-Platform/RoboTwin"

EMBODIMENT = "embodiments/aloha-agilex"
"""The robot of the official evaluation, relative to the asset folder."""

_PROBE = "envs/_base_task.py"


@dataclass(frozen=True)
class Checkout:
    """A checkout of RoboTwin's ``main`` branch and the assets that belong to it.

    Attributes:
        root: the checkout.
        assets: the folder with ``embodiments``, ``objects`` and ``background_texture``.
    """

    root: Path
    assets: Path

    @classmethod
    def find(cls) -> Checkout:
        """The checkout that ``ROBOTWIN_ROOT`` names, else the one that ``simrun setup --from`` was given.

        Its assets are the first of these folders that holds the robot: ``$ROBOTWIN_ASSETS``, ``assets`` in the
        checkout, ``robotwin`` beside the checkout, ``robotwin`` below the assets root.

        Raises:
            AssetError: the variable is unset or names no checkout, or no folder holds the robot.
        """
        value = os.environ.get(ROOT_VARIABLE)
        if not value and not remembered_checkout().is_symlink():
            raise AssetError(
                f"{ROOT_VARIABLE} is not set: RoboTwin runs from your own checkout; run: git clone {REPOSITORY}, "
                f"download its assets with its scripts/_download_assets.sh, and set {ROOT_VARIABLE} to the checkout"
            )
        root = real_path(Path(value).expanduser() if value else remembered_checkout())
        _check_root(root, ROOT_VARIABLE if value else str(remembered_checkout()))
        return cls(root, _find_assets(root))

    @staticmethod
    def remember(root: Path) -> None:
        """Use a checkout from now on wherever ``ROBOTWIN_ROOT`` is not set.

        Raises:
            AssetError: it is no checkout, or simrun's data folder cannot be written to.
        """
        _check_root(real_path(root), "--from")
        link = remembered_checkout()
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(real_path(root))
        except OSError as error:
            raise AssetError(f"{link} cannot be written: {error.strerror}") from None

    @property
    def description(self) -> Path:
        """Folder with instruction templates and object descriptions."""
        return self.root / "description"

    @property
    def standins(self) -> str:
        """Text that lists asset files which are not upstream's own; empty when there is none."""
        file = self.assets / STANDINS_FILE
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def revision(self) -> str:
        """Git revision of the checkout as its own files name it, ``unknown`` without Git metadata."""
        git = self.root / ".git"
        try:
            head = (git / "HEAD").read_text(encoding="utf-8").strip()
            if not head.startswith("ref: "):
                return head
            reference = head[5:]
            if (git / reference).exists():
                return (git / reference).read_text(encoding="utf-8").strip()
            packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
            return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "unknown")
        except OSError:
            return "unknown"

    @cached_property
    def code_hash(self) -> str:
        """SHA-256 over upstream's environment code and task configurations: what was run, edited or not."""
        files = [*self.root.glob("envs/**/*.py"), *self.root.glob("env_cfg/task_config/*.yml")]
        return _hash_files(self.root, files)

    @cached_property
    def embodiment_hash(self) -> str:
        """SHA-256 over the robot's files."""
        folder = self.assets / EMBODIMENT
        return _hash_files(folder, [file for file in folder.rglob("*") if file.is_file()])

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        """Let upstream code find its files and import itself; leave the process as it was.

        Standard output is swallowed, because upstream reports progress by printing; so are the deprecation
        warnings that SAPIEN gives for upstream's calls.
        """
        directory = Path.cwd()
        path = list(sys.path)
        with contextlib.ExitStack() as stack:
            stack.callback(os.chdir, directory)
            stack.callback(sys.path.__setitem__, slice(None), path)
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            os.chdir(self._working_directory(stack))
            sys.path.insert(0, str(self.root))
            yield

    def _working_directory(self, stack: contextlib.ExitStack) -> Path:
        if self.assets == self.root / "assets":
            return self.root
        # Upstream reads ./assets; a folder of links gives it assets from elsewhere and leaves the checkout alone.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simrun-robotwin-")))
        (folder / "assets").symlink_to(self.assets)
        return folder


def remembered_checkout() -> Path:
    """The link to the checkout that is used when ``ROBOTWIN_ROOT`` is not set; it need not exist."""
    return data_home() / "robotwin" / "checkout"


def _check_root(root: Path, named_by: str) -> None:
    if not (root / _PROBE).is_file():
        raise AssetError(
            f"{named_by} is {root}, which is no checkout of RoboTwin: there is no {root / _PROBE}; "
            f"run: git clone {REPOSITORY} {root}"
        )


def _find_assets(root: Path) -> Path:
    explicit = os.environ.get(ASSETS_VARIABLE)
    places = [real_path(Path(explicit).expanduser())] if explicit else []
    places += [root / "assets", root.parent / "robotwin", assets_root() / "robotwin"]
    for place in places:
        if (place / EMBODIMENT).is_dir():
            return place
    raise AssetError(
        f"RoboTwin's assets are missing: none of {', '.join(map(str, places))} holds {EMBODIMENT}; run the checkout's "
        f"scripts/_download_assets.sh, or set {ASSETS_VARIABLE} to the folder that holds embodiments/ and objects/"
    )


def _hash_files(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
