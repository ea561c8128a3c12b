"""Deleting checkpoints that cannot be the best; only for users who asked twice."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from simrun.envs.machine.folders import real_path
from simrun.errors import UsageError
from simrun.runners.search.watching.layouts import Sighting


def losers(sightings: Sequence[Sighting], beaten: Sequence[bool | None], *, keep_last: int) -> list[Sighting]:
    """Checkpoints that may be deleted.

    Args:
        sightings: the checkpoints, in the order of training.
        beaten: of each, whether all its variants are significantly worse than another checkpoint; None where that
            is not known (not evaluated, or failed).
        keep_last: how many of the last are kept in any case, because training may go on from them.

    Returns:
        The beaten ones that are not among the last and that no link points to.
    """
    older = list(zip(sightings, beaten, strict=True))[: max(0, len(sightings) - keep_last)]
    return [
        sighting for sighting, lost in older if lost is True and not _is_linked(sighting.layout.unit(sighting.path))
    ]


def delete(sighting: Sighting, root: Path) -> Path:
    """Delete a checkpoint with what only training needs of it; nobody ever sees half of it.

    Returns:
        What was deleted.

    Raises:
        UsageError: it does not lie below the watched folder, or cannot be deleted.
    """
    unit = sighting.layout.unit(sighting.path)
    if unit.is_symlink() or real_path(root) not in real_path(unit).parents:
        raise UsageError(f"{unit} does not lie in {root}; it is not deleted")
    doomed = unit.with_name(f".{unit.name}.{uuid.uuid4().hex}")
    try:
        os.rename(unit, doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed)
        else:
            doomed.unlink()
    except OSError as error:
        raise UsageError(f"{unit} cannot be deleted: {error.strerror}") from None
    return unit


def _is_linked(unit: Path) -> bool:
    """Whether a link beside it (``last``, ``best``) points to it or into it."""
    own = real_path(unit)
    targets = [real_path(entry) for entry in unit.parent.iterdir() if entry.is_symlink()]
    return any(target == own or own in target.parents for target in targets)
