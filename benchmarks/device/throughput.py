"""Chunks a second of whole runs: by workers, with workers that the run chooses, on a full card, with two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timed_runs import timed_run

from device.networks import BENCH, load, observations
from device.scale import CARD, Scale
from simrun.policies import Observation, Policy

_OPTIONS: dict[str, Any] = {"policy_seeds": list(range(100))}
_LINE = "RATE "


def workers_rows(scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """Every number of workers for the main network, some for the others."""
    yield from _by_workers(scale, folder, scale.main, scale.workers)
    for millions in scale.networks:
        if millions != scale.main:
            yield from _by_workers(scale, folder, millions, scale.few_workers)


def adaptive_rows(scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """No number of workers given; what counts is the end of the run, when it has chosen."""
    for millions in scale.networks:
        policy = load(millions, scale, folder)
        warm_up = scale.adaptive_seconds - (scale.seconds - scale.warm_up)
        rate = timed_run(policy, BENCH, scale.adaptive_seconds, warm_up, **_OPTIONS)
        yield {"million_parameters": millions, **asdict(rate), "workers": f"chosen: {rate.workers}"}
        policy.close()


def software_rows(scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """The main network with as many workers as cores, pictures drawn by Mesa: the caller has chosen it."""
    yield from _by_workers(scale, folder, scale.main, (os.cpu_count() or 1,))


def memory_rows(scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """The largest network on a card that something else has filled meanwhile."""
    policy = CrowdedCard(load(max(scale.networks), scale, folder), scale)
    count = scale.some_workers
    rate = timed_run(policy, BENCH, scale.seconds, scale.warm_up, workers=count, max_batch=count, **_OPTIONS)
    yield {"asked": policy.asked, **asdict(rate), "workers": count}
    policy.close()


def together_rows(scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """One process with all workers beside two on the same card with half of them each."""
    count = scale.some_workers
    for millions in sorted({scale.main, max(scale.networks)}):
        for processes in (1, 2):
            rates = _side_by_side(scale, folder, millions, count // processes, processes)
            yield {
                "million_parameters": millions,
                "processes": processes,
                "workers_each": count // processes,
                "chunks": sum(rate["chunks"] for rate in rates),
                "rates": rates,
            }


class CrowdedCard(Policy):
    """A policy whose card fills up after its first inferences, until ``headroom`` observations' memory is left.

    Without a card it fails as torch does for larger batches than that.
    """

    def __init__(self, policy: Policy, scale: Scale) -> None:
        self.spec = policy.spec
        self.asked: list[int] = []
        self._policy = policy
        self._scale = scale
        self._filler: Any = None

    def infer(self, seen: Sequence[Observation]) -> np.ndarray:
        """Ask the policy, on a card that is full from the tenth inference on."""
        self.asked.append(len(seen))
        if len(self.asked) == 10 and self._scale is CARD:
            self._fill()
        if len(self.asked) >= 10 and self._scale is not CARD and len(seen) > self._scale.headroom // 2:
            raise torch.OutOfMemoryError("CUDA out of memory (dry run)")
        return self._policy.infer(seen)

    def close(self) -> None:
        """Free both."""
        self._filler = None
        self._policy.close()

    def _fill(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self._policy.infer(observations(4))
        each = (torch.cuda.max_memory_allocated() - before) // 4
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        self._filler = torch.empty(max(0, free - self._scale.headroom * each), dtype=torch.uint8, device="cuda")


def _by_workers(scale: Scale, folder: Path, millions: int, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    policy = load(millions, scale, folder)
    for count in counts:
        rate = timed_run(policy, BENCH, scale.seconds, scale.warm_up, workers=count, **_OPTIONS)
        yield {"million_parameters": millions, **asdict(rate), "workers": count}
    policy.close()


def _side_by_side(scale: Scale, folder: Path, millions: int, count: int, processes: int) -> list[dict[str, Any]]:
    go = folder / f"go-{millions}-{processes}"
    name = "card" if scale is CARD else "dry"
    script = str(Path(__file__).parents[1] / "device_check.py")
    command = [sys.executable, script, "rate", name, str(folder), str(millions), str(count), str(go)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    try:
        while len(list(folder.glob(f"{go.name}.ready-*"))) < processes:
            if any(process.poll() is not None for process in running):
                raise SystemExit(f"a process that should load {millions} million parameters ended")
            time.sleep(0.05)
        go.touch()
        answers = [process.communicate()[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [json.loads(text.split(_LINE)[1]) for text in answers]


def serve_rate(scale: Scale, folder: Path, millions: int, count: int, go: Path) -> None:
    """One process of `together_rows`: load, wait for the others, run, print."""
    policy = load(millions, scale, folder)
    go.with_name(f"{go.name}.ready-{os.getpid()}").touch()
    while not go.exists():
        time.sleep(0.01)
    rate = timed_run(policy, BENCH, scale.seconds, scale.warm_up, workers=count, **_OPTIONS)
    print(_LINE + json.dumps(asdict(rate)), flush=True)
