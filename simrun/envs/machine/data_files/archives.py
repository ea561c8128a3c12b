"""Reading archives that come from the network: what is in them decides nothing about where anything is written."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from simrun.envs.machine.regular_files import open_regular
from simrun.errors import AssetError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".txz", ".tar.bz2", ".zip")
"""Endings of the names of files and addresses that are taken for archives."""

LARGEST_FILE = 512 << 20
"""Bytes that a member may have; upstream's largest data file has a tenth of it."""

LARGEST_ARCHIVE = 4 << 30
"""Bytes that an archive may unpack to."""

_MOST_MEMBERS = 200_000
_LARGEST_EXTENSION = 1 << 20
_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


@dataclass(frozen=True)
class Member:
    """A regular file in an archive.

    Attributes:
        path: its path as the archive has it, relative, without ``..``.
    """

    path: str
    _stream: IO[bytes]
    _archive: Path

    def copy_to(self, output: IO[bytes]) -> None:
        """Unpack it; must happen before the next member is asked for.

        Raises:
            AssetError: the archive is truncated or damaged here.
        """
        with _damage_named(self._archive):
            shutil.copyfileobj(self._stream, output)


class PlainEntry(tarfile.TarInfo):
    """An entry whose head is of a size that honest ones have: tarfile reads what extends a head into memory, whole.

    Opening an archive raises a ValueError for a head that more than 1 MiB extends, that has holes, which may be without
    number, or a negative size, which leads in circles.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        # Where tarfile lets subclasses in, between a head and what it reads because of it, in every release; some
        # make heads without asking ``frombuf``.
        extends = self.type in _EXTENSIONS and self.size > _LARGEST_EXTENSION
        if extends or self.type == tarfile.GNUTYPE_SPARSE or self.size < 0:
            raise ValueError(f"an entry of type {self.type!r} has {self.size} bytes, which no honest one has")
        processed: tarfile.TarInfo = cast(Any, super())._proc_member(archive)
        return processed


def is_archive(name: str) -> bool:
    """Whether a file name or address ends like an archive's."""
    return name.lower().endswith(SUFFIXES) or "/tar.gz/" in name


def read_members(file: Path, largest: int = 0) -> Iterator[Member]:
    """The regular files of a tar (plain, gz, bz2, xz) or zip archive.

    Args:
        file: the archive.
        largest: bytes that it may unpack to; 0 takes `LARGEST_ARCHIVE`.

    Raises:
        AssetError: it is no archive, truncated or damaged, larger than any upstream archive, or holds something that
            no honest one does: a path or a link that leads out of it, a device.
    """
    with _damage_named(file), open_regular(file) as stream:
        if zipfile.is_zipfile(stream):
            yield from _zip_members(file, stream, largest or LARGEST_ARCHIVE)
        else:
            yield from _tar_members(file, largest or LARGEST_ARCHIVE)


@contextlib.contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise AssetError(f"{file} is no archive, or it is truncated or damaged: {error}") from None
    except (NotImplementedError, RuntimeError, ValueError) as error:
        # What zipfile says of foreign compression, of encryption, and of names that it cannot read.
        raise AssetError(f"{file} cannot be read as an archive: {error}") from None
    except FileNotFoundError:
        raise AssetError(f"there is no archive {file}") from None
    except OSError as error:
        raise AssetError(f"{file} cannot be read as an archive: {error.strerror or error}") from None


def _tar_members(file: Path, largest: int) -> Iterator[Member]:
    with (
        _decompressed(file) as raw,
        tarfile.open(fileobj=cast(IO[bytes], _Bounded(raw, file, largest)), mode="r|", tarinfo=PlainEntry) as archive,
    ):
        for count, entry in enumerate(archive):
            _check_path(file, entry.name)
            _check_size(file, entry.name, entry.size, count)
            if entry.issym() or entry.islnk():
                base = posixpath.dirname(entry.name) if entry.issym() else ""
                _check_link(file, entry.name, posixpath.join(base, entry.linkname))
            elif entry.isfile():
                stream = archive.extractfile(entry)
                if stream is not None:
                    yield Member(entry.name, stream, file)
            elif not entry.isdir():
                raise AssetError(f"{file} holds {entry.name!r}, which is neither file, folder nor link; it is refused")


def _zip_members(file: Path, stream: IO[bytes], largest: int) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:
        total = 0
        for count, entry in enumerate(archive.infolist()):
            _check_path(file, entry.filename)
            _check_size(file, entry.filename, entry.file_size, count)
            total += entry.file_size
            if total > largest:
                raise _too_large(file, largest)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir() or kind == stat.S_IFLNK:
                continue
            if kind not in (0, stat.S_IFREG):
                raise AssetError(f"{file} holds {entry.filename!r}, which is neither file, folder nor link")
            with archive.open(entry) as content:
                yield Member(entry.filename, content, file)


def _decompressed(file: Path) -> IO[bytes]:
    with file.open("rb") as stream:
        head = stream.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file, "rb"))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(file, "rb"))
    if head.startswith(b"\xfd7zXZ\0"):
        return cast(IO[bytes], lzma.open(file, "rb"))
    return file.open("rb")


class _Bounded:
    """A stream that ends in an error where an archive unpacks to more than any upstream archive does."""

    def __init__(self, stream: IO[bytes], file: Path, largest: int) -> None:
        self._stream = stream
        self._file = file
        self._left = self._largest = largest

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._file, self._largest)
        return data


def _too_large(file: Path, largest: int) -> AssetError:
    return AssetError(f"{file} unpacks to more than {largest >> 30} GiB, which no upstream archive does")


def _check_path(file: Path, path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise AssetError(f"{file} holds the path {path!r}, which leads out of the archive; it is refused")


def _check_link(file: Path, path: str, target: str) -> None:
    if posixpath.isabs(target) or posixpath.normpath(target).split("/")[0] == "..":
        raise AssetError(f"{file} holds the link {path!r} to {target!r}, which leads out of the archive; it is refused")


def _check_size(file: Path, path: str, size: int, count: int) -> None:
    if not 0 <= size <= LARGEST_FILE:
        raise AssetError(f"{file} holds {path!r} of {size} bytes, more than any data file has; it is refused")
    if count >= _MOST_MEMBERS:
        raise AssetError(f"{file} holds more than {_MOST_MEMBERS} entries, which no upstream archive does")
