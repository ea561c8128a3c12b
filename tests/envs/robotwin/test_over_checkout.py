"""RoboTwin over a real checkout: every speed-up against upstream's own stepping, histories, commands, goldens.

Skipped where ROBOTWIN_ROOT names no checkout; ``make test-robotwin`` runs all of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.testing

from simrun.api import evaluate
from simrun.envs import get_benchmark
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.machine.interpreters import find_interpreter
from simrun.envs.machine.numerics import describe_processor
from simrun.envs.robotwin import verbs
from simrun.envs.robotwin.episode_files import EpisodeFile, episode_file_path
from simrun.envs.robotwin.laboratory import MESH_FREE
from simrun.runners.engine.verification import verify

Experiments = Callable[..., Any]


@pytest.fixture
def accept_seeds(checkout_assets: Path) -> Callable[..., EpisodeFile]:
    """Runs ``simrun robotwin accept-seeds`` and reads what it wrote."""

    def run(benchmark: str, tasks: str, episodes: int, *options: str) -> EpisodeFile:
        arguments = ["accept-seeds", benchmark, "--tasks", tasks, "--episodes", str(episodes), "--planner", "cpu"]
        result = typer.testing.CliRunner().invoke(verbs.app, [*arguments, *options])
        assert result.exit_code == 0, result.exception
        return EpisodeFile.read(episode_file_path(benchmark))

    return run


@pytest.mark.parametrize("task", MESH_FREE)
def test_our_stepping_equals_upstreams(laboratory: Experiments, task: str) -> None:
    found = laboratory("stepping", task=task, config="demo_clean", seed=100002, count=24)
    assert found["ours"] == found["upstream"]
    assert len(set(found["ours"])) > 20


def test_single_precision_actions_step_alike(laboratory: Experiments) -> None:
    found = laboratory("stepping", task=MESH_FREE[0], config="demo_clean", seed=100001, count=12, dtype="float32")
    assert found["ours"] == found["upstream"]


def test_hard_scenes_step_alike(laboratory: Experiments) -> None:
    found = laboratory("stepping", task=MESH_FREE[0], config="demo_randomized", seed=100000, count=12)
    assert found["ours"] == found["upstream"]


def test_flickering_lights_are_not_skipped(laboratory: Experiments) -> None:
    found = laboratory("flickering", task=MESH_FREE[0], config="demo_randomized", seed=100001, count=6)
    assert found["flickers"] == [True, True]
    assert found["ours"] == found["upstream"]
    assert found["global_generator_untouched"]


def test_end_effector_poses_step_alike(laboratory: Experiments) -> None:
    found = laboratory("stepping_by_pose", task=MESH_FREE[0], config="demo_clean", seed=100000, count=5)
    assert found["ours"] == found["upstream"]
    assert len(set(found["ours"])) == 6


@pytest.mark.slow
def test_pictures_are_upstreams_and_change_nothing(laboratory: Experiments) -> None:
    found = laboratory("pictures", task="blocks_ranking_rgb", config="demo_clean", seed=100001)
    assert found["unchanged"]
    assert found["proprio_equal"]
    assert set(found["equal"].values()) == {True}
    assert all(tuple(size) == (240, 320) for size in found["sizes"].values())
    assert min(found["spread"].values()) > 5


def test_what_is_seen_otherwise_leaves_the_scene_alone(laboratory: Experiments) -> None:
    plain, camera, light = laboratory("seen_otherwise").values()
    assert plain["state"] == camera["state"] == light["state"]
    assert plain["after"] == camera["after"] == light["after"] == plain["during"] == light["during"]
    # The head camera looks at the same point of the table from as far, 16 degrees away; the wrist's stays on the hand.
    forward, target, reach = (np.array(part) for part in camera["during"])
    before, same_target, same_reach = (np.array(part) for part in plain["during"])
    np.testing.assert_allclose(target, same_target, atol=1e-5)
    np.testing.assert_allclose(reach, same_reach, atol=1e-5)
    assert np.degrees(np.arccos(forward @ before)) == pytest.approx(16, abs=0.1)
    assert camera["pictures"]["head_camera"] != plain["pictures"]["head_camera"]
    assert camera["pictures"]["left_camera"] == plain["pictures"]["left_camera"]
    # Half of the light, in levels of sRGB.
    for name, picture in light["pictures"].items():
        assert np.mean(picture) / np.mean(plain["pictures"][name]) == pytest.approx(0.5 ** (1 / 2.2), abs=0.05)


def test_an_episode_does_not_depend_on_what_ran_before(laboratory: Experiments, accept_seeds: Any) -> None:
    accept_seeds("robotwin_easy", "stack_blocks_two,blocks_ranking_rgb", 2)
    episode = {"benchmark": "robotwin_easy", "task": "stack_blocks_two", "trial": 1, "count": 12}
    fresh = laboratory("histories", **episode, before=[], chunk=1)
    assert fresh["scene_seed"] == 100001
    for before in ([["stack_blocks_two", 1]], [["blocks_ranking_rgb", 0], ["stack_blocks_two", 0]]):
        for chunk in (5, 12):
            assert laboratory("histories", **episode, before=before, chunk=chunk) == fresh


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_environment_keeps_the_contract(laboratory: Experiments, accept_seeds: Any) -> None:
    accept_seeds("robotwin_easy", "stack_blocks_two,blocks_ranking_rgb", 1)
    assert laboratory("contract", task="stack_blocks_two", count=4) == "passed"


def test_attributes_of_the_expert_are_derived_from_the_scene(laboratory: Experiments) -> None:
    # The first seed whose scene is stable on object stand-ins and on the real models alike.
    found = laboratory("rehearsal", task="place_object_scale", config="demo_clean", seed=100000, attributes=["arm_tag"])
    assert found["derived"] == found["expert"]
    assert found["derived"]["arm_tag"] in ("left", "right")
    assert found["success_check"] is False
    assert found["unmoved"]


def test_stages_are_forgotten_between_episodes(laboratory: Experiments) -> None:
    found = laboratory("stages", task="press_stapler", config="demo_clean", seed=100000)
    assert found == {"reached": True, "fresh": True, "same_start": True}


def test_accepted_seeds_are_the_same_again_and_are_continued(accept_seeds: Any) -> None:
    first = accept_seeds("robotwin_easy", "stack_blocks_two", 1)
    longer = accept_seeds("robotwin_easy", "stack_blocks_two", 2)
    assert longer.episodes[:1] == first.episodes
    assert [entry.seed for entry in longer.episodes] == [100000, 100001]
    assert "cpu planner" in longer.provenance["planner"]
    assert longer.provenance["sapien"] == "3.0.3"
    episode_file_path("robotwin_easy").unlink()
    assert accept_seeds("robotwin_easy", "stack_blocks_two", 2) == longer
    sentence = longer.episodes[0].instructions["seen"]
    assert "red block" in sentence
    assert "{" not in sentence


def test_blocks_of_seeds_follow_the_official_seed(accept_seeds: Any) -> None:
    file = accept_seeds("robotwin_easy", "stack_blocks_two", 1, "--seed", "1")
    assert [entry.seed for entry in file.episodes] == [200000]
    assert file.episode("stack_blocks_two", 0, block=1).seed == 200000


def test_recordings_of_upstream_are_reproduced(recordings: Path) -> None:
    reports = list(verify(get_benchmark("robotwin_easy"), recordings))
    assert len(reports) == len(list(recordings.glob("*.npz"))) > 0
    assert [report.file for report in reports if not report.passed] == []
    assert all(deviation == 0.0 for report in reports for deviation in report.deviations.values())
    assert sum(report.success is True for report in reports) == sum(
        report.file.startswith("expert_") for report in reports
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_tasks_from_seeds_to_scores(accept_seeds: Any, tmp_path: Path) -> None:
    file = accept_seeds("robotwin_easy", ",".join(MESH_FREE), 1)
    assert {entry.task for entry in file.episodes} == set(MESH_FREE)
    run = evaluate("scripted:zero", "robotwin_easy", tasks=list(MESH_FREE), out=tmp_path / "zero", workers=2)
    records = [record for record in run.records if record.completed]
    assert len(records) == 5
    assert not any(record.success for record in records)
    assert all(record.steps == get_benchmark("robotwin_easy").protocol().step_limit(record.task) for record in records)


@pytest.mark.slow
def test_recorded_experts_succeed_as_a_policy(accept_seeds: Any, recordings: Path, tmp_path: Path) -> None:
    accept_seeds("robotwin_easy", "stack_blocks_two,blocks_ranking_rgb", 2)
    for task, trial in (("stack_blocks_two", 0), ("blocks_ranking_rgb", 1)):
        run = evaluate(
            f"replay:{recordings}",
            "robotwin_easy",
            tasks=[task],
            episodes=str(trial),
            exec=["full", "single"],
            out=tmp_path / task,
            workers=2,
        )
        records = list(run.records)
        assert [record.success for record in records] == [True, True]
        assert len({record.state_hash for record in records}) == 1


def test_hard_is_set_up_and_evaluated(accept_seeds: Any, tmp_path: Path) -> None:
    file = accept_seeds("robotwin_hard", "stack_blocks_two", 1)
    assert file.provenance["unseen_textures"] == 1000
    run = evaluate(
        "scripted:random",
        "robotwin_hard",
        tasks=["stack_blocks_two"],
        set={"max_steps_by_task": {}, "max_steps": 3},
        out=tmp_path / "hard",
        workers=1,
    )
    (record,) = run.records
    assert record.completed
    assert record.steps == 3
    assert record.details["scene_seed"] == file.episodes[0].seed


def test_what_this_machine_cannot_do_is_refused_in_one_sentence(laboratory: Experiments, accept_seeds: Any) -> None:
    accept_seeds("robotwin_easy", "stack_blocks_two", 1)
    found = laboratory("refusals")
    expected = {
        "another size": "UsageError: robotwin_easy/standard@1",
        "another shader": "UnknownNameError: unknown shader 'toon'; known: rt, default",
        "trial beyond the file": "EpisodeRangeError: the episode file of robotwin_easy holds 0 episodes",
    }
    if not Path("/dev/nvidiactl").exists():
        expected["official pictures"] = "RendererError: robotwin_easy/standard@1 asks for the official pictures"
        expected["official film"] = expected["official pictures"]
        expected["official planner"] = "DependencyError: action mode ee plans every action with cuRobo"
    for name, beginning in expected.items():
        assert found["refused"][name].startswith(beginning)
    rasterised, by_pose = found["fingerprints"]
    assert (rasterised["shader"], rasterised["motion_planner"]) == ("default", "none")
    assert (by_pose["shader"], by_pose["motion_planner"]) == (None, "cpu")
    for fingerprint in (rasterised, by_pose):
        assert fingerprint["reportable"] is False
        assert len(fingerprint["episode_file_sha256"]) == 64


def test_the_checkout_is_left_as_it_was(laboratory: Experiments) -> None:
    root = Path(os.environ["ROBOTWIN_ROOT"])
    before = {path: path.stat().st_mtime_ns for path in root.glob("envs/**/*.py")}
    laboratory("stepping", task="stack_blocks_two", config="demo_clean", seed=100000, count=8)
    assert {path: path.stat().st_mtime_ns for path in root.glob("envs/**/*.py")} == before


@pytest.mark.parametrize("bench", ["robotwin_easy", pytest.param("robotwin_hard", marks=pytest.mark.slow)])
def test_upstream_steps_beside_ours(checkout_assets: Path, tmp_path: Path, bench: str) -> None:
    benchmark = get_benchmark(bench)
    lines = list(Laboratory.of(benchmark).record_upstream(find_interpreter(benchmark), tmp_path))
    reports = list(verify(benchmark, tmp_path))
    assert len(lines) == len(reports) == len(MESH_FREE)
    assert [report.failure for report in reports if report.verdict != "equal"] == []


def test_another_vendors_processor_and_a_shifted_object_are_told_apart(recordings: Path, tmp_path: Path) -> None:
    with np.load(recordings / "trace_stack_blocks_two_s100001.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    vendor = describe_processor()["processor vendor"]
    other = {"processor vendor": "AuthenticAMD" if vendor != "AuthenticAMD" else "GenuineIntel"}
    arrays = {**arrays, "actions": arrays["actions"][:6], "physics_steps": arrays["physics_steps"][:6]}
    rows = ("qpos", "qvel", "objects", "joint_action_vector", "ee_pose", "success")
    arrays |= {name: arrays[name][:7].copy() for name in rows}
    parted = {**arrays, "processor": json.dumps(other)}
    parted["objects"] = arrays["objects"].copy()
    parted["objects"][4:] += 2.2e-5
    np.savez(tmp_path / "parted.npz", **parted)
    shifted = {**arrays, "processor": json.dumps(other), "objects": arrays["objects"] + 0.01}
    np.savez(tmp_path / "shifted.npz", **shifted)
    first, second = verify(get_benchmark("robotwin_easy"), tmp_path)
    assert first.verdict == "upstream computes the same here"
    assert f"processor vendor {vendor} here" in str(first.failure)
    assert second.verdict == "differs"
    assert "which no processor does" in str(second.failure)


def test_the_pose_mode_observes_upstreams_endpose(laboratory: Experiments, accept_seeds: Any) -> None:
    accept_seeds("robotwin_easy", "stack_blocks_two", 1)
    found = laboratory("poses")
    assert found["in_space"]
    assert found["proprio"] == pytest.approx(found["endpose"], abs=1e-6)
    assert found["objects"] == len(found["names"]) >= 2
