"""Half a checkpoint is never called complete."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from simrun.errors import UsageError
from simrun.runners.search.watching.completeness import Completeness, Contents, is_truncated
from simrun.runners.search.watching.layouts import Sighting, find_checkpoints


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def only(root: Path) -> Sighting:
    (sighting,) = find_checkpoints(root)
    return sighting


def check(rule: Completeness, root: Path) -> bool:
    sighting = only(root)
    contents = Contents.of(sighting.path)
    assert contents is not None
    return rule.check(sighting, contents)


def test_stable_waits_until_nothing_has_changed_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    rule = Completeness("stable", 10, clock)
    file = tmp_path / "a.pt"
    file.write_bytes(b"one")
    assert not check(rule, tmp_path)
    clock.now = 9
    assert not check(rule, tmp_path)
    file.write_bytes(b"one, two")
    clock.now = 15
    assert not check(rule, tmp_path)
    clock.now = 26
    assert check(rule, tmp_path)


def test_auto_takes_the_mark_of_the_library_at_once_and_waits_for_it_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    rule = Completeness("auto", 10, clock)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5/weights.bin").write_bytes(b"x")
    assert not check(rule, tmp_path)
    clock.now = 1000
    assert not check(rule, tmp_path)
    (tmp_path / "checkpoint-5/trainer_state.json").write_text("{}")
    assert check(rule, tmp_path)


def test_rename_and_markers_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    file.write_bytes(b"x")
    assert check(Completeness("rename"), tmp_path)
    rule = Completeness("marker:.done")
    assert not check(rule, tmp_path)
    (tmp_path / "a.pt.done").touch()
    assert check(rule, tmp_path)


@pytest.mark.parametrize("rule", ["soon", "marker", "stable:5"])
def test_unknown_rules_are_refused(rule: str) -> None:
    with pytest.raises(UsageError, match="known: auto, rename, stable or marker:NAME"):
        Completeness(rule)


def test_contents_name_what_a_checkpoint_is(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.touch()
    assert Contents.of(file) is None
    assert Contents.of(tmp_path / "gone.onnx") is None
    file.write_bytes(b"graph")
    alone = Contents.of(file)
    (tmp_path / "a.onnx.data").write_bytes(b"weights")
    both = Contents.of(file)
    assert alone is not None
    assert both is not None
    assert alone.digest != both.digest
    assert both.changed == max(entry.stat().st_mtime_ns for entry in tmp_path.iterdir()) / 1e9


@pytest.mark.parametrize("name", ["a.onnx", "a.pt", "a.safetensors"])
def test_what_is_no_file_is_no_whole_checkpoint(tmp_path: Path, name: str) -> None:
    """A pipe would be waited for, and a hole read into memory."""
    os.mkfifo(tmp_path / name)
    assert is_truncated(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    assert is_truncated(tmp_path / name)
    (tmp_path / name).unlink()
    with (tmp_path / name).open("wb") as hole:
        hole.truncate(1 << 42)
    assert is_truncated(tmp_path / name) or name == "a.pt", "of torch's older files nobody can tell"


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"weights" * 100)


def safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [25], "data_offsets": [0, 100]}, "__metadata__": {}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))


@pytest.mark.parametrize(("name", "write"), [("a.pt", archive), ("a.ckpt", archive), ("a.safetensors", safetensors)])
def test_every_prefix_of_an_archive_is_seen_to_be_one(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
    whole.parent.mkdir()
    cut.parent.mkdir()
    write(whole)
    data = whole.read_bytes()
    assert not is_truncated(whole)
    assert not is_truncated(whole.parent)
    for length in range(4, len(data)):
        cut.write_bytes(data[:length])
        assert is_truncated(cut), length
    assert is_truncated(cut.parent)


def test_a_prefix_of_an_onnx_file_is_seen_to_be_one_unless_it_ends_between_two_parts(
    tmp_path: Path, network_bytes: Callable[[float], bytes]
) -> None:
    data = network_bytes(0.5)
    cut = tmp_path / "a.onnx"
    cut.write_bytes(data)
    assert not is_truncated(cut)
    missed = []
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        if not is_truncated(cut):
            missed.append(length)
    # A file without its last parts, three entries of metadata, is a whole one of another network.
    assert len(missed) <= 3
    assert len(data) > 1000


def test_what_cannot_tell_is_not_accused(tmp_path: Path) -> None:
    file = tmp_path / "old.pt"
    file.write_bytes(b"\x80\x02 a pickle of its own")
    assert not is_truncated(file)
