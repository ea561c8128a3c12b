"""Where training libraries put their checkpoints, and by what one sees that they have finished writing them.

Facts, by library:

- LeRobot writes ``checkpoints/<step>/pretrained_model``, then ``training_state`` beside it, then moves the link
  ``last`` (``lerobot/utils/train_utils.py``).
- The Hugging Face Trainer writes ``checkpoint-<step>``; ``trainer_state.json`` comes after the weights
  (``Trainer._save_checkpoint``).
- DeepSpeed writes ``global_step<N>`` and, when all ranks have written theirs, its name into the file ``latest``
  (``DeepSpeedEngine.save_checkpoint``).
- Lightning writes ``<name>.ckpt``: a file, or with DeepSpeed a folder that holds its own ``latest``; ``last.ckpt``
  is a copy that is written again and again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simrun import doors
from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import read_document
from simrun.errors import UnknownNameError
from simrun.policies.registry import get_loader
from simrun.results.plots.fits import checkpoint_step

_DEPTH = 5
_PLAIN = (".onnx", ".pt", ".pth", ".pt2")
_ALIASES = ("last", "latest", "best")
_HUGGING_FACE = re.compile(r"checkpoint-\d+")
_DEEPSPEED = re.compile(r"global_step(\d+)")


@dataclass(frozen=True)
class Layout:
    """How one library stores checkpoints.

    Attributes:
        name: its name on the command line.
        matches: whether a path is a checkpoint of this layout.
        marked: whether what the library writes last is there; None where it leaves no such mark on this path.
        unit: the file or folder that is the whole of a checkpoint, with what only training needs.
    """

    name: str
    matches: Callable[[Path], bool]
    marked: Callable[[Path], bool | None]
    unit: Callable[[Path], Path] = lambda path: path


@dataclass(frozen=True)
class Sighting:
    """A checkpoint that was seen; perhaps only half of it.

    Attributes:
        path: what a policy is loaded from.
        layout: how it is stored.
    """

    path: Path
    layout: Layout

    @property
    def step(self) -> int | None:
        """Training step in its name; None when there is none."""
        return checkpoint_step(str(self.path))


def find_checkpoints(
    root: Path,
    *,
    layout: str | None = None,
    pattern: str | None = None,
    skip: Path | None = None,
    recognised: Callable[[str], bool] = lambda path: False,
) -> list[Sighting]:
    """Every checkpoint under a folder, in no particular order; links and half-named files are none.

    Args:
        root: the folder; it may not exist yet.
        layout: only checkpoints of this layout.
        pattern: a glob relative to the folder that names the checkpoints, instead of the known layouts.
        skip: a folder that is not looked into.
        recognised: whether a path is a checkpoint although no library lays it out so, see `recogniser`.

    Raises:
        UnknownNameError: no such layout.
    """
    if pattern is not None:
        paths = (path for path in root.glob(pattern) if not path.is_symlink() and not path.name.startswith("."))
        return [Sighting(path, next((one for one in _LAYOUTS if one.matches(path)), _ANY)) for path in paths]
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError("layout of checkpoints", layout, LAYOUTS)
    wanted = [one for one in _LAYOUTS if layout in (None, one.name)]
    if layout is None:
        wanted.append(Layout("format", lambda path: recognised(str(path)), lambda path: None))
    return list(_search(root, wanted, skip, _DEPTH))


def recogniser(kind: str | None) -> Callable[[str], bool]:
    """Whether a path is a checkpoint to the loaders of other packages, or to the one that ``--policy`` names.

    Raises:
        CheckpointError: the loader cannot be imported.
        UnknownNameError: no such kind.
    """
    foreign = [name for name, target in doors.offers(doors.LOADERS).items() if not target.startswith("simrun.")]
    loaders = [get_loader(name) for name in ([kind] if kind is not None else foreign)]
    return lambda path: any(loader.recognise(path) is not None for loader in loaders)


def _search(folder: Path, layouts: list[Layout], skip: Path | None, depth: int) -> Iterator[Sighting]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        # Training rotates its checkpoints while they are looked at.
        return
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        layout = next((one for one in layouts if one.matches(path)), None)
        if layout is not None:
            yield Sighting(path, layout)
        elif entry.is_dir() and depth > 0 and (skip is None or real_path(path) != real_path(skip)):
            yield from _search(path, layouts, skip, depth - 1)


def _is_lerobot(path: Path) -> bool:
    return path.name == "pretrained_model" and path.parent.name.isdecimal() and path.is_dir()


def _is_plain(path: Path) -> bool:
    return path.suffix in _PLAIN and path.stem not in _ALIASES and path.is_file()


def _is_lightning(path: Path) -> bool:
    return path.suffix == ".ckpt" and not path.stem.startswith("last")


def _lightning_marked(path: Path) -> bool | None:
    return (path / "latest").is_file() if path.is_dir() else None


def _deepspeed_marked(path: Path) -> bool:
    """Whether ``latest`` names this step or a later one: it was moved on since."""
    own = _DEEPSPEED.fullmatch(path.name)
    try:
        named = _DEEPSPEED.fullmatch(read_document(path.parent / "latest").strip())
    except (OSError, ValueError):
        return False
    return own is not None and named is not None and int(named[1]) >= int(own[1])


_LAYOUTS = (
    Layout("lerobot", _is_lerobot, lambda path: (path.parent / "training_state").is_dir(), lambda path: path.parent),
    Layout(
        "huggingface",
        lambda path: _HUGGING_FACE.fullmatch(path.name) is not None and path.is_dir(),
        lambda path: (path / "trainer_state.json").is_file(),
    ),
    Layout(
        "deepspeed",
        lambda path: _DEEPSPEED.fullmatch(path.name) is not None and path.is_dir(),
        _deepspeed_marked,
    ),
    Layout("lightning", _is_lightning, _lightning_marked),
    Layout("plain", _is_plain, lambda path: None),
)

_ANY = Layout("pattern", lambda path: True, lambda path: None)

LAYOUTS = tuple(layout.name for layout in _LAYOUTS)
"""Names of the known layouts, in the order in which they are looked for."""
