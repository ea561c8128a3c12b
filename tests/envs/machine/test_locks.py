"""Locks between processes, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from simrun.envs.machine.locks import LockHeldError, lock

HOLD = "import sys; from pathlib import Path; from simrun.envs.machine.locks import lock\n"
HOLD += "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def holder(file: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is mounted without locks."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "journal.lock"
    other = holder(file)
    with pytest.raises(LockHeldError) as held, lock(file):
        pass
    assert str(held.value) == ""
    other.kill()
    other.communicate()
    # What a killed process held is free.
    with lock(file):
        pass


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_marker_excludes_and_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "journal.lock"
    marker = tmp_path / "journal.lock.held"
    with lock(file):
        assert str(os.getpid()) in marker.read_text()
        with pytest.raises(LockHeldError, match=f"if no simrun of any machine runs there, delete {marker}"), lock(file):
            pass
    assert not marker.exists()
    assert "a file system without locks" in caplog.text


@pytest.mark.usefixtures("without_locks")
def test_a_marker_of_a_dead_process_counts_for_nothing_and_of_another_host_is_believed(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here.lock", tmp_path / "elsewhere.lock"
    # In a container a marker names the processes' namespace too, so one that died makes it itself.
    dies = (
        "import os, sys; from filelock import SoftFileLock; (held := SoftFileLock(sys.argv[1])).acquire(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", dies, f"{here}.held"], check=True)
    assert (tmp_path / "here.lock.held").exists()
    (tmp_path / "elsewhere.lock.held").write_text("4000000\nanother-host\n")
    with lock(here):
        pass
    with pytest.raises(LockHeldError, match=r"elsewhere\.lock\.held"), lock(elsewhere):
        pass


@pytest.mark.usefixtures("without_locks")
def test_whoever_waits_says_for_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of another host nobody knows whether it lives: without a word it would be waited for in silence, for ever."""
    marker = tmp_path / "pins.lock.held"
    marker.write_text("4000000\nanother-host\n")
    timer = threading.Timer(0.3, marker.unlink)
    timer.start()
    with lock(tmp_path / "pins.lock", wait=True):
        pass
    assert f"delete {marker}" in caplog.text


def test_a_folder_that_is_not_there_is_no_lock_that_is_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), lock(tmp_path / "no" / "journal.lock"):
        pass
