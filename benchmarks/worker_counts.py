"""Workers that a run chooses itself, against every fixed number of them.

    python benchmarks/worker_counts.py tabletop [--think 0 20 100 400] [--counts 1 2 4 8 16] [--batch 1] [--seconds 12]
    python benchmarks/worker_counts.py --report results.json

The policy sleeps for each inference, whatever its batch, as a network on a graphics card does; ``--batch 1`` makes it
serve one observation after the other. Each number of workers runs for ``--seconds`` after each of them has begun; the
run without a number for five times as long, and the same stretch at its end counts, when it has chosen.
Results are added to ``--json`` after each run, and what is there already is not measured again, so that the same
command goes on where a session was cut short. ``--report`` prints the table of docs/performance.md. A
benchmark other than tabletop needs its data files and its interpreter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timed_runs import timed_run

from simrun.envs import get_benchmark
from simrun.policies import Observation, Policy, PolicySpec

CHUNK = 10
_WARM_UP = 0.4
_LONGER = 5
_SEEDS = list(range(40))


class Thinker(Policy):
    """Holds still after thinking for ``seconds``, and looks at every camera."""

    def __init__(self, bench: str, seconds: float, max_batch: int | None) -> None:
        actions = next(iter(get_benchmark(bench).action_specs.values()))
        self.spec = PolicySpec("thinker", CHUNK, max_batch_size=max_batch, device="python")
        self._chunk = np.tile(actions.neutral_action(), (CHUNK, 1))
        self._seconds = seconds
        self.slots: set[int] = set()

    def infer(self, observations: Sequence[Observation]) -> np.ndarray:
        """The neutral action, again and again."""
        self.slots.update(seen.slot for seen in observations)
        time.sleep(self._seconds)
        return np.repeat(self._chunk[None], len(observations), axis=0)


def measure(options: argparse.Namespace, think: float, count: int | None) -> dict[str, Any]:
    """Chunks a second with so many workers; None lets the run choose."""
    policy = Thinker(options.benchmark, think / 1000, options.batch)
    seconds = options.seconds if count else _LONGER * options.seconds
    counted = (1 - _WARM_UP) * options.seconds
    rate = timed_run(
        policy,
        options.benchmark,
        seconds,
        seconds - counted,
        lambda: count is None or len(policy.slots) >= count,
        workers=count,
        policy_seeds=_SEEDS,
        **({"tasks": options.tasks} if options.tasks else {}),
    )
    return {
        "benchmark": options.benchmark,
        "think": think,
        "batch": options.batch,
        "workers": count,
        "chunks": rate.chunks,
        "used": rate.workers,
    }


def render(rows: list[dict[str, Any]]) -> str:
    """One line for each benchmark, policy and kind of batches."""
    counts = sorted({row["workers"] for row in rows if row["workers"]})
    headings = ["benchmark", "policy", "batches", *map(str, counts), "chosen", "of the best"]
    lines = [headings, ["---"] * len(headings)]
    for key in dict.fromkeys((row["benchmark"], row["think"], row["batch"]) for row in rows):
        own = [row for row in rows if (row["benchmark"], row["think"], row["batch"]) == key]
        fixed = {row["workers"]: row["chunks"] for row in own if row["workers"]}
        chosen = next((row for row in own if not row["workers"]), None)
        share = f"{chosen['chunks'] / max(fixed.values()):.2f}" if chosen and fixed else "-"
        found = f"{chosen['chunks']:.0f} ({chosen['used']} workers)" if chosen else "-"
        cells = [f"{fixed[count]:.0f}" if count in fixed else "-" for count in counts]
        batches = "one by one" if key[2] == 1 else "together"
        lines.append([key[0], f"{key[1]:g} ms", batches, *cells, found, share])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure what is asked for, the run that chooses first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="?")
    parser.add_argument("--think", type=float, nargs="+", default=[0, 20, 100, 400], help="ms an inference")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 3, 4, 6, 8, 12, 16])
    parser.add_argument("--batch", type=int, help="largest batch [default: as many as there are workers]")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--json", type=Path, default=Path("worker_counts.json"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.report:
        print(render(json.loads(options.report.read_text())))
        return
    if not options.benchmark:
        parser.error("name a benchmark, or a file to report")
    for think in options.think:
        for count in (None, *options.counts):
            rows = json.loads(options.json.read_text()) if options.json.exists() else []
            wanted = {"benchmark": options.benchmark, "think": think, "batch": options.batch, "workers": count}
            if any(wanted.items() <= row.items() for row in rows):
                continue
            rows.append(measure(options, think, count))
            options.json.write_text(json.dumps(rows, indent=1))
            print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
