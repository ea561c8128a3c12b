"""What lies in a benchmark's asset folder, compared with its manifest; quick, because hashes are remembered."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from simrun.envs.machine.data_files.manifest import Manifest, blob_hash
from simrun.envs.machine.folders import STANDINS_FILE, data_home, real_path
from simrun.envs.machine.regular_files import read_document, read_object, write_json

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has put in the place of the real one."""

_POINTER_BYTES = 1024
_SETTLED_SECONDS = 1.0


@dataclass(frozen=True)
class AssetState:
    """What a look at a benchmark's data files found; all paths are relative to the folder.

    Attributes:
        folder: where they lie, or would.
        expected: number of files that the benchmark needs.
        missing: needed files that are not there, and that no declared stand-in replaces.
        pointers: files that are Git LFS pointers instead of the real files.
        modified: files whose content is not upstream's and that nobody declared to be stand-ins.
        standins: declared stand-ins that are there.
        declared: whether the folder has a list of stand-ins at all.
        digest: SHA-256 over names and contents of the needed files and stand-ins, hexadecimal.
        remedy: the line that fixes what is wrong.
    """

    folder: Path
    expected: int
    missing: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    standins: tuple[str, ...] = ()
    declared: bool = False
    digest: str = ""
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether every needed file, or something in its place, is there."""
        return not self.missing and not self.pointers

    @property
    def not_original(self) -> str | None:
        """Why results on these files are not results of the benchmark, as a phrase; None when all are upstream's."""
        if self.declared:
            return "the data files declare stand-ins"
        if self.modified:
            return f"{_count(self.modified, 'data file')} not upstream's ({_some(self.modified)})"
        return None

    @property
    def original(self) -> bool:
        """Whether all needed files are there and upstream's own."""
        return self.usable and self.not_original is None

    def fingerprint(self) -> dict[str, Any]:
        """What a benchmark's fingerprint says of its data files."""
        return {"assets_sha256": self.digest, "standins": self.declared, "modified_files": list(self.modified)}

    def finding(self) -> str:
        """What was found, as one phrase."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} of {self.expected} files are missing ({_some(self.missing)})")
        if self.pointers:
            parts.append(f"{len(self.pointers)} of {self.expected} files are Git LFS pointers ({_some(self.pointers)})")
        if self.modified:
            parts.append(f"{_count(self.modified, 'file')} not upstream's ({_some(self.modified)})")
        if self.declared:
            parts.append(f"{_count(self.standins, 'declared stand-in')} in use ({STANDINS_FILE})")
        return "; ".join(parts) or f"all {self.expected} files are upstream's"


def inspect_folder(folder: Path, manifest: Manifest, *, remedy: str = "", afresh: bool = False) -> AssetState:
    """Compare a folder with a manifest.

    A file's hash is computed once and remembered with its size and times of change, in simrun's data folder.

    Args:
        folder: a benchmark's asset folder; need not exist.
        manifest: what it should hold.
        remedy: the line that fixes it.
        afresh: read every file, whatever is remembered of it.
    """
    standins = declared_standins(folder)
    hashes = _hash_files(folder, [*manifest.files, *standins], afresh)
    standins = [path for path in standins if manifest.files.get(path) != hashes.get(path)]
    absent = [path for path in manifest.files if path not in hashes]
    replaced = {_stem(path) for path in standins if path not in manifest.files}
    differing = [path for path, digest in manifest.files.items() if hashes.get(path, digest) != digest]
    pointers = [path for path in differing if is_pointer(folder / path)]
    return AssetState(
        folder,
        len(manifest.files),
        missing=tuple(path for path in absent if _stem(path) not in replaced),
        pointers=tuple(pointers),
        modified=tuple(path for path in differing if path not in standins and path not in pointers),
        standins=tuple(standins),
        declared=(folder / STANDINS_FILE).exists(),
        digest=_digest(hashes),
        remedy=remedy,
    )


def absent_files(folder: Path, manifest: Manifest) -> list[str]:
    """Files of a manifest that are not there and that no declared stand-in replaces; nothing is read."""
    absent = [path for path in manifest.files if not (folder / path).is_file()]
    replaced = {_stem(path) for path in declared_standins(folder)} if absent else set()
    return [path for path in absent if _stem(path) not in replaced]


def declared_standins(folder: Path) -> list[str]:
    """Files of a folder that its list of stand-ins names, and that are there; relative paths, sorted."""
    try:
        text = read_document(folder / STANDINS_FILE)
    except (OSError, ValueError):
        return []
    words = {word.rstrip(":,;.") for word in re.split(r"\s+", text) if "/" in word}
    inside = {word for word in words if not PurePosixPath(word).is_absolute() and ".." not in PurePosixPath(word).parts}
    return sorted(word for word in inside if (folder / word).is_file())


def is_pointer(file: Path) -> bool:
    """Whether a file is what Git LFS leaves where the real file was not fetched."""
    if file.stat().st_size > _POINTER_BYTES:
        return False
    with file.open("rb") as stream:
        return stream.read(len(LFS_POINTER)) == LFS_POINTER


def _hash_files(folder: Path, paths: Sequence[str], afresh: bool) -> dict[str, str]:
    """Path -> Git blob hash of those that are there."""
    memory = _Memory(folder, afresh)
    hashes = {}
    for path in dict.fromkeys(paths):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            hashes[path] = memory.hash(path)
    memory.save()
    return hashes


class _Memory:
    """Hashes of a folder's files from earlier looks, valid while size and times of change stay the same."""

    def __init__(self, folder: Path, afresh: bool) -> None:
        self._folder = folder
        name = hashlib.sha256(str(real_path(folder)).encode()).hexdigest()[:16]
        self._file = data_home() / "verified-assets" / f"{name}.json"
        self._known = {} if afresh else self._read()
        self._changed = False

    def hash(self, path: str) -> str:
        file = self._folder / path
        status = file.stat()
        mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        digest = blob_hash(file)
        # A file that is just being written may change again without its times telling.
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
            self._known[path] = (mark, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        if not self._changed:
            return
        # Remembering is a convenience: a home that cannot be written to costs time, nothing else.
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, self._known)

    def _read(self) -> dict[str, tuple[str, str]]:
        try:
            document = read_object(self._file)
            return {path: (str(mark), str(digest)) for path, (mark, digest) in document.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _digest(hashes: Mapping[str, str]) -> str:
    listing = "".join(f"{path}\0{digest}\n" for path, digest in sorted(hashes.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _count(paths: Sequence[str], noun: str) -> str:
    return f"{len(paths)} {noun} is" if len(paths) == 1 else f"{len(paths)} {noun}s are"


def _some(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} the first"
