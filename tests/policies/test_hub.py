"""Checkpoints on a hub: names, and what a hub on loopback can do wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from simrun.errors import CheckpointError, ServerError, SimrunError, UsageError
from simrun.policies.checkpoints import checkpoint_hash, expand_checkpoints, is_url
from simrun.policies.hub import HubName
from simrun.policies.registry import recognise
from tests.loopback_hub import TOKEN, Hub, client_of, running_hub

WEIGHTS = bytes(range(256)) * 64
CONFIG = {"type": "act", "input_features": {}, "output_features": {}}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running_hub() as running, client_of(running, tmp_path / "hf", monkeypatch):
        yield running


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "published"
    (folder / "step_2").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "step_2" / "config.json").write_text(json.dumps({**CONFIG, "chunk_size": 2}))
    return folder


def fetched(hub: Hub) -> list[str]:
    return [line.split()[1].rsplit("/", 1)[1] for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf://lab/model", HubName("lab/model", None, "")),
        ("hf://lab/model@v1.0", HubName("lab/model", "v1.0", "")),
        ("hf://lab/model@refs%2Fpr%2F3/step_2", HubName("lab/model", "refs/pr/3", "step_2")),
        ("hf://lab/model/a/b.onnx", HubName("lab/model", None, "a/b.onnx")),
        ("lab/pi0.5_base", HubName("lab/pi0.5_base", None, "")),
        ("lab/model@main", HubName("lab/model", "main", "")),
        ("lab/epoch_3.onnx", None),
        ("lab/model/step_2", None),
        ("published/step_9", None),
        ("model", None),
        ("ws://lab:8000", None),
        ("scripted:zero", None),
        ("mylab.policies:make", None),
    ],
)
def test_names(text, name, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert HubName.parse(text) == name
    if name is not None:
        assert HubName.parse(str(name)) == name
        assert not is_url(text)


@pytest.mark.parametrize("text", ["hf://", "hf://lab", "hf://lab/model@", "hf://lab/a/../../etc", "hf://lab/mo del"])
def test_a_name_that_is_none_says_how_it_is_written(text):
    with pytest.raises(UsageError, match=r"write hf://ORG/NAME\[@REVISION\]\[/FOLDER\]"):
        HubName.parse(text)


@pytest.mark.parametrize("text", ["hf://lab/act", "lab/act", "lab/act@main"])
def test_a_name_becomes_its_commit_and_is_recognised(hub, folder, text):
    commit = hub.add("lab/act", folder)
    (name,) = expand_checkpoints([text])
    assert name == f"hf://lab/act@{commit}"
    loader, reason = recognise(name)
    assert loader.kind == "lerobot"
    assert commit in reason
    assert checkpoint_hash(name) == checkpoint_hash(str(folder))


def test_what_is_there_is_not_fetched_again_and_a_commit_needs_no_hub(hub, folder, monkeypatch):
    hub.add("lab/act", folder)
    (name,) = expand_checkpoints(["lab/act"])
    assert sorted(fetched(hub)) == ["config.json", "config.json", "model.safetensors"]
    hub.asked.clear()
    assert expand_checkpoints([name]) == [name]
    assert hub.asked == []
    expand_checkpoints(["lab/act"])
    assert fetched(hub) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert expand_checkpoints(["lab/act"]) == [name]
    assert hub.asked == []


def test_a_moved_branch_is_another_checkpoint(hub, folder):
    first = hub.add("lab/act", folder)
    (old,) = expand_checkpoints(["lab/act"])
    (folder / "model.safetensors").write_bytes(WEIGHTS[::-1])
    second = hub.add("lab/act", folder)
    (new,) = expand_checkpoints(["lab/act"])
    assert (old, new) == (f"hf://lab/act@{first}", f"hf://lab/act@{second}")
    assert checkpoint_hash(old) != checkpoint_hash(new)


def test_only_the_folder_that_is_named_is_fetched(hub, folder):
    hub.add("lab/act", folder)
    (name,) = expand_checkpoints(["hf://lab/act/step_2"])
    assert name.endswith("/step_2")
    assert fetched(hub) == ["config.json"]
    assert recognise(name)[0].kind == "lerobot"
    with pytest.raises(CheckpointError, match=r"lab/act/step_3 has no step_3; lab/act holds config\.json, model"):
        expand_checkpoints(["hf://lab/act/step_3"])


@pytest.mark.parametrize(
    ("settings", "text", "sentence"),
    [
        (
            {},
            "lab/nothing",
            "there is no repository lab/nothing at http.*and no such path here, or it is private",
        ),
        ({"private": True}, "lab/act", "no repository lab/act at .* or it is private: .*HF_TOKEN"),
        ({"gated": True}, "lab/act", "lab/act is gated: ask its authors for access at http.*/lab/act, then log in"),
        ({}, "hf://lab/act@v9", "lab/act has no revision v9"),
        ({}, "hf://lab/act@" + "0" * 40, "lab/act has no revision 0000"),
    ],
)
def test_what_may_not_be_had_is_one_sentence(hub, folder, settings, text, sentence):
    hub.add("lab/act", folder, **settings)
    with pytest.raises(CheckpointError, match=sentence) as caught:
        expand_checkpoints([text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"private": True}, {"gated": True}])
def test_a_token_opens_what_is_closed(hub, folder, settings, monkeypatch):
    commit = hub.add("lab/act", folder, **settings)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert expand_checkpoints(["lab/act"]) == [f"hf://lab/act@{commit}"]


def test_a_lost_connection_goes_on_where_it_ended(hub, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.add("lab/act", folder, cut={"model.safetensors": 1000}, cuts=1)
    (name,) = expand_checkpoints(["lab/act"])
    assert checkpoint_hash(name) == checkpoint_hash(str(folder))
    # The client keeps whole pieces of 256 bytes here.
    assert any(line.endswith("model.safetensors bytes=768-") for line in hub.asked)


def test_a_file_that_never_comes_whole_ends_in_one_sentence_and_the_others_are_kept(hub, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.add("lab/act", folder, cut={"model.safetensors": 1000})
    with pytest.raises(ServerError, match=r"lab/act .*the same command goes on, and files that came whole") as caught:
        expand_checkpoints(["lab/act"])
    assert "\n" not in str(caught.value)
    hub.repositories["lab/act"].cut.clear()
    hub.asked.clear()
    (name,) = expand_checkpoints(["lab/act"])
    assert checkpoint_hash(name) == checkpoint_hash(str(folder))
    assert "model.safetensors" in fetched(hub)


def test_a_file_cut_short_on_this_machine_is_found_even_offline(hub, folder, monkeypatch):
    hub.add("lab/act", folder)
    (name,) = expand_checkpoints(["lab/act"])
    snapshot = Path(recognise(name)[1].split("/config.json")[0])
    (snapshot / "model.safetensors").resolve().write_bytes(WEIGHTS[:100])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"not whole on this machine: .*model\.safetensors.*without --offline"):
        expand_checkpoints([name])


def test_offline_and_never_fetched(hub, folder, monkeypatch):
    hub.add("lab/act", folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="lab/act is not on this machine, and --offline"):
        expand_checkpoints(["lab/act"])


def test_a_repository_of_no_known_kind_is_said(hub, tmp_path):
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "weights.bin").write_bytes(b"x")
    hub.add("lab/strange", tmp_path / "strange")
    (name,) = expand_checkpoints(["lab/strange"])
    with pytest.raises(CheckpointError, match=r"no loader knows .*strange"):
        recognise(name)


def test_a_hub_that_is_not_there(hub, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SimrunError, match=r"lab/act cannot be fetched from http://127\.0\.0\.1:9") as caught:
        expand_checkpoints(["lab/act"])
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_noticed_before_the_first_file(hub, folder, monkeypatch):
    hub.add("lab/act", folder)
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000})())
    with pytest.raises(SimrunError, match="less than that free; make room, or let HF_HOME name another disk"):
        expand_checkpoints(["lab/act"])
    assert fetched(hub) == []


def test_a_mistyped_path_is_told_both_ways(hub, folder, tmp_path):
    (tmp_path / "lab").mkdir()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint lab/act; the repository .* hub is hf://lab/act"):
        expand_checkpoints(["lab/act"])
