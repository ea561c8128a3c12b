"""How long a table of many episodes takes: journals on disk to text, in seconds of CPU and of clock.

    python benchmarks/tabulation.py [--records 100000]

The records are synthetic: chains of CALVIN's length and episodes of 50 tasks, over several checkpoints and variants.
Target: 100,000 records in under 5 seconds, reading included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from msgspec.structs import asdict
from synthetic_records import synthetic_record

from simrun.doors import LAYOUTS, offers
from simrun.envs import Episode
from simrun.results.plan import Candidate
from simrun.results.pooling import cells_of
from simrun.results.run import Run
from simrun.results.tables import render, table_of_cells

_VARIANTS = ("full", "half", "single", "k=2", "ensemble")
_SEQUENCES = 1000
_TASKS, _TRIALS = 50, 20


def _write_run(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    chains = [Episode("calvin_abcd/standard@1", "sequence", trial) for trial in range(_SEQUENCES)]
    single = [
        Episode("robotwin_easy/standard@1", f"task_{task}", trial) for task in range(_TASKS) for trial in range(_TRIALS)
    ]
    cells = []
    written = 0
    (folder / "journal").mkdir(parents=True)
    with (folder / "journal" / "main.jsonl").open("w", encoding="utf-8") as file:
        for index in range(count):
            if written >= count:
                break
            checkpoint, execution = f"step_{index // len(_VARIANTS)}", _VARIANTS[index % len(_VARIANTS)]
            candidate = Candidate(checkpoint, execution, 0)
            cells.append(asdict(candidate))
            for episode in (*chains, *single):
                chain = episode.benchmark == "calvin_abcd"
                score = float(np.cumprod(generator.random(5 if chain else 1) < 0.8).sum())
                record = synthetic_record(candidate, episode, score, chain=chain)
                file.write(json.dumps(asdict(record), separators=(",", ":")) + "\n")
            written += len(chains) + len(single)
    plan = {"hash": "", "cells": cells, "episodes": [episode.id for episode in (*chains, *single)]}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    (folder / "run.json").write_text("{}", encoding="utf-8")


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        _write_run(folder, count)
        start, clock = time.process_time(), time.perf_counter()
        cells = cells_of([Run.read(folder)])
        read = time.process_time() - start
        text = render(table_of_cells(cells))
        cpu, wall = time.process_time() - start, time.perf_counter() - clock
        records = sum(cell.n for cell in cells)
        print(
            f"{records} records, {len(cells)} cells: {cpu:.2f} s CPU ({read:.2f} s reading), {wall:.2f} s by the clock"
        )
        print(f"the table has {len(text.splitlines())} lines")
        for layout in offers(LAYOUTS):
            start = time.process_time()
            render(table_of_cells(cells, layout))
            print(f"layout {layout}: {time.process_time() - start:.2f} s CPU")
    return 0 if cpu < 5 else 1


if __name__ == "__main__":
    raise SystemExit(_main())
