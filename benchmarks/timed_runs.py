"""Runs that last as long as they are given, and how many chunks a second they came to; one copy for all benchmarks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simrun.api import evaluate
from simrun.policies import Policy
from simrun.results import EpisodeRecord
from simrun.runners.engine.progress import SilentDisplay


@dataclass
class Rate:
    """What was counted between two moments of a run.

    Attributes:
        chunks: chunks a second that the policy predicted, and workers executed.
        batch: mean number of observations in an inference.
        busy: share of the time in which the policy computed.
        episodes: episodes that ended while the run lasted.
        workers: workers at the end, where the run has measured that.
        remarks: what the run said.
    """

    chunks: float
    batch: float
    busy: float
    episodes: int
    workers: int | None = None
    remarks: list[str] = field(default_factory=list)


class Stopwatch(SilentDisplay):
    """Notes every inference and every record, and stops the run ``seconds`` after the first that is noted.

    Args:
        seconds: how long.
        ready: says whether inferences are noted by now.
    """

    def __init__(self, seconds: float, ready: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self.records: list[EpisodeRecord] = []
        self.remarks: list[str] = []
        self.workers: int | None = None
        self._seconds = seconds
        self._ready = ready
        self._inferences: list[tuple[float, int, float]] = []

    def finished(self, record: EpisodeRecord) -> None:
        """Keep the record."""
        super().finished(record)
        self.records.append(record)

    def inferred(self, batch: int, seconds: float) -> None:
        """Note the moment."""
        super().inferred(batch, seconds)
        if self._inferences or self._ready():
            self._inferences.append((time.monotonic(), batch, seconds))

    def measured(self, bottleneck: str, workers: int) -> None:
        """Keep the number."""
        super().measured(bottleneck, workers)
        self.workers = workers

    def remark(self, text: str) -> None:
        """Keep what is said."""
        self.remarks.append(text)

    def tick(self) -> None:
        """Stop when the time is over, as a user does with Ctrl-C."""
        if self._inferences and time.monotonic() > self._inferences[0][0] + self._seconds:
            raise KeyboardInterrupt

    def rate(self, warm_up: float) -> Rate:
        """What was counted, without the first ``warm_up`` seconds after the first inference."""
        begin = self._inferences[0][0] + warm_up
        first, *counted = [entry for entry in self._inferences if entry[0] > begin] or [(0.0, 0, 0.0)]
        if not counted:
            return Rate(0.0, 0.0, 0.0, len(self.records), self.workers, self.remarks)
        # From inference to inference: with many workers one at the edge is a good part of a short stretch.
        span = counted[-1][0] - first[0]
        chunks = sum(batch for _, batch, _ in counted)
        busy = sum(seconds for _, _, seconds in counted)
        return Rate(chunks / span, chunks / len(counted), busy / span, len(self.records), self.workers, self.remarks)


def timed_run(
    policy: Policy,
    bench: str,
    seconds: float,
    warm_up: float,
    ready: Callable[[], bool] = lambda: True,
    **options: Any,
) -> Rate:
    """Evaluate a policy for so long; there must be more episodes than fit into the time.

    Args:
        policy: the policy; it stays open.
        bench: the benchmark.
        seconds: how long, from the first inference for which the run was ready.
        warm_up: seconds after the first inference that are not counted: workers still start in them.
        ready: says whether the time begins by now.
        options: fields of `SweepConfig`.
    """
    watch = Stopwatch(seconds, ready)
    with tempfile.TemporaryDirectory() as folder:
        try:
            evaluate(policy, bench, out=Path(folder) / "run", display=watch, **options)
        except KeyboardInterrupt:
            return watch.rate(warm_up)
    raise SystemExit(f"{bench}: all episodes ended within {seconds:g} s; give more of them")
