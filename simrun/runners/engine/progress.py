"""Progress: a live view on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from simrun.envs.scoring import Scoring, rounded
from simrun.results import EpisodeRecord
from simrun.results.plan import Plan

_PERCENT = Scoring()
_PARTS = ("reset", "physics", "render", "inference")


@dataclass
class Tally:
    """What has been seen of one checkpoint under one execution variant.

    Attributes:
        planned: episodes it shall have.
        done: episodes it has, those of earlier sessions included.
        completed: completed episodes of this session.
        successes: successes among them.
        score: sum of their scores.
        errors: episodes lost to the infrastructure.
    """

    planned: int = 0
    done: int = 0
    completed: int = 0
    successes: int = 0
    score: float = 0.0
    errors: int = 0

    def rate(self) -> str:
        """Successful episodes so far, in percent.

        Without an interval: that of the table counts initial states and weighs tasks equally, which a part of a run
        cannot, and one over all episodes alike would be narrower than what the table says in the end.
        """
        return _PERCENT.number(self.successes / self.completed) if self.completed else "-"


@dataclass
class Tallies:
    """Everything a display shows."""

    rows: dict[tuple[str, str], Tally] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*_PARTS, "waiting"), 0.0))
    finish_times: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    batches: int = 0
    batched: int = 0
    bottleneck: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def planned(self) -> int:
        """Episodes of the whole run."""
        return sum(row.planned for row in self.rows.values())

    @property
    def done(self) -> int:
        """Episodes that have a record."""
        return sum(row.done for row in self.rows.values())

    def speed(self) -> float:
        """Episodes a second, over the last 200 of this session."""
        if not self.finish_times:
            return 0.0
        since = self.started if len(self.finish_times) < 200 else self.finish_times[0]
        return len(self.finish_times) / max(1e-9, time.monotonic() - since)

    def remaining(self) -> str:
        """Time to the end at the present speed."""
        speed = self.speed()
        return _duration((self.planned - self.done) / speed) if speed else "-"

    def summary(self) -> str:
        """One line: speed, batch size, workers, what limits the run, and where the workers' time goes."""
        total = sum(self.seconds.values()) or 1.0
        shares = ", ".join(f"{part} {100 * seconds / total:.0f}%" for part, seconds in self.seconds.items())
        batch = self.batched / self.batches if self.batches else 0.0
        return f"{self.speed():.2f} episodes/s, ETA {self.remaining()}, batch {batch:.1f}{self.bottleneck}; {shares}"


class Display(ABC):
    """Shows what a session does; a context manager around it."""

    def __init__(self) -> None:
        self.tallies = Tallies()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        self.show(final=True)

    def planned(self, plan: Plan, done: Collection[tuple[str, str, int, str]]) -> None:
        """The plan is known, and what earlier sessions recorded of it."""
        for candidate in plan.candidates:
            row = self.tallies.rows.setdefault((candidate.checkpoint, candidate.execution), Tally())
            row.planned += len(plan.episodes)
        for checkpoint, execution, _, _ in done:
            self.tallies.rows[checkpoint, execution].done += 1
        self.tallies.started = time.monotonic()

    def collapsed(self, checkpoint: str, variants: list[str]) -> None:
        """These variants execute what another one does, and are left out."""
        for variant in variants:
            self.tallies.rows.pop((checkpoint, variant), None)

    def finished(self, record: EpisodeRecord) -> None:
        """An episode was recorded."""
        row = self.tallies.rows.setdefault((record.checkpoint, record.execution), Tally())
        row.done += 1
        if record.completed:
            row.completed += 1
            row.successes += record.success
            row.score += record.score
        else:
            row.errors += 1
        spent, timings = 0.0, record.timings
        for part in _PARTS:
            self.tallies.seconds[part] += timings.get(part, 0.0)
            spent += timings.get(part, 0.0)
        self.tallies.seconds["waiting"] += max(0.0, timings.get("wall", 0.0) - spent)
        self.tallies.finish_times.append(time.monotonic())

    def inferred(self, batch: int, seconds: float) -> None:
        """A batch was predicted."""
        self.tallies.batches += 1
        self.tallies.batched += batch

    def measured(self, bottleneck: str, workers: int) -> None:
        """What limits the run now, and how many workers there are."""
        self.tallies.bottleneck = f"; {workers} workers, limited by {bottleneck}"

    def loading(self, checkpoint: str) -> None:
        """A checkpoint is being loaded."""
        self.remark(f"loading {checkpoint}")

    @abstractmethod
    def remark(self, text: str) -> None:
        """Something the user should read."""

    def tick(self) -> None:
        """Some time has passed."""
        self.show()

    @abstractmethod
    def show(self, final: bool = False) -> None:
        """Show the state now; ``final`` once at the end."""


class SilentDisplay(Display):
    """Shows nothing; for Python callers and tests."""

    def remark(self, text: str) -> None:
        """Say nothing."""

    def show(self, final: bool = False) -> None:
        """Show nothing."""


class PlainDisplay(Display):
    """Lines for logs: one now and then, and one at the end.

    Args:
        stream: where to write; standard error by default.
    """

    interval = 15.0
    """Seconds between two lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._last = time.monotonic()

    def remark(self, text: str) -> None:
        """Write the remark as a line."""
        print(f"simrun: {text}", file=self._stream, flush=True)

    def show(self, final: bool = False) -> None:
        """Write a line if the last one is old enough."""
        now = time.monotonic()
        if final or now - self._last >= self.interval:
            self._last = now
            self.remark(self.state())

    def state(self) -> str:
        """The line."""
        return f"{self.tallies.done}/{self.tallies.planned} episodes; {self.tallies.summary()}"


class LiveDisplay(Display):
    """A bar and a table that are redrawn in place.

    Args:
        console: the terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._bar = Progress(
            TextColumn("episodes"), BarColumn(None), MofNCompleteColumn(), TextColumn("{task.percentage:.0f}%")
        )
        self._task: TaskID = self._bar.add_task("episodes", total=None)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def remark(self, text: str) -> None:
        """Print the remark above the bar."""
        self._console.print(Text(text), style="dim")

    def show(self, final: bool = False) -> None:
        """Redraw happens by itself, four times a second."""

    def _render(self) -> Group:
        self._bar.update(self._task, total=self.tallies.planned or None, completed=self.tallies.done)
        return Group(self._bar, self._rows(), Text(self.tallies.summary(), style="dim"))

    def _rows(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("checkpoint", "execution", "episodes", "success %, by episodes so far", "mean score"):
            table.add_column(heading, justify="left" if heading in ("checkpoint", "execution") else "right")
        rows = [entry for entry in self.tallies.rows.items() if entry[1].done < entry[1].planned or entry[1].completed]
        for (checkpoint, execution), row in rows[-12:]:
            score = rounded(row.score / row.completed, 2) if row.completed else "-"
            lost = f" ({row.errors} lost)" if row.errors else ""
            table.add_row(Text(checkpoint), execution, f"{row.done}/{row.planned}{lost}", row.rate(), score)
        return table


def make_display(console: Console, *, quiet: bool = False) -> Display:
    """The display that suits where the output goes."""
    if quiet:
        return SilentDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
