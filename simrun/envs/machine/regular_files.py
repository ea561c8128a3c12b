"""Files that a user, a checkpoint or another machine names: read whole or not at all, written whole or not at all.

Whatever stands under a name is opened here first: a pipe that nobody writes to, ``/dev/zero`` and a file without an end
would hold everything up. Messages of the ValueErrors are phrases that follow after the file's name.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import lzma
import os
import stat
import struct
import sys
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

LARGEST_FILE = 128 * 1024**2
"""Bytes beyond which a file is not read whole: as JSON it takes up to thirteen times as much memory, as a plan half a
million episodes have room."""

LARGEST_DOCUMENT = 64 * 1024**2
"""Bytes beyond which a file that people or training code wrote is not read as text."""

_LARGEST_TOML = 8 * 1024**2
_MOST_STEPS = 10_000_000
_MOST_CONTAINERS = 4_000_000
_MOST_CELLS = 4_000_000
_MOST_ENTRIES = 100_000

DAMAGED_ARCHIVE = (
    *(OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(struct.error, NotImplementedError, RuntimeError, SyntaxError, MemoryError, OverflowError),
    tokenize.TokenError,
)
"""What zipfile and numpy raise of archives that are damaged, or made to do harm."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device, which might never end, is refused.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular file.
    """
    return _open(path, os.O_RDONLY, "rb")


def files_below(folder: Path) -> list[Path]:
    """The files below a folder, sorted; links to folders are not followed.

    Raises:
        ValueError: there are more files and folders than any checkpoint, run or evaluation has, or one cannot be read.
    """
    found: list[Path] = []
    folders, seen = [folder], 0
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if (seen := seen + 1) > _MOST_ENTRIES:
                        raise ValueError(f"holds more than {_MOST_ENTRIES} files and folders; name one that is meant")
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file():
                        found.append(Path(entry.path))
    except OSError as error:
        raise ValueError(f"holds what cannot be read: {error.filename}: {error.strerror}") from None
    return sorted(found)


def append_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading and for appending, without a buffer; make it where there is none.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        return _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "a+b")
    except ValueError as error:
        raise OSError(errno.EINVAL, f"it {error}", str(path)) from None


def open_to_write(path: Path) -> BinaryIO:
    """Open what a user names for what is written, anew; a pipe that nobody reads is refused, not waited for.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    os.set_blocking(descriptor, True)
    return open(descriptor, "wb")


def read_regular(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or larger than ``largest`` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise ValueError(f"is too large ({size} bytes)")
        # What the kernel shows as a file may grow while it is read, or have nothing to say at the moment.
        data = file.read(largest + 1)
        if data is None or len(data) > largest:
            raise ValueError("is no regular file, or grows without an end")
        return data


def read_document(path: Path, encoding: str = "utf-8") -> str:
    """All text of a regular file that people or training code wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, no text, or larger than `LARGEST_DOCUMENT`.
    """
    data = read_regular(path, LARGEST_DOCUMENT)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, by the names in its first line.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, too large, no text, or no CSV.
    """
    return list(parse_rows(read_document(path, "utf-8-sig")))


def parse_rows(text: str) -> Iterator[dict[str, Any]]:
    """The rows of CSV, by the names in its first line.

    Raises:
        ValueError: it is no CSV, or has more fields than anybody writes by hand.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise ValueError(f"is damaged: row {number} has not as many fields as the first line")
            if number * len(row) > _MOST_CELLS:
                raise ValueError(f"is too large: it has more than {_MOST_CELLS} fields")
            yield row
    except csv.Error as error:
        raise ValueError(f"is no CSV: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """What a text of TOML holds.

    Its parser takes time by the square of the length of a dotted name: minutes for one of 100 kB.

    Raises:
        ValueError: it is no TOML, too large, or would take minutes.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    lines = text.splitlines()
    dots = max((line.count(".") for line in lines), default=0)
    if len(text) > _LARGEST_TOML or dots * (dots + len(lines)) > _MOST_STEPS:
        raise ValueError(f"{len(text)} characters in {len(lines)} lines with up to {dots} dots are too much for TOML")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, too large, no JSON, or holds something else.
    """
    return parse_object(read_regular(path))


def parse_object(text: bytes | str) -> dict[str, Any]:
    """Read JSON that holds an object.

    Raises:
        ValueError: it is no JSON, or holds something else.
    """
    try:
        document = parse_json(text)
    except ValueError as error:
        raise ValueError(f"is damaged: it {error}") from None
    if not isinstance(document, dict):
        raise ValueError("is damaged: it holds no object")
    return document


def parse_json(text: bytes | str) -> Any:
    """What a text of JSON holds.

    Raises:
        ValueError: it is no JSON, or holds so many lists and objects that a small text fills the memory.
    """
    containers = text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    if containers > _MOST_CONTAINERS:
        raise ValueError(f"holds more than {_MOST_CONTAINERS} lists and objects")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file whole or not at all, and durably.

    Raises:
        OSError: it cannot be written, or nobody could read it.
    """
    if len(text := json_text(document)) > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"it would have {len(text)} bytes, and {LARGEST_FILE} are the most", str(path))
    write_whole(path, text)


def json_text(document: Any) -> bytes:
    """What `write_json` writes."""
    return json.dumps(document, indent=1).encode()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and durably.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _open(path: Path, flags: int, mode: str) -> BinaryIO:
    # Opened without waiting, so that a pipe that nobody writes to does not hold everything up.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("is no regular file")
    return cast(BinaryIO, open(descriptor, mode, buffering=0 if "+" in mode else -1))
