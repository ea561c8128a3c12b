from __future__ import annotations

import pytest

from simrun.errors import CheckpointError
from simrun.policies.checkpoints import SIDECAR, checkpoint_hash, expand_checkpoints, factory_parts


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_a_glob_is_expanded_in_natural_order_without_companions(tmp_path):
    _touch(tmp_path, "epoch_10.onnx", "epoch_2.onnx", "epoch_1.onnx", "config.json", "notes.txt")
    found = expand_checkpoints([str(tmp_path / "*")])
    assert [name.rsplit("/", 1)[1] for name in found] == ["epoch_1.onnx", "epoch_2.onnx", "epoch_10.onnx"]


def test_names_keep_their_order_and_come_once(tmp_path):
    _touch(tmp_path, "b.onnx", "a.onnx")
    named = [str(tmp_path / "b.onnx"), "scripted:zero", str(tmp_path / "*.onnx"), "ws://127.0.0.1:1", "mine:make"]
    assert expand_checkpoints(named) == [
        str(tmp_path / "b.onnx"),
        "scripted:zero",
        str(tmp_path / "a.onnx"),
        "ws://127.0.0.1:1",
        "mine:make",
    ]


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path):
    _touch(tmp_path, "epoch=3-step=[7].pt")
    assert expand_checkpoints([str(tmp_path / "epoch=3-step=[7].pt")]) == [str(tmp_path / "epoch=3-step=[7].pt")]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{tmp}/missing.onnx", "there is no checkpoint .*holds config.json, empty.onnx, hollow"),
        ("{tmp}/*.pt", "no checkpoint matches"),
        ("{tmp}/*.json", "which are no checkpoints"),
        ("{tmp}/empty.onnx", "is empty"),
        ("{tmp}/empty*", "is empty"),
        ("{tmp}/hollow", "folder .* is empty"),
        ("replay:{tmp}/nowhere", "there is no checkpoint"),
        ("", "is empty"),
    ],
)
def test_a_missing_or_empty_checkpoint_is_one_sentence(tmp_path, pattern, sentence):
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(CheckpointError, match=sentence):
        expand_checkpoints([pattern.format(tmp=tmp_path)])


def test_no_pattern_at_all_is_an_error():
    with pytest.raises(CheckpointError, match="no checkpoint was named"):
        expand_checkpoints([])


def test_the_hash_names_the_contents_and_the_sidecar(tmp_path):
    _touch(tmp_path, "one/net.onnx", "two/net.onnx", "three/net.onnx")
    (tmp_path / "three/net.onnx").write_bytes(b"changed")
    hashes = [checkpoint_hash(str(tmp_path / name / "net.onnx")) for name in ("one", "two", "three")]
    # The files of one and two differ in what was written: their own names.
    assert len(set(hashes)) == 3
    (tmp_path / "two/net.onnx").write_bytes((tmp_path / "one/net.onnx").read_bytes())
    assert checkpoint_hash(str(tmp_path / "two/net.onnx")) == hashes[0]
    (tmp_path / "two" / SIDECAR).write_text("transforms = []")
    assert checkpoint_hash(str(tmp_path / "two/net.onnx")) != hashes[0]


def test_the_hash_of_a_folder_covers_names_and_contents(tmp_path):
    _touch(tmp_path, "one/a", "two/a")
    (tmp_path / "two/a").write_bytes((tmp_path / "one/a").read_bytes())
    assert checkpoint_hash(str(tmp_path / "one")) == checkpoint_hash(str(tmp_path / "two"))
    (tmp_path / "two/a").rename(tmp_path / "two/b")
    assert checkpoint_hash(str(tmp_path / "one")) != checkpoint_hash(str(tmp_path / "two"))


def test_the_hash_of_a_factory_covers_its_source(tmp_path):
    file = tmp_path / "policy.py"
    file.write_text("a = 1")
    first = checkpoint_hash(f"{file}:make")
    file.write_text("a = 2")
    assert checkpoint_hash(f"{file}:make") != first
    assert checkpoint_hash("scripted:zero") != checkpoint_hash("scripted:random")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("package.module:make", ("package.module", "make")),
        ("folder/policy.py:make", ("folder/policy.py", "make")),
        ("scripted:zero", None),
        ("ws://127.0.0.1:8000", None),
        ("openpi://127.0.0.1:8000", None),
        ("C:\\net.onnx", None),
        ("runs/net.onnx", None),
        ("x" * 5000, None),
    ],
)
def test_factories_are_told_from_other_names(name, parts):
    assert factory_parts(name) == parts
