"""How many workers: added while that makes the run faster, retired when it does not; measured while the run goes on.

One worker a core is right for a policy that answers at once. While others think, cores stand still, and more workers
than cores use them; behind a policy that is the bottleneck, workers only wait. `Window` measures a stretch of the run,
`WorkerCount` decides from one stretch to the next. Results never depend on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOST_PER_CORE = 8
"""Workers that are tried on one core at most."""

_SHORTEST = 1.5
_CHUNKS_EACH = 4
_HELPS = 1.03
_HARMLESS = 0.98
_STEP = 1.2
_SMALLEST_JUMP = 1.5
_LARGEST_JUMP = 4.0
_IDLE = 0.1
_SURELY_IDLE = 0.25
_CROWD = 2
_MOSTLY = 0.5
_SATURATED = 0.95
_MOST_WORTH = 10.0
_REST = 8
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Stretch:
    """What was measured in one stretch of a run.

    Attributes:
        rate: chunks a second, each reset counted as a fixed number of them: resets come in bursts and would look like
            news, and they take longer the more workers share the cores, so their time says nothing.
        processor: cores that the workers and the runner kept busy.
        inferring: share of the time in which the policy computed.
        waiting: workers that waited for the policy to be free, on average.
    """

    rate: float
    processor: float
    inferring: float
    waiting: float

    def idle(self, cores: int) -> float:
        """Share of the cores that stood still."""
        return max(0.0, 1 - self.processor / cores)

    def bottleneck(self, cores: int) -> str:
        """What limits the run most: the policy or the processor, and how busy that is."""
        busy = 1 - self.idle(cores)
        return f"inference: {self.inferring:.0%}" if self.inferring >= busy else f"simulation: {busy:.0%}"


@dataclass(frozen=True)
class Usage:
    """What a process has used of the processor (seconds) and holds of the memory (MB, shared pages left out)."""

    processor: float
    memory: int


def usage_of(pid: int) -> Usage | None:
    """What Linux says of a process; None when it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        pages = (folder / "statm").read_text().split()
    except OSError:
        return None
    own = (int(pages[1]) - int(pages[2])) * _PAGE
    return Usage((int(times[11]) + int(times[12])) / _TICKS, own // 1000**2)


class Window:
    """Adds up a stretch of a run, turn by turn of the scheduler's loop.

    It is long enough when every worker has executed some chunks in it, and begins when every worker has begun.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._worth: float | None = None
        self._now = (0, 0, 0.0)
        self.restart((), time.monotonic(), {})

    def restart(self, changing: Iterable[int], now: float, processor: dict[int, float]) -> None:
        """Begin anew.

        Args:
            changing: slots whose worker has not begun yet, or has been retired and not ended yet; the stretch begins
                when none is left.
            now: the time.
            processor: process id -> CPU seconds so far.
        """
        self._open.update(changing)
        self._begin = self._last = now
        self._processor = processor
        self._chunks = self._resets = 0
        self._resetting = self._slots = self._inferring = self._waiting = 0.0

    def turn(self, now: float, live: int, waiting: int, inferring: float) -> None:
        """What is so from now until the next turn: numbers of workers, and the share of the policies that compute."""
        span = now - self._last
        self._last = now
        slots, queue, computing = self._now
        self._now = (live, waiting, inferring)
        self._slots += span * slots
        self._waiting += span * queue
        self._inferring += span * computing

    def inferred(self, seconds: float) -> None:
        """The policy computed for so long between two turns."""
        self._inferring += seconds

    def reset(self, seconds: float) -> None:
        """An episode was reset, which took so long."""
        self._resets += 1
        self._resetting += seconds

    def served(self, chunks: int) -> None:
        """So many chunks were predicted."""
        self._chunks += chunks

    def settled(self, slots: Iterable[int]) -> bool:
        """These slots have begun or ended; True when that was the last one to wait for."""
        before = bool(self._open)
        self._open.difference_update(slots)
        return before and not self._open

    def full(self, live: int) -> bool:
        """Whether there is enough to judge by."""
        return not self._open and self._last - self._begin >= _SHORTEST and self._chunks >= _CHUNKS_EACH * live

    def stretch(self, processor: dict[int, float]) -> Stretch:
        """What was measured, given the CPU seconds now."""
        span = max(1e-9, self._last - self._begin)
        if self._worth is None and self._resets and self._chunks:
            # Chunks that take as long as a reset. Whatever it is, it must not change between what is compared.
            chunk = max(1e-9, self._slots - self._resetting) / self._chunks
            self._worth = min(_MOST_WORTH, self._resetting / self._resets / chunk)
        progress = self._chunks + self._resets * (self._worth or 0.0)
        used = sum(seconds - self._processor.get(pid, 0.0) for pid, seconds in processor.items())
        return Stretch(progress / span, used / span, self._inferring / span, self._waiting / span)


class WorkerCount:
    """Climbs to the number of workers with the most chunks a second, and rests there.

    More are tried while cores stand still, fewer while the policy is busy all the time and workers queue for more than
    its next batch, or while several workers a core fight over it and seldom wait: more may have been kept by luck. What
    a burst of resets may look like must be seen in two stretches, one after the other. A trial that does not help in
    two is taken back, and the next comes after a rest that doubles each time.

    Args:
        count: workers to begin with.
        cores: usable cores.
        most: workers that are never exceeded.

    Attributes:
        count: workers that there shall be now.
    """

    def __init__(self, count: int, cores: int, most: int) -> None:
        self.count = count
        self._most = most
        self._cores = cores
        self._tried: tuple[int, float] | None = None
        self._doubted = False
        self._leant: int | None = None
        self._rest = _REST
        self._resting = 0

    def decide(self, seen: Stretch, room: int, max_batch: int) -> int:
        """The number of workers from now on.

        Args:
            seen: a stretch with the present number.
            room: workers that may be added now: memory holds them, and there is work for long enough. Below 0: so many
                must go, because the memory is used up.
            max_batch: the most requests that are served at the same time.
        """
        if room < 0:
            self._take_back(max(1, self.count + room))
        elif self._tried is not None and not self._has_helped(seen, *self._tried):
            if self._doubted:
                self._take_back(self._tried[0])
            else:
                # One stretch may have met a burst of resets, or somebody else's use of the machine.
                self._doubted = True
        elif self._resting:
            self._resting -= 1
        else:
            wanted = self._wanted(seen, room, max_batch)
            self._tried = (self.count, seen.rate) if wanted != self.count else None
            self._doubted = False
            self.count = wanted
        return self.count

    def _has_helped(self, seen: Stretch, before: int, rate: float) -> bool:
        queueing = self.count < before and seen.inferring >= _SATURATED
        return seen.rate >= rate * (_HARMLESS if queueing else _HELPS)

    def _take_back(self, count: int) -> None:
        self.count = count
        self._tried = None
        self._leant = None
        self._doubted = False
        self._resting = self._rest
        self._rest *= 2

    def _wanted(self, seen: Stretch, room: int, max_batch: int) -> int:
        """The number to try next; the present one where nothing calls for another."""
        fewer = max(2, round(self.count / _SMALLEST_JUMP))
        if seen.inferring >= _SATURATED and seen.waiting >= max_batch:
            queueing = seen.waiting > max(max_batch, self.count / 2)
            return fewer if queueing and self.count > 2 else self.count
        idle = seen.idle(self._cores)
        # Behind a policy that computes most of the time more workers wait than run, and batches grow.
        crowded = idle < _IDLE and self.count > _CROWD * self._cores and seen.inferring < _MOSTLY
        leaning = -1 if crowded else int(idle >= _IDLE)
        sure = leaning == self._leant or (self._leant is None and idle >= _SURELY_IDLE)
        self._leant = leaning
        if leaning == 0 or not sure:
            return self.count
        self._leant = None
        if crowded:
            return fewer
        # As many as would keep the cores busy if the policy kept up; where it does not, batches grow.
        factor = min(_LARGEST_JUMP, max(_SMALLEST_JUMP, self._cores / max(seen.processor, 1e-9)))
        more = min(self._most, self.count + room, max(self.count + 1, round(self.count * factor)))
        return more if more >= _STEP * self.count else self.count
