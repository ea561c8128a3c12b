"""When a checkpoint is complete: by a mark that its writer leaves, by rename, or because it has stopped changing."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, util
from pathlib import Path

from simrun.envs.machine.regular_files import files_below, open_regular, parse_json
from simrun.errors import UsageError
from simrun.runners.search.watching.layouts import Sighting

RULES = "auto, rename, stable or marker:NAME"

_ZIP = b"PK\x03\x04"
_LARGEST_HEADER = 100_000_000
"""Bytes beyond which safetensors itself refuses a header."""

_LONGEST_MESSAGE = 1 << 31


@dataclass(frozen=True)
class Contents:
    """What the files of a checkpoint look like from outside.

    Attributes:
        files: (name, bytes, time of the last change in nanoseconds) of each, sorted.
    """

    files: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Contents | None:
        """Look at a checkpoint; None when it is empty, or vanishes at this moment."""
        try:
            if path.is_dir():
                files = files_below(path)
            else:
                # ONNX keeps weights beyond two gigabytes in a second file.
                companions = (path.with_name(path.name + ending) for ending in (".data", "_data"))
                files = [path, *(file for file in companions if file.exists())]
            status = [(str(file.relative_to(path.parent)), file.stat()) for file in files]
        except (OSError, ValueError):
            return None
        found = tuple(sorted((name, entry.st_size, entry.st_mtime_ns) for name, entry in status))
        return cls(found) if any(size for _, size, _ in found) else None

    @cached_property
    def digest(self) -> str:
        """Short hash: the same file written again has another one."""
        return hashlib.sha256(json.dumps(self.files).encode()).hexdigest()[:10]

    @property
    def changed(self) -> float:
        """Time of the last change, seconds since the epoch by the clock of the file system."""
        return max(time for _, _, time in self.files) / 1e9


class Completeness:
    """Decides whether a checkpoint may be loaded; remembers since when each has not changed.

    Args:
        rule: ``auto`` (the mark that the library leaves, else ``stable``), ``rename`` (it is complete as soon as it
            has its name), ``stable`` (no file has changed for a while) or ``marker:NAME`` (a file NAME in the
            folder, or the checkpoint's own name with NAME appended).
        settle: seconds without a change that ``stable`` asks for.
        clock: gives seconds; its zero does not matter.

    Raises:
        UsageError: no such rule.
    """

    def __init__(self, rule: str = "auto", settle: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        kind, _, marker = rule.partition(":")
        if kind not in ("auto", "rename", "stable", "marker") or (kind == "marker") != bool(marker):
            raise UsageError(f"--complete {rule!r} is unknown; known: {RULES}")
        self._kind = kind
        self._marker = marker
        self._settle = settle
        self._clock = clock
        self._seen: dict[Path, tuple[Contents, float]] = {}

    def check(self, sighting: Sighting, contents: Contents) -> bool:
        """Whether a checkpoint that looks like this now is complete."""
        known, since = self._seen.setdefault(sighting.path, (contents, self._clock()))
        if known != contents:
            since = self._clock()
            self._seen[sighting.path] = (contents, since)
        settled = self._clock() - since >= self._settle
        return self._allows(sighting, settled) and not is_truncated(sighting.path)

    def _allows(self, sighting: Sighting, settled: bool) -> bool:
        if self._kind == "rename":
            return True
        if self._kind == "marker":
            path = sighting.path
            return (path / self._marker if path.is_dir() else path.with_name(path.name + self._marker)).exists()
        marked = sighting.layout.marked(sighting.path) if self._kind == "auto" else None
        return settled if marked is None else marked


def is_truncated(path: Path) -> bool:
    """Whether a file, or any file of a folder, is provably cut short; False where its format cannot tell.

    PyTorch's files are ZIP archives, whose directory comes last; a safetensors file begins with the place of every
    tensor; an ONNX file is read by the library that would run it.
    """
    try:
        return any(map(_is_cut, files_below(path) if path.is_dir() else [path]))
    except ValueError:
        return True


def _is_cut(file: Path) -> bool:
    try:
        if file.suffix == ".safetensors":
            return not _is_whole_safetensors(file)
        if file.suffix == ".onnx":
            with open_regular(file) as stream:
                # A message of protobuf cannot be longer; larger weights lie in a file of their own.
                possible = 0 < os.fstat(stream.fileno()).st_size < _LONGEST_MESSAGE
            return not possible or not _is_whole_onnx(file)
        with open_regular(file) as stream:
            archive = stream.read(len(_ZIP)) == _ZIP
            return archive and not zipfile.is_zipfile(stream)
    except (OSError, ValueError):
        return True


def _is_whole_safetensors(file: Path) -> bool:
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, _LARGEST_HEADER):
                return False
            header = parse_json(stream.read(length))
            ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
            return False
    return size >= 8 + int(length) + max(ends, default=0)


def _is_whole_onnx(file: Path) -> bool:
    try:
        if util.find_spec("onnx") is not None:
            model = import_module("onnx").load_model(str(file), load_external_data=False)
            return bool(model.graph.node) and bool(model.opset_import)
        if util.find_spec("onnxruntime") is not None:
            import_module("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception:  # whatever the libraries' parsers raise
        return False
    return True
