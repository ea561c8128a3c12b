"""The environment in its own interpreter: contract, determinism, success rules, pictures, read-only data files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

Laboratory = Callable[..., Any]

pytestmark = pytest.mark.assets


@pytest.fixture(scope="module")
def control_actions(golden: Path) -> np.ndarray:
    """A recorded success on the carrot task, ``[60, 7]``."""
    with np.load(golden / "simpler_bridge/positive_controls.npz") as archive:
        return archive["carrot_ep00_actions"]


def test_contract_without_a_renderer(laboratory: Laboratory):
    camera_imported = laboratory("check", task="cube", steps=4, rendering=False)
    assert not camera_imported


def test_contract_with_a_renderer(laboratory: Laboratory):
    assert laboratory("check", task="carrot", steps=3, rendering=True)


def test_nobody_looks_nobody_renders(laboratory: Laboratory):
    assert laboratory("renderer_of_blind_env") == {"before": False, "after": True}


def test_success_rules_on_one_recorded_success(laboratory: Laboratory, control_actions: np.ndarray):
    common = {"task": "carrot", "trial": 0, "actions": control_actions.tolist()}
    protocols = ("final-step", "any-step", "first-success")
    runs = laboratory("rollouts", rollouts=[{**common, "protocol": protocol} for protocol in protocols])
    final, any_step, first = (run["info"] for run in runs)
    assert (final["success"], final["success_any"], final["success_final"]) == (True, True, True)
    assert (final["steps"], any_step["steps"]) == (60, 60)
    assert first["steps"] == first["first_success_step"] == final["first_success_step"] < 60
    assert runs[0]["last"] == runs[1]["last"] != runs[2]["last"]
    for info in (final, any_step, first):
        assert info["score"] == 1.0
        held = {name: info[name] for name in ("source_on_target", "source_ever_held", "moved_correct_object")}
        assert held == dict.fromkeys(held, True)
        assert not info["moved_wrong_object"]


def test_a_success_that_does_not_last_is_no_success_at_the_end(laboratory: Laboratory, control_actions: np.ndarray):
    lifted_away = np.concatenate([control_actions[:40], control_actions[:20]])
    lifted_away[40:, 6] = -1.0
    lifted_away[40:, :6] = 0.0
    lifted_away[40:, 0] = -0.05
    common = {"task": "carrot", "trial": 0, "actions": lifted_away.tolist()}
    runs = laboratory("rollouts", rollouts=[{**common, "protocol": name} for name in ("final-step", "any-step")])
    final, any_step = (run["info"] for run in runs)
    assert final["success_any"] == any_step["success_any"]
    assert any_step["success"] == any_step["success_any"]
    assert final["success"] == final["success_final"] == any_step["success_final"]


def test_history_order_and_chunks_change_nothing(laboratory: Laboratory, control_actions: np.ndarray):
    spoon = {"task": "spoon", "trial": 7, "actions": control_actions[:12].tolist()}
    eggplant = {"task": "eggplant", "trial": 9, "actions": control_actions[:6].tolist()}
    fresh = laboratory("rollout", **spoon)
    after_others = laboratory("rollouts", rollouts=[eggplant, spoon, {**spoon, "chunk": 1}, eggplant])
    assert [run["first"] for run in after_others[1:3]] == [fresh["first"]] * 2
    assert [run["last"] for run in after_others[1:3]] == [fresh["last"]] * 2
    assert after_others[0]["last"] == after_others[3]["last"]


def test_two_environments_of_one_process_do_not_disturb_each_other(laboratory: Laboratory):
    states = laboratory("interleaved")
    assert states["alone"] == states["in turns"]


def test_first_picture_in_mid_episode_is_the_picture_that_watching_shows(
    laboratory: Laboratory, control_actions: np.ndarray
):
    common: dict[str, Any] = {"task": "carrot", "trial": 3, "actions": control_actions[:8].tolist(), "picture": True}
    blind, watched = laboratory("rollouts", rollouts=[common, {**common, "cameras": None}])
    assert blind["last"] == watched["last"]
    assert blind["picture"] == watched["picture"]
    assert len(bytes.fromhex(blind["picture"])) == 480 * 640 * 3


def test_shaders_that_leave_the_photograph_out_change_no_pixel(laboratory: Laboratory, control_actions: np.ndarray):
    lights = [1.0, 1.0, 0.35, 1.0, 1.0, 0.6, 1.0, 1.0]
    found = laboratory("both_shaders", trial=3, lights=lights, actions=control_actions[:8].tolist())
    assert found == {task: [True, 8, 0] for task in ("carrot", "eggplant", "spoon", "cube")}


def test_kept_shaders_are_whole_or_sapiens_own(laboratory: Laboratory, tmp_path: Path):
    found = laboratory("kept_shaders", home=str(tmp_path))
    first, again = found["folders"]
    assert first == again
    assert first.startswith(str(tmp_path))
    assert found["repaired"]
    assert found["no place"] == found["another SAPIEN"] == "ibl"


def test_dimmed_light_falls_on_objects_and_photograph_and_never_on_physics(laboratory: Laboratory):
    found = laboratory("dimmed", task="carrot", axes=["light:1", "light:4"])
    (state, whole), (state_1, _), (state_4, dim) = found.values()
    assert state == state_1 == state_4
    pictures = [np.array(picture) / 255 for _, picture in found.values()]
    means = [picture.mean() for picture in pictures]
    assert means[0] > means[1] > means[2]
    whole, dim = pictures[0], pictures[2]
    # 35% of the light, by the transfer function of sRGB: the photograph exactly, what is rendered nearly.
    expected = np.where(whole > 0.04045, ((whole + 0.055) / 1.055) ** 2.4, whole / 12.92) * 0.35
    expected = np.where(expected > 0.0031308, 1.055 * expected ** (1 / 2.4) - 0.055, expected * 12.92)
    distance = np.abs(dim - expected).max(axis=2)
    assert (distance <= 0.51 / 255).mean() > 0.8
    assert np.median(distance[distance > 0.51 / 255]) < 0.1
    assert not (dim > whole + 1 / 255).any()


def test_refusals_are_one_clear_sentence(laboratory: Laboratory):
    size, camera, state, picture, step = laboratory("refusals")
    assert size.startswith("UsageError: 3rd_view_camera")
    assert "480 x 640" in size
    assert camera.startswith("UnknownNameError: unknown camera")
    assert state == picture == "UsageError: no episode is running; call reset first"
    assert step.startswith("UsageError: no episode is running")


def test_fingerprint_names_versions_assets_and_stand_ins(laboratory: Laboratory, assets: Path):
    fingerprint, blind = laboratory("fingerprints")
    assert fingerprint["sapien"] == "2.2.2"
    assert fingerprint["numpy"].startswith("1.")
    assert fingerprint["standins"] == (assets / "simpler_bridge/STANDINS.txt").exists()
    assert len(fingerprint["assets_sha256"]) == 64
    assert fingerprint["reportable"] == (not fingerprint["standins"])
    assert "Vulkan driver: " in fingerprint["renderer"]
    assert blind == {**fingerprint, "renderer": "nothing is rendered"}


def test_data_files_are_never_written_to(
    laboratory: Laboratory, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    request = {"task": "carrot", "trial": 4, "actions": [[0.01, 0, -0.01, 0, 0, 0, 1]] * 4}
    expected = laboratory("rollout", **request)
    copy = tmp_path / "assets/simpler_bridge"
    shutil.copytree(assets / "simpler_bridge", copy, ignore=shutil.ignore_patterns("*.nonconvex.stl"))
    files = sorted(path for path in copy.rglob("*"))
    for path in files:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setenv("SIMRUN_ASSETS", str(copy.parent))
    home = os.environ.get("SIMRUN_HOME")
    if home is not None:
        (tmp_path / "home").mkdir()
        for folder in ("vulkan", "environments"):
            (tmp_path / "home" / folder).symlink_to(Path(home) / folder)
        monkeypatch.setenv("SIMRUN_HOME", str(tmp_path / "home"))
    try:
        found = laboratory("rollout", **request, picture=True)
        assert (found["first"], found["last"]) == (expected["first"], expected["last"])
        assert sorted(path for path in copy.rglob("*")) == files
    finally:
        for path in files:
            path.chmod(0o755)


def test_a_room_is_cooked_for_a_user_who_may_not_write_to_the_shared_home(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    home, temporary = str(tmp_path / "file" / "home"), str(tmp_path / "temporary")
    first, second = laboratory("room_of_another_user", home=home, temporary=temporary)
    assert first == second
    assert Path(first).is_relative_to(temporary)
    assert Path(first + ".nonconvex.stl").stat().st_size > 1000


def test_absolute_actions_are_poses_of_the_end_effector(laboratory: Laboratory):
    """The target of X-VLA's controller: metres, and angles about fixed axes; the arm sags by some millimetres."""
    action = [0.30, 0.03, 0.16, 0.1, 0.2, -0.3, 1.0]
    reached = np.asarray(laboratory("absolute", action=action)["reached"])
    np.testing.assert_allclose(reached[:3], action[:3], atol=0.01)
    wanted = Rotation.from_euler("xyz", action[3:6])
    turn = Rotation.from_quat(np.roll(reached[3:], -1)) * wanted.inv()
    assert turn.magnitude() < 0.05
