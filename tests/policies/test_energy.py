"""The energy of a card: of the one that CUDA means, adding up over inferences, and None where nobody tells."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from simrun.policies.energy import EnergyMeter, energy_counter


class NVMLError(Exception):
    """What pynvml raises."""


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for NVIDIA's library: two cards, whose counters stand at 5,000 and 9,000 millijoules."""
    cards = {0: 5000, 1: 9000}

    def handle(key: object) -> int:
        if key not in (*cards, "GPU-b"):
            raise NVMLError
        return 1 if key == "GPU-b" else int(str(key))

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=cards.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)  # type: ignore[arg-type]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return cards


@pytest.mark.parametrize(
    ("device", "visible", "joules"),
    [("cuda", None, 5.0), ("cuda:1", None, 9.0), ("cuda:0", "1", 9.0), ("cuda", "GPU-b,GPU-a", 9.0)],
)
def test_it_reads_the_card_that_cuda_means(
    nvml: dict[int, int], monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, joules: float
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    read = energy_counter(device)
    assert read is not None
    assert read() == joules
    nvml[0] += 1000
    nvml[1] += 1000
    assert read() == joules + 1


@pytest.mark.parametrize(("device", "visible"), [("cpu", None), ("remote", None), ("cuda:7", None), ("cuda:1", "0")])
def test_where_nobody_tells_there_is_no_number(
    nvml: dict[int, int], monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert energy_counter(device) is None


def test_without_the_library_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_counter("cuda") is None


@pytest.mark.parametrize("pause", [0.0, 0.016, 0.092, 2.0])
def test_what_is_told_adds_up_though_the_counter_moves_in_tenths_of_a_second(pause: float) -> None:
    now, readings = 100.0, 0

    def read() -> float:
        """A card of 300 W whose counter moves ten times a second, as an H100's was measured to."""
        nonlocal readings
        readings += 1
        return 300 * (int(now * 10) / 10 - 100)

    meter = EnergyMeter(read, lambda: now)
    told = []
    while now < 160:
        now += 0.008 + pause
        told.append(meter.joules())
    # A reading may miss a tenth of a second, and what is told lags by a second.
    assert sum(told) == pytest.approx(300 * (now - 100), rel=0.02)
    assert readings <= 62
    assert max(told[len(told) // 2 :]) == pytest.approx(300 * (0.008 + pause), rel=0.15)
