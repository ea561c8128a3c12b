"""The journal: an append-only file of episode records, one writer a file, synced to disk line by line.

A line is a JSON object whose last entry, ``crc32``, is the checksum of the object without it: a flipped bit is damage,
never another result. Lines of simrun 0.1 have none; what their values allow is read.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from simrun.envs.machine.regular_files import append_regular, open_regular, write_whole
from simrun.errors import JournalError
from simrun.results.lines import read_line
from simrun.results.plan import JobKey
from simrun.results.records import EpisodeRecord

LONGEST_LINE = 16 * 1024**2
"""Bytes that a line of a journal never has."""

Check = Callable[[EpisodeRecord], None]
"""Raises JournalError where a record cannot be one of its run."""

_CHECKSUM = b',"crc32":"%08x"}\n'
_MARK = _CHECKSUM[: -len(b'%08x"}\n')]
_LENGTH = len(_CHECKSUM % 0)


class JournalWriter:
    """Appends records to one file; nobody else may write to it.

    A torn last line, left by a crash, is cut off before the first record is appended.

    Args:
        path: the file; its folder must exist.

    Raises:
        JournalError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._appended = 0
        try:
            # Without a buffer nothing is left that a later close could still write.
            with ExitStack() as failing:
                self._file = failing.enter_context(append_regular(path))
                self._cut_torn_line()
                self._sync_folder()
                failing.pop_all()
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be opened: {error.strerror}") from None

    def append(self, record: EpisodeRecord) -> None:
        """Write one record and wait until it is on disk; a failed write leaves no half line behind.

        Raises:
            JournalError: the disk is full, the file system failed, the file was deleted, or the record is too long; it
                is not in the journal.
        """
        self.check_place()
        line = journal_line(record)
        if len(line) >= LONGEST_LINE:
            raise JournalError(
                f"the record of {record.episode} has {len(line)} bytes, and nobody reads more than {LONGEST_LINE}: its "
                "benchmark puts too much into details"
            )
        end = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
            self._appended += 1
        except OSError as error:
            self._roll_back(end)
            raise JournalError(
                f"the journal {self.path} cannot be written: {error.strerror}; free space and resume"
            ) from None

    def read(self, check: Check | None = None) -> Iterator[EpisodeRecord]:
        """The records that are in the file already, through the descriptor that is open.

        Raises:
            JournalError: a line is damaged.
        """
        try:
            with open(self._file.fileno(), "rb", closefd=False) as file:
                file.seek(0)
                yield from _parse_lines(file, self.path, check)
        except (OSError, ValueError) as error:
            raise JournalError(f"the journal {self.path} {_reason(error)}") from None

    def check_place(self) -> None:
        """Check that the file still has its name, so that somebody will find what is written into it.

        Raises:
            JournalError: it was deleted, moved or replaced.
        """
        try:
            there = os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:
            there = False
        if not there:
            raise JournalError(
                f"the journal {self.path} was deleted or moved away while the run was going on: the {self._appended} "
                "episode(s) that this session had recorded went with it, those in progress are not saved"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_torn_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            if end - start > LONGEST_LINE:
                raise OSError(errno.EFBIG, f"its last line is longer than {LONGEST_LINE} bytes")
            self._file.seek(start)
            newline = self._file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            self._file.truncate(position)
        self._file.seek(0, os.SEEK_END)

    def _sync_folder(self) -> None:
        """Make a new file's name as durable as its contents will be."""
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _roll_back(self, end: int) -> None:
        # What cannot be cut off now is a torn last line to whoever opens the file next.
        with suppress(OSError):
            self._file.truncate(end)
            os.fsync(self._file.fileno())


def journal_line(record: EpisodeRecord) -> bytes:
    """A record as a line of a journal, with its checksum."""
    text = json.dumps(record.to_json(), separators=(",", ":"), allow_nan=False).encode()
    return text[:-1] + _CHECKSUM % zlib.crc32(text)


def read_journal(path: Path, check: Check | None = None) -> Iterator[EpisodeRecord]:
    """Read the records of one journal file; a torn last line is ignored.

    Args:
        path: the journal.
        check: what else its records must be.

    Raises:
        JournalError: the file cannot be read, or a line other than the last is damaged.
    """
    try:
        with open_regular(path) as file:
            yield from _parse_lines(file, path, check)
    except (OSError, ValueError) as error:
        raise JournalError(f"the journal {path} {_reason(error)}") from None


def read_on(path: Path, offset: int, most: int, check: Check | None = None) -> tuple[list[EpisodeRecord], int]:
    """Read the lines that a journal has gained, while somebody may be writing to it; nothing is locked or written.

    Args:
        path: the journal.
        offset: where to begin, in bytes: 0, or what the call before returned.
        most: so many records at most.
        check: what else its records must be.

    Returns:
        The records, and where to begin next time: after the last whole line.

    Raises:
        JournalError: the file cannot be read, or a line is damaged.
    """
    records = []
    try:
        with open_regular(path) as file:
            file.seek(offset)
            for number, line in enumerate(_lines(file), start=1):
                if number > most or not line.endswith(b"\n"):
                    break
                records.append(_read_line(line, number, path, check))
                offset += len(line)
    except (OSError, ValueError) as error:
        raise JournalError(f"the journal {path} {_reason(error)}") from None
    return records, offset


def set_aside_damage(path: Path, check: Check | None = None, *, write: bool = True) -> list[str]:
    """Move the damaged lines of a journal into a file beside it, ``NAME.damaged``; whole ones stay as they are.

    Nobody may write to the journal meanwhile.

    Args:
        path: the journal.
        check: what else its records must be.
        write: whether to do it, or only to say what would be done.

    Returns:
        A sentence for each line.

    Raises:
        JournalError: a file cannot be read or written.
    """
    whole, damaged, sentences = [], [], []
    try:
        with open_regular(path) as file:
            for number, line in enumerate(_lines(file), start=1):
                try:
                    if line.endswith(b"\n"):
                        _parse(line, number, path, check)
                    whole.append(line)
                except JournalError as error:
                    damaged.append(line)
                    sentences.append(f"{error} ({len(line)} bytes{_episode_in(line)})")
        if damaged and write:
            with path.with_suffix(".damaged").open("ab") as aside:
                aside.writelines(damaged)
                aside.flush()
                os.fsync(aside.fileno())
            write_whole(path, b"".join(whole))
    except (OSError, ValueError) as error:
        raise JournalError(f"the journal {path} {_reason(error)}") from None
    return sentences


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; only the last may lack its end.

    Raises:
        ValueError: one is longer than any record; it may have no end at all.
    """
    for line in iter(partial(file.readline, LONGEST_LINE), b""):
        if len(line) == LONGEST_LINE:
            raise ValueError(f"is damaged: a line of it is longer than {LONGEST_LINE} bytes")
        yield line


def _reason(error: OSError | ValueError) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _episode_in(line: bytes) -> str:
    """The id that a damaged line seems to have."""
    found = re.search(rb'"episode":\s*"([^"]{1,200})"', line)
    return f", it seems to be {found[1].decode(errors='replace')}" if found else ""


def _parse_lines(lines: BinaryIO, path: Path, check: Check | None) -> Iterator[EpisodeRecord]:
    for number, line in enumerate(_lines(lines), start=1):
        if not line.endswith(b"\n"):
            return
        yield _read_line(line, number, path, check)


def _read_line(line: bytes, number: int, path: Path, check: Check | None) -> EpisodeRecord:
    try:
        return _parse(line, number, path, check)
    except JournalError as error:
        way_out = f"; set it aside with: simrun repair {path.parent.parent}" if path.parent.name == "journal" else ""
        raise JournalError(f"{error}{way_out}") from None


def _parse(line: bytes, number: int, path: Path, check: Check | None) -> EpisodeRecord:
    signed = line.startswith(_MARK, len(line) - _LENGTH)
    if signed and line[-_LENGTH:] != _CHECKSUM % zlib.crc32(b"}", zlib.crc32(memoryview(line)[:-_LENGTH])):
        raise JournalError(f"line {number} of the journal {path} is damaged: it does not match its checksum")
    try:
        record = read_line(line, signed=signed)
        if check is not None:
            check(record)
    except JournalError as error:
        raise JournalError(f"line {number} of the journal {path}: {error}") from None
    except (ValueError, RecursionError):
        raise JournalError(f"line {number} of the journal {path} is damaged") from None
    return record


def merge(
    records: Iterable[EpisodeRecord], differing: dict[JobKey, tuple[str, ...]] | None = None
) -> dict[JobKey, EpisodeRecord]:
    """One record an episode of a run: completed beats infrastructure error; order of first appearance.

    Args:
        records: the records.
        differing: takes up the episodes whose completed records disagree, with the names of the fields; the first
            record counts.
    """
    merged: dict[JobKey, EpisodeRecord] = {}
    with _collector_paused():
        for record in records:
            fields = add(merged, record)
            if fields and differing is not None:
                differing.setdefault(record.key, fields)
    return merged


def add(merged: dict[JobKey, EpisodeRecord], record: EpisodeRecord) -> tuple[str, ...]:
    """Take one record more into what `merge` gave.

    Returns:
        Names of the fields in which it disagrees with the completed record of the same episode that counts.
    """
    known = merged.setdefault(record.key, record)
    if known is record or not record.completed:
        return ()
    if not known.completed:
        merged[record.key] = record
    else:
        there = known.outcome()
        return tuple(name for name, value in record.outcome().items() if there[name] != value)
    return ()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Records hold no cycles, yet the collector would walk all of them again and again: half the time of reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
