"""``simrun watch --once`` ends soon, whatever pause is set for a long watch."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from simrun.cli import watch
from simrun.cli.app import app
from simrun.errors import UsageError
from simrun.runners.search.watching.watcher import WatchSettings


@pytest.mark.parametrize(("interval", "pause"), [("1h", 10.0), ("2s", 2.0)])
def test_once_looks_twice_without_a_long_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: str, pause: float
) -> None:
    seen: list[WatchSettings] = []

    def noted(settings: WatchSettings, *_: object, **__: object) -> None:
        seen.append(settings)
        raise UsageError("enough")

    monkeypatch.setattr(watch, "watch", noted)
    line = ["watch", str(tmp_path), "--bench", "tabletop", "--once", "--settle", "3s", "--interval", interval]
    CliRunner().invoke(app, [*line, "--out", str(tmp_path / "out")])
    assert [(settings.interval, settings.idle) for settings in seen] == [(pause, 3.0 + pause)]
