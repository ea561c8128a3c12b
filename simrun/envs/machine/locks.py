"""Locks between processes: one rule, on file systems with locks and without.

Where the file system locks (``flock``), the system frees a lock whatever becomes of its holder. Lustre and NFS may be
mounted without; there a marker beside the lock file names host and process that hold it. A marker of this host whose
process is gone counts for nothing; one of another host is believed, and the message says how to remove it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simrun.envs.machine.regular_files import append_regular
from simrun.errors import SimrunError

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}

_log = logging.getLogger("simrun")


class LockHeldError(Exception):
    """Somebody else holds a lock; the message ends a sentence about it: how to free the lock, or nothing."""


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock until the block ends; nobody else on any machine holds it meanwhile.

    Args:
        path: the lock file; it is made and stays.
        wait: wait for whoever holds it.

    Raises:
        LockHeldError: somebody else holds it.
        OSError: the lock file cannot be written.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

    # The library takes a folder that is not there, or not to be written to, for a lock that somebody holds.
    append_regular(path).close()

    def acquire(way_out: str) -> None:
        try:
            held.acquire()
        except Timeout:
            if not wait:
                raise
            _log.warning("waiting for another simrun, which holds %s%s", path, way_out)
            held.acquire(timeout=-1)

    held: BaseFileLock = FileLock(path, timeout=0, fallback_to_soft=False)
    way_out = f"; if no simrun of any machine runs there, delete {path}.held"
    try:
        try:
            acquire("")
        except (OSError, NotImplementedError) as error:
            if isinstance(error, Timeout) or getattr(error, "errno", errno.ENOSYS) not in _WITHOUT_LOCKS:
                raise
            held = SoftFileLock(f"{path}.held", timeout=0)
            acquire(way_out)
            _log.warning("%s lies on a file system without locks; %s.held marks who writes there", path.parent, path)
    except Timeout:
        marked = isinstance(held, SoftFileLock)
        raise LockHeldError(way_out if marked else "") from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def sole(path: Path, held: Callable[[str], SimrunError], broken: Callable[[str], SimrunError]) -> Iterator[None]:
    """Hold a lock until the block ends, whose folder is made; where that cannot be, raise what the caller says of it.

    Args:
        path: the lock file.
        held: the error where somebody else holds it, from the end of its sentence: how to free the lock, or nothing.
        broken: the error where the lock file cannot be written, from why.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(path))
        except LockHeldError as error:
            raise held(str(error)) from None
        except OSError as error:
            raise broken(error.strerror or str(error)) from None
        yield
