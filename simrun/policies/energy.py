"""The energy that a graphics card takes, where it tells: NVIDIA's count it since Volta, and ``pynvml`` reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

_SPAN = 1.0
"""Seconds between two readings. An H100's counter moves ten times a second, and a reading takes 3 to 8 ms: around each
inference it would tell anything but the inference's energy, and slow the policy down."""


class EnergyMeter:
    """Tells what a card has taken since it was asked before, idle moments in between included.

    What is told follows the mean power between the last two readings, so that it adds up to what the card has taken
    with a second's delay; in the first second nothing is told, and made up for afterwards.

    Args:
        read: what reads the joules that the card has taken so far.
        clock: the time in seconds.
    """

    def __init__(self, read: Callable[[], float], clock: Callable[[], float] = time.perf_counter) -> None:
        self._read, self._clock = read, clock
        self._joules, self._read_at = read(), clock()
        self._told_at = self._read_at
        self._watts: float | None = None

    def joules(self) -> float:
        """Joules since the call before."""
        now = self._clock()
        if now - self._read_at >= _SPAN:
            joules = self._read()
            self._watts = (joules - self._joules) / (now - self._read_at)
            self._joules, self._read_at = joules, now
        if self._watts is None:
            return 0.0
        told = self._watts * (now - self._told_at)
        self._told_at = now
        return told


def energy_counter(device: str) -> Callable[[], float] | None:
    """What reads the joules that a card has taken since its driver was loaded; None where nobody tells.

    The card's whole consumption is counted, whoever uses it: a card that others compute on tells too much.

    Args:
        device: the policy's device: ``cuda``, ``cuda:1``.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        card = _card(pynvml, int(index or 0))
        pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except (pynvml.NVMLError, ValueError, IndexError):
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1000


def _card(pynvml: Any, index: int) -> Any:
    """The card of a CUDA index, which counts only what ``CUDA_VISIBLE_DEVICES`` shows: indices or UUIDs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = visible.split(",")[index].strip() if visible else str(index)
    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(name)
