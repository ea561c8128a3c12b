from __future__ import annotations

import json

import pytest

from simrun.cli import app
from simrun.errors import UnknownKindError, UnknownNameError, UsageError
from simrun.policies.inspection import inspect_checkpoint


def test_a_network_is_described_and_compared(tmp_path, write_network, plane):
    file = write_network(tmp_path / "net.onnx", metadata={"simrun.transforms": '["gripper_sign"]'})
    found = inspect_checkpoint(str(file), [plane])
    assert (found.kind, found.reason) == ("onnx", "its name ends in .onnx")
    assert found.properties["chunk length"] == "5"
    assert len(found.hash) == 64
    (fit,) = found.fits
    assert (fit.fits, fit.reason) == (True, "cameras, proprioception and number of actions agree")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metadata": {"simrun.benchmark": "calvin_abcd"}}, "it was made for calvin_abcd"),
        ({"names": {"image_front": "image_top"}}, "camera top is unknown there"),
        ({"proprio": 3}, "it reads 3 values of proprioception, there are 4"),
    ],
)
def test_why_a_network_does_not_fit(tmp_path, write_network, plane, changes, reason):
    (fit,) = inspect_checkpoint(str(write_network(tmp_path / "net.onnx", **changes)), [plane]).fits
    assert fit.fits is False
    assert reason in fit.reason


def test_a_preset_or_sidecar_is_shown(tmp_path, write_network, plane):
    file = write_network(tmp_path / "net.onnx")
    (tmp_path / "simrun.toml").write_text('kind = "onnx"\ntransforms = ["rotate_180"]')
    found = inspect_checkpoint(str(file), [plane], options={"preset": "openpi-libero"})
    assert found.reason == f"{tmp_path / 'simrun.toml'} says so"
    (fit,) = found.fits
    assert fit.fits is False
    assert "openpi-libero is one for libero_*, not for plane" in fit.reason
    plain = inspect_checkpoint(str(file), [plane])
    assert "rotate_180" in plain.fits[0].convention["actions"]
    assert plain.fits[0].convention["from"].startswith(str(tmp_path / "simrun.toml"))


def test_nothing_is_executed(tmp_path, plane):
    file = tmp_path / "mine.py"
    file.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    found = inspect_checkpoint(f"{file}:make", [plane])
    assert (found.kind, found.properties["source"]) == ("factory", str(file))
    assert not (tmp_path / "executed").exists()


def test_scripted_policies_fit_everywhere(plane):
    assert inspect_checkpoint("scripted:zero", [plane]).fits[0].fits
    assert inspect_checkpoint("scripted:expert", [plane]).fits[0].fits is False


def test_the_command_prints_text_or_json(tmp_path, write_network, capsys):
    file = write_network(tmp_path / "net.onnx")
    app(["inspect", str(tmp_path / "*.onnx"), "scripted:random", "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert [entry["kind"] for entry in document] == ["onnx", "scripted"]
    assert {fit["benchmark"] for fit in document[0]["fits"]} >= {"calvin_abcd", "tabletop"}
    app(["inspect", str(file)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "onnx: its name ends in .onnx" in shown
    assert "chunk length" in shown


def test_wrong_questions_are_one_sentence(tmp_path, capsys):
    (tmp_path / "net.weights").write_bytes(b"?")
    (tmp_path / "x.pt").write_bytes(b"?")
    with pytest.raises(UnknownKindError, match=r"no loader knows .*net\.weights .*: --policy lab\.py:CLASS"):
        app(["inspect", str(tmp_path / "net.weights")], standalone_mode=False)
    assert "\n  lerobot       a LeRobot folder" in capsys.readouterr().out
    with pytest.raises(UnknownNameError, match="unknown option of the kind scripted 'devise'"):
        app(["inspect", "scripted:zero", "-p", "devise=cpu"], standalone_mode=False)
    with pytest.raises(UsageError, match="path_map of the kind vlm4vla must be a JSON table"):
        app(["inspect", str(tmp_path / "x.pt"), "--policy", "vlm4vla", "-p", "path_map=a=b"], standalone_mode=False)
