"""Kills: a running sweep loses its runner, a worker or a policy process, and is resumed; the result must be equal.

SIGSTOP of a runner means: its workers are stopped, then it is killed; nothing may be left of either. A trial counts
only if its signal hit a living process: where the sweep ended before, it is disturbed earlier.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SIGNALS = ("KILL", "SEGV", "STOP", "TERM", "INT")
_MARKS = {"worker": "simrun.runners.engine.worker", "policy": "simrun.runners.engine.policy_worker"}
_LONGEST = 300
_NETWORK = next((Path(__file__).parents[2] / "examples" / "checkpoints").glob("*.onnx"))


@dataclass(frozen=True)
class Sweep:
    """A sweep to disturb.

    Attributes:
        name: what it is called in the table.
        options: its command line.
        targets: roles of processes that can be killed.
        share: how many of twelve trials are its own.
        timeout: seconds that a worker may be silent.
        workers: how many there are.
    """

    name: str
    options: Sequence[str]
    targets: tuple[str, ...] = ("runner", "worker")
    share: int = 1
    timeout: int = 90
    workers: int = 2


def _options(line: str) -> tuple[str, ...]:
    return tuple(line.split())


SWEEPS = (
    Sweep(
        "tabletop",
        _options("--bench tabletop --ckpt scripted:random --tasks reach_* --episodes 0:6"),
        share=5,
        timeout=15,
    ),
    Sweep(
        "policy process",
        _options(f"--bench tabletop --ckpt {_NETWORK} -p python={sys.executable} --tasks reach_* --episodes 0:4"),
        targets=("policy", "runner", "worker"),
        share=3,
        timeout=15,
    ),
    Sweep("calvin", _options("--bench calvin --ckpt scripted:random --episodes 0:4"), share=2, timeout=30, workers=1),
    Sweep(
        "libero_10",
        _options("--bench libero_10 --ckpt scripted:random --tasks *both_moka* --set max_steps=20 --episodes 0:4"),
        share=2,
        workers=1,
    ),
)


@cache
def possible(sweep: Sweep) -> bool:
    """Whether the benchmark of a sweep is set up here; the embedded one always is."""
    if sweep.options[1] == "tabletop":
        return True
    line = [sys.executable, "-m", "simrun", "doctor", sweep.options[1]]
    return subprocess.run(line, capture_output=True, timeout=_LONGEST).returncode == 0


class Whole:
    """A sweep that nobody disturbs: what it gives, and how long it takes.

    Args:
        sweep: the sweep.
        folder: where its runs go.
    """

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.sweep = sweep
        self.out = folder / f"{sweep.name}-killed"
        out, lasted = folder / sweep.name, folder / f"{sweep.name}.seconds"
        if not lasted.exists():
            began = time.monotonic()
            subprocess.run(self.command(out), check=True, capture_output=True)
            lasted.write_text(f"{time.monotonic() - began}")
        self.seconds = float(lasted.read_text())
        self.outcomes = _outcomes(out)

    def command(self, out: Path) -> list[str]:
        """The command line of the sweep into a folder."""
        return [sys.executable, "-m", "simrun", *self.sweep.options, "--workers", str(self.sweep.workers),
                "--quiet", "--timeout", str(self.sweep.timeout), "--out", str(out)]  # fmt: skip

    def disturb(self, target: str, name: str, draw: random.Random) -> str:
        """Disturb the sweep, resume it, compare; ``equal`` or the fault."""
        delay = draw.uniform(0.05, 0.9) * self.seconds
        while True:
            shutil.rmtree(self.out, ignore_errors=True)
            runner = subprocess.Popen(
                self.command(self.out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            own = _wait(runner, target, delay)
            hit = _hit(runner, own, target, name, draw)
            try:
                _, said = runner.communicate(timeout=_LONGEST)
            except subprocess.TimeoutExpired:
                for pid in (runner.pid, *own):
                    _kill(pid, signal.SIGKILL)
                return "it hung"
            if hit:
                break
            delay /= 2
        if b"Traceback" in said:
            return f"traceback: {said.decode(errors='replace').strip().splitlines()[-1][:120]}"
        deadline = time.monotonic() + 10
        while left := [pid for pid in own if _alive(pid)]:
            if time.monotonic() > deadline:
                for pid in left:
                    _kill(pid, signal.SIGKILL)
                return "a process outlived the runner"
            time.sleep(0.05)
        again = subprocess.run(self.command(self.out), capture_output=True, timeout=2 * _LONGEST)
        if again.returncode or b"Traceback" in again.stderr:
            last = again.stderr.decode(errors="replace").strip()[-200:]
            return f"the resumption ended with {again.returncode}: {last}"
        return "equal" if _outcomes(self.out) == self.outcomes else "another result"


def _wait(runner: subprocess.Popen[bytes], target: str, delay: float) -> list[int]:
    """Wait for the moment; where the process to kill is not there yet, for that one."""
    time.sleep(delay)
    while runner.poll() is None:
        own = _family(runner.pid)
        if target == "runner" or any(_role(pid) == target for pid in own):
            return own
        time.sleep(0.02)
    return []


def _hit(runner: subprocess.Popen[bytes], own: list[int], target: str, name: str, draw: random.Random) -> bool:
    """Send the signal; whether it reached somebody who lived."""
    if runner.poll() is not None:
        return False
    chosen = signal.Signals[f"SIG{name}"]
    if target != "runner":
        return _kill(draw.choice([pid for pid in own if _role(pid) == target]), chosen)
    if name == "STOP":
        for pid in own:
            _kill(pid, signal.SIGSTOP)
        chosen = signal.SIGKILL
    return _kill(runner.pid, chosen)


def _kill(pid: int, chosen: signal.Signals) -> bool:
    if not _alive(pid):
        return False
    try:
        os.kill(pid, chosen)
    except ProcessLookupError:
        return False
    return True


def _outcomes(run: Path) -> dict[Any, Any]:
    from simrun.results import read_run

    return {record.key: record.outcome() for record in read_run(run) if record.completed}


def _family(pid: int) -> list[int]:
    """The descendants of a process."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                children += [child, *_family(child)]
    return children


def _role(pid: int) -> str | None:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    return next((role for role, mark in _MARKS.items() if mark in line), None)


def _alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
