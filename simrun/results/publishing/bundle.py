"""Bundles: a run in one archive, with what anybody needs to check it by playing its actions again.

.. code-block:: text

    NAME.simrun.tar.gz
      bundle.json           format, version, name of the run, SHA-256 of every other file
      run.json, plan.json   as in the run folder
      journal/main.jsonl    every record, merged
      actions.json          [{checkpoint, execution, policy_seed, episode, action_mode, file}, ...]
      actions/NNNNN.npy     what was executed, [T, A], in the type that it was executed in
      videos/...            if wanted

The checksums find what was damaged or carelessly changed. Whoever writes them anew after a change is found out by
`simrun verify BUNDLE`, which plays the actions: each must lead to the recorded outcome.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import simrun
from simrun.envs import get_benchmark
from simrun.envs.machine.data_files.archives import PlainEntry
from simrun.envs.machine.regular_files import DAMAGED_ARCHIVE, open_regular, read_object, read_regular
from simrun.errors import JournalError, UsageError
from simrun.results.journal import journal_line
from simrun.results.page.freezing import video_file
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run

SUFFIX = ".simrun.tar.gz"
"""What the name of a bundle ends in."""

_FORMAT = "simrun bundle"
_VERSION = 1
_MOST_FILES = 1_000_000
_MOST_BYTES = 64 * 1024**3
_KEY = ("checkpoint", "execution", "policy_seed", "episode")


@dataclass(frozen=True)
class PlayedActions:
    """What was executed in an episode.

    Attributes:
        record: its record.
        action_mode: control mode of the actions.
        actions: ``[T, A]``, in the type that they were executed in.
    """

    record: EpisodeRecord
    action_mode: str
    actions: npt.NDArray[np.floating]


def write_bundle(run: Run, path: Path, *, actions: bool = True, videos: bool = False) -> list[str]:
    """Write a run as one archive; the same run gives the same bytes.

    Args:
        run: the run.
        path: the archive.
        actions: put the executed actions in of every episode whose rollout was kept.
        videos: put the videos in.

    Returns:
        What a reader must know of it, one sentence each.

    Raises:
        JournalError: a file of the run cannot be read, or the archive cannot be written.
    """
    files: dict[str, bytes] = {}
    try:
        for name in ("run.json", "plan.json"):
            files[name] = read_regular(run.path / name)
        files["journal/main.jsonl"] = b"".join(map(journal_line, run.records))
        kept = list(_kept_actions(run)) if actions else []
        index = []
        for number, played in enumerate(kept):
            name = f"actions/{number:05d}.npy"
            files[name] = _npy(played.actions)
            key = {field: getattr(played.record, field) for field in _KEY}
            index.append({**key, "action_mode": played.action_mode, "file": name})
        files["actions.json"] = json.dumps({"episodes": index}, indent=1).encode()
        if videos:
            for record in run.records:
                # What lies outside the run folder is none of its videos, whatever a journal says.
                if record.video is not None and (film := video_file(run, record)) is not None:
                    files[record.video] = read_regular(film)
        _write_archive(path, run.name, files)
    except OSError as error:
        raise JournalError(f"{error.filename or path} cannot be read or written: {error.strerror}") from None
    except ValueError as error:
        raise JournalError(f"a file of {run.path} {error}") from None
    completed = sum(record.completed for record in run.records)
    notes = [f"{len(run.records)} records, {completed} of them completed"]
    if actions:
        notes.append(f"actions of {len(kept)} episodes")
    if actions and not kept:
        notes.append(
            "nobody can check it by playing it again, because the run kept no rollouts: evaluate with --record "
            "1-per-task or all"
        )
    return notes


def is_bundle(path: Path) -> bool:
    """Whether a path is meant as a bundle: an archive, not a folder."""
    if path.name.endswith(SUFFIX):
        return True
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:gz", tarinfo=PlainEntry):
            return True
    except (*DAMAGED_ARCHIVE, tarfile.TarError):
        return False


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle.

    Attributes:
        path: the archive.
        folder: where it was unpacked.
        digest: SHA-256 of its list of checksums, which names it.
    """

    path: Path
    folder: Path
    digest: str

    @classmethod
    def unpack(cls, path: Path, folder: Path) -> Bundle:
        """Unpack an archive and check every file in it.

        Raises:
            UsageError: it is no bundle, or of a version that this simrun does not know.
            JournalError: a file in it was changed or is missing; the message names it.
        """
        try:
            if not path.is_file():
                raise UsageError(f"{path} is no bundle of simrun: it is no regular file")
            with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:gz", tarinfo=PlainEntry) as archive:
                _unpack(archive, folder)
            head = read_object(folder / "bundle.json")
        except (*DAMAGED_ARCHIVE, tarfile.TarError) as error:
            # tarfile lists on further lines what each of its readers said.
            raise UsageError(
                f"{path} is no bundle of simrun: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from None
        if head.get("format") != _FORMAT or head.get("version") != _VERSION:
            raise UsageError(f"{path} is a bundle of another version; this simrun reads {_FORMAT} {_VERSION}")
        sums = head.get("files")
        if not isinstance(sums, dict):
            raise UsageError(f"{path} is no bundle of simrun: its bundle.json lists no files")
        for name, expected in sums.items():
            file = folder / name
            if ".." in file.parts or not file.is_relative_to(folder) or not file.is_file():
                raise JournalError(f"{path} was tampered with or damaged: {name} is missing")
            if _digest(file) != expected:
                raise JournalError(f"{path} was tampered with or damaged: {name} is not what was packed")
        strangers = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        if extra := sorted(strangers - sums.keys() - {"bundle.json"}):
            raise JournalError(f"{path} was tampered with: {extra[0]} is not on its list")
        return cls(path, folder, hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest())

    @cached_property
    def run(self) -> Run:
        """The run in it."""
        return Run.read(self.folder)

    def played(self) -> list[PlayedActions]:
        """The episodes whose actions it holds.

        Raises:
            JournalError: an entry belongs to no record, or its actions cannot be read.
        """
        records = {tuple(getattr(record, field) for field in _KEY): record for record in self.run.records}
        found = []
        try:
            entries = list(read_object(self.folder / "actions.json").get("episodes", []))
        except (OSError, ValueError, TypeError) as error:
            raise JournalError(f"{self.path}: its actions.json cannot be read: {error}") from None
        for entry in entries:
            try:
                record = records[tuple(entry[field] for field in _KEY)]
                if not re.fullmatch("actions/[0-9]{5,9}[.]npy", entry["file"]):
                    raise ValueError(f"{entry['file']!r:.100} is no file of actions")
                found.append(PlayedActions(record, str(entry["action_mode"]), _actions(self.folder / entry["file"])))
            except DAMAGED_ARCHIVE as error:
                raise JournalError(f"{self.path}: an entry of actions.json cannot be used: {error!r}") from None
        return found

    def sample(self, episodes: int) -> list[PlayedActions]:
        """So many of the episodes, drawn by the bundle's digest: nobody chose them, and everybody draws the same."""

        def draw(played: PlayedActions) -> str:
            return hashlib.sha256(f"{self.digest} {played.record.key}".encode()).hexdigest()

        return sorted(self.played(), key=draw)[:episodes]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(file) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _actions(file: Path) -> npt.NDArray[np.floating]:
    actions = np.lib.format.read_array(io.BytesIO(read_regular(file)), allow_pickle=False)
    if actions.ndim != 2 or actions.dtype.kind != "f":
        raise ValueError(f"an array of type {actions.dtype} and shape {actions.shape} is no sequence of actions")
    return actions


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack files and folders, nothing else, and no more than anybody ever bundled.

    Contents alone are taken, no rights and owners: the tar module's own filter came with Python 3.11.4 and 3.10.12.

    Raises:
        ValueError: it holds something else, something that leads out of the folder, or too much.
        OSError: a file cannot be written.
    """
    size = 0
    for number, member in enumerate(archive):
        size += member.size
        if number >= _MOST_FILES or not 0 <= member.size <= size <= _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_FILES} files or {_MOST_BYTES >> 30} GiB")
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"{member.name} is neither file nor folder")
        path = (folder / member.name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"{member.name} leads out of it")
        (path if member.isdir() else path.parent).mkdir(parents=True, exist_ok=True)
        if (contents := archive.extractfile(member)) is not None:
            with path.open("wb") as file:
                shutil.copyfileobj(contents, file)


def _kept_actions(run: Run) -> Sequence[PlayedActions]:
    kept = [record for record in run.records if record.completed and record.rollout is not None]
    if not kept:
        return []
    from simrun.rollouts.reader import rollout_at

    played = []
    for record in kept:
        rollout = rollout_at(run.path, str(record.rollout))
        played.append(PlayedActions(record, _mode(record.benchmark, rollout.of.action_names), rollout.actions))
    return played


def _mode(benchmark: str, names: Sequence[str]) -> str:
    specs: Mapping[str, Any] = get_benchmark(benchmark).action_specs
    return next((mode for mode, spec in specs.items() if list(spec.names) == list(names)), next(iter(specs)))


def _npy(array: npt.NDArray[np.floating]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_archive(path: Path, name: str, files: Mapping[str, bytes]) -> None:
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    head = {"format": _FORMAT, "version": _VERSION, "run": name, "simrun": simrun.__version__, "files": sums}
    contents = {"bundle.json": json.dumps(head, indent=1).encode(), **files}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for file, content in sorted(contents.items()):
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
