"""Reads rollouts back: which episodes a run kept, what was executed in them, predicted and seen."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.regular_files import read_object
from simrun.errors import JournalError
from simrun.rollouts import layout
from simrun.rollouts.encoding import Frame, read_frames

_MOST_VALUES = 20_000_000
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class RolloutSet:
    """One set of a run.

    Attributes:
        folder: the set.
        info: what ``info.json`` says.
    """

    folder: Path
    info: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> RolloutSet:
        """Open a set.

        Raises:
            JournalError: there is none, or its description is damaged.
        """
        try:
            opened = cls(folder, read_object(folder / layout.INFO))
            # What is asked of it later is looked at here, once.
            _ = len(opened), opened.cameras, opened.action_names, opened.info["robot_type"], opened.info["fps"]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise JournalError(f"{folder} holds no readable rollouts: {error!r}") from None
        return opened

    def __len__(self) -> int:
        return int(self.info["total_episodes"])

    def __iter__(self) -> Iterator[Rollout]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Rollout:
        """An episode by its index.

        Raises:
            JournalError: there is none, or its file is damaged.
        """
        file = layout.file_of("meta/episodes", index)
        with _damage_named(self.folder / file):
            (row,) = _read(self.folder / file).to_pylist()
        return Rollout(self, index, row)

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        """Some fields of all episodes, by index; one read for all of them.

        Raises:
            JournalError: a file is damaged, or an episode lacks such a field.
        """
        if not len(self):
            return []
        return list(_read(self.folder / "meta" / "episodes", ["episode_index", *columns]).to_pylist())

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """Camera name -> height and width."""
        prefix = layout.camera_key("")
        return {
            key.removeprefix(prefix): (column["shape"][0], column["shape"][1])
            for key, column in self.info["features"].items()
            if column["dtype"] == "video"
        }

    @property
    def action_names(self) -> list[str]:
        """One name an axis of the action."""
        return list(self.info["features"][layout.ACTION]["names"])


@dataclass(frozen=True)
class Rollout:
    """One recorded episode.

    Attributes:
        of: the set that it belongs to.
        index: its index there.
        fields: its place in the set, and what is known of it (``checkpoint``, ``success``, ``seed``, ...).
    """

    of: RolloutSet
    index: int
    fields: Mapping[str, Any]

    @cached_property
    def table(self) -> Any:
        """Its rows as an Arrow table, one a control step."""
        return _read(self.of.folder / layout.file_of("data", self.index))

    @property
    def actions(self) -> npt.NDArray[np.floating]:
        """What was executed, ``[T, A]``, to the last bit and in the type that it was executed in."""
        with self._damage_named("data"):
            return _stacked(self.table[layout.ACTION]).astype(np.dtype(self.fields["action_dtype"]))

    @property
    def states(self) -> npt.NDArray[np.float32]:
        """Proprioception before each action, ``[T, n]``."""
        with self._damage_named("data"):
            return _stacked(self.table[layout.STATE]).astype(np.float32)

    @property
    def rewards(self) -> npt.NDArray[np.float32]:
        """Gain of score by each action, ``[T]``."""
        with self._damage_named("data"):
            return np.asarray(self.table[layout.REWARD].to_numpy(), np.float32)

    @property
    def predictions(self) -> list[tuple[int, npt.NDArray[np.float64]]]:
        """Control step of each inference, and the chunk ``[H, A]`` predicted there."""
        with self._damage_named("predictions"):
            rows = self.predictions_table.to_pylist()
            return [(int(row["frame_index"]), np.asarray(row["chunk"], np.float64)) for row in rows]

    @property
    def predictions_table(self) -> Any:
        """Its inferences as an Arrow table."""
        return _read(self.of.folder / layout.file_of("predictions", self.index))

    @property
    def instructions(self) -> list[str]:
        """The sentence in force before each action."""
        with self._damage_named("data"):
            known = _read(self.of.folder / layout.TASKS)["task"].to_pylist()
            return [known[number] for number in self.table["task_index"].to_pylist()]

    def video(self, camera: str) -> Path:
        """The file of a camera's frames."""
        return self.of.folder / layout.file_of(f"videos/{layout.camera_key(camera)}", self.index, "mp4")

    def frames(self, camera: str) -> Iterator[Frame]:
        """What a camera saw before each action, as it was."""
        return read_frames(self.video(camera), *self.of.cameras[camera])

    def _damage_named(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _damage_named(self.of.folder / layout.file_of(what, self.index))


def open_sets(run: Path) -> list[RolloutSet]:
    """The sets of a run folder, by name; none where nothing was recorded."""
    return [RolloutSet.open(file.parent.parent) for file in sorted((run / layout.FOLDER).glob("*/meta/info.json"))]


def rollout_at(run: Path, reference: str) -> Rollout:
    """The rollout that a record names, as ``SET#INDEX``.

    Raises:
        JournalError: it is not there.
    """
    name, _, index = reference.rpartition("#")
    if not name.strip(".") or "/" in name or "\0" in name or not re.fullmatch("[0-9]{1,9}", index):
        raise JournalError(f"{reference!r} names no rollout")
    return RolloutSet.open(run / layout.FOLDER / name)[int(index)]


@contextlib.contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turn what a file lacks, or holds of another type, into a JournalError."""
    pyarrow = layout.import_pyarrow()
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, pyarrow.ArrowException) as error:
        raise JournalError(f"the rollout {file} is damaged: {error}") from None


def _stacked(column: Any) -> npt.NDArray[Any]:
    flat = column.combine_chunks()
    return np.asarray(flat.flatten().to_numpy(zero_copy_only=False)).reshape(len(flat), -1)


def _check_size(metadata: Any, file: Path) -> None:
    """Refuse what no episode has; equal values take next to nothing in a file.

    Raises:
        ValueError: there are more than `_MOST_VALUES`, or they say that they take more than `_MOST_BYTES`.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
    size = sum(group.total_byte_size for group in groups)
    if values > _MOST_VALUES or size > _MOST_BYTES:
        raise ValueError(f"{file.name} holds {values} values in {size} bytes, which no episode has")


def _read(path: Path, columns: list[str] | None = None) -> Any:
    pyarrow = layout.import_pyarrow()
    try:
        named = path.rglob("*") if path.is_dir() else [path]
        files = [file for file in named if file.exists() and not file.is_dir()]
        if strange := [file for file in files if not file.is_file()]:
            raise OSError(f"{strange[0].name} is no regular file")
        for file in files:
            _check_size(pyarrow.parquet.read_metadata(file), file)
        return pyarrow.parquet.read_table(path, columns=columns, partitioning=None)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise JournalError(f"the rollout {path} cannot be read: {error}") from None
