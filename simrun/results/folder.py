"""The run folder: which files it has, how they are read, and who may write.

.. code-block:: text

    run.json             what was asked for, and what the sessions found     `Description`
    plan.json            what is to be run                                   `Plan`
    journal/WRITER.jsonl one record an episode, one writer a file            `EpisodeRecord`
    notes/WRITER.json    what a session found that shares the folder         `Notes`
    videos/ tables/ logs/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simrun.envs.machine.locks import sole
from simrun.envs.machine.regular_files import read_object
from simrun.errors import ConfigurationMismatchError, JournalError, SimrunError, UsageError
from simrun.results.description import Description
from simrun.results.journal import merge, read_journal
from simrun.results.plan import Plan
from simrun.results.records import EpisodeRecord

MAIN_WRITER = "main"
"""Name of the journal of a run on one machine."""

PARTS = ("journal", "videos", "tables", "logs")
"""Folders in a run folder."""


def read_run(folder: Path) -> list[EpisodeRecord]:
    """The records of a run folder alone, merged over its journals; see `Run.read` for the rest.

    Raises:
        JournalError: a journal is damaged.
    """
    return list(merge(record for file in journals_of(folder) for record in read_journal(file)).values())


def has_records(folder: Path) -> bool:
    """Whether the run of a folder has come so far that no other may take its place: it recorded something.

    Raises:
        OSError: the folder cannot be read.
    """
    return (folder / "shards.json").exists() or any(file.stat().st_size for file in journals_of(folder))


def take_back(folder: Path) -> None:
    """Take back a start that recorded nothing: the folder, or what others left in it, is free for any run.

    Logs that say something stay.
    """
    if (folder / "shards.json").exists():
        return
    with suppress(OSError):
        for name in ("run.json", "plan.json"):
            (folder / name).unlink(missing_ok=True)
        for file in (folder / "journal").iterdir():
            if file.suffix == ".lock" or not file.stat().st_size:
                file.unlink()
        for file in (folder / "logs").glob("*.log"):
            if not file.stat().st_size:
                file.unlink()
    for part in (*(folder / part for part in PARTS), folder):
        with suppress(OSError):
            part.rmdir()


def journals_of(folder: Path) -> list[Path]:
    """The journals of a run folder, in the order in which they are read."""
    return sorted((folder / "journal").glob("*.jsonl"))


def read_description(path: Path) -> Description:
    """The description in a run folder.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        return Description.from_json(read_file(path / "run.json"))
    except UsageError as error:
        raise JournalError(f"{path / 'run.json'} is damaged: {error}") from None


def read_plan(path: Path) -> Plan:
    """The plan in a run folder.

    Raises:
        ConfigurationMismatchError: it was changed after it was made.
        JournalError: it cannot be read.
    """
    try:
        return Plan.from_json(read_file(path / "plan.json"))
    except ConfigurationMismatchError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        cause = str(error) if isinstance(error, SimrunError) else f"{type(error).__name__} {error}"
        raise JournalError(f"{path / 'plan.json'} is damaged: {cause}") from None


def read_file(path: Path) -> dict[str, Any]:
    """One of the JSON files of a run folder.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        return read_object(path)
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise JournalError(f"{path} {error}") from None


@contextmanager
def locked(file: Path, folder: Path) -> Iterator[None]:
    """Hold the lock of a journal of a run folder until the block ends.

    Raises:
        UsageError: another runner holds it.
        JournalError: it cannot be opened.
    """
    busy = f"another simrun is writing to {folder} at this moment; wait for it, or choose another --out"
    with sole(
        file,
        lambda way_out: UsageError(f"{busy}{way_out}"),
        lambda why: JournalError(f"the lock {file} cannot be opened: {why}"),
    ):
        yield
