"""The page frozen into one file: everything that it may ask for lies in it."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import open_to_write, read_regular
from simrun.envs.protocols import plain_name
from simrun.errors import JournalError, UnknownNameError
from simrun.results.page.document import Document
from simrun.results.page.shell import page
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run

VIDEO_CHOICES = ("linked", "embedded")
"""Videos stand beside the page, or are part of it."""

_MOST_PAIRS = 45
"""Pairs of cells whose comparison is frozen; beyond it, those with the first cell."""

_MOST_PARTINGS = 20
"""Of each comparison, so many initial states are frozen side by side, those that both recorded first."""

_MOST_CHARTS = 2000
"""Episodes whose recorded actions are frozen; further ones come without them."""


def write_report(runs: Sequence[Run], path: Path, *, videos: str = "linked", mix_fingerprints: bool = False) -> Path:
    """Write the page of runs as one HTML file that asks no network for anything.

    Args:
        runs: the runs.
        path: the file.
        videos: one of `VIDEO_CHOICES`.
        mix_fingerprints: pool records of different fingerprints.

    Raises:
        UnknownNameError: ``videos`` is none of the choices.
        JournalError: the file cannot be written.
    """
    if videos not in VIDEO_CHOICES:
        raise UnknownNameError("way to show videos", videos, VIDEO_CHOICES)

    def video_of(run: Run, record: EpisodeRecord, number: int) -> str | None:
        file = video_file(run, record)
        if file is None:
            return None
        if videos == "embedded":
            try:
                return "data:video/mp4;base64," + base64.b64encode(read_regular(file)).decode()
            except ValueError as error:
                raise JournalError(f"{file} {error}; choose --videos linked") from None
        return quote(os.path.relpath(file, real_path(path).parent).replace(os.sep, "/"))

    document = Document(runs, video_of, mix_fingerprints=mix_fingerprints)
    overview = document.overview()
    text = page(overview, freeze(document, overview))
    try:
        with open_to_write(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise JournalError(f"the report {path} cannot be written: {error.strerror}") from None
    return path


def freeze(document: Document, overview: dict[str, Any]) -> dict[str, Any]:
    """Address -> answer, for all that the page may ask for."""
    frozen: dict[str, Any] = {"episodes": document.episodes()}
    charts = 0
    for number in range(len(document)):
        episode = document.episode(number, chart=charts < _MOST_CHARTS)
        charts += episode["chart"] is not None
        frozen[f"episode/{number}"] = episode
    cells = overview["cells"]

    def recorded(states: dict[str, Any]) -> bool:
        return all(document.at(states[side])[1].rollout for side in "ab")

    pairs = [
        pair
        for pair in combinations(range(len(cells)), 2)
        if all(cells[index]["n"] for index in pair)
        and len({plain_name(cells[index]["protocol"]) for index in pair}) == 1
    ]
    if len(pairs) > _MOST_PAIRS:
        pairs = [pair for pair in pairs if pair[0] == 0][:_MOST_PAIRS]
    for a, b in (order for pair in pairs for order in (pair, pair[::-1])):
        found = document.comparison(a, b)
        frozen[f"comparison/{a}/{b}"] = found
        for states in sorted(found["pairs"], key=lambda states: not recorded(states))[:_MOST_PARTINGS]:
            frozen[f"parting/{states['a']}/{states['b']}"] = document.parting(states["a"], states["b"])
    return frozen


def video_file(run: Run, record: EpisodeRecord) -> Path | None:
    """The film of an episode; None without one. Nothing outside the run folder is ever shown."""
    if record.video is None:
        return None
    file = real_path(run.path / record.video)
    return file if file.is_relative_to(real_path(run.path)) and file.is_file() else None
