"""LIBERO against upstream's recordings and against the contract, in its own interpreter."""

from __future__ import annotations

import ctypes.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simrun.envs import get_benchmark
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.machine.interpreters import find_interpreter

pytestmark = pytest.mark.assets

SLOW = [pytest.mark.slow, pytest.mark.timeout(1800)]

Experiments = Callable[..., Any]

# A cabinet with a door sampler, a burner that glows, and the poses of all fixtures.
QUICK = ["libero_10_3.npz", "libero_10_8.npz", "../../libero/fixture_poses_seq.npz"]

LIBERO_10 = Path("libero_332") / "libero_10"


def _assert_reproduced(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        assert report["passed"], report
        exact = {name: value for name, value in report["deviations"].items() if not name.endswith("(mean)")}
        assert exact, report
        assert set(exact.values()) == {0.0}, report


def test_recordings_are_reproduced_to_the_last_bit(laboratory: Experiments, golden: Path) -> None:
    reports = laboratory("verify", folder=str(golden / LIBERO_10), names=QUICK)
    assert [report["file"] for report in reports] == sorted(Path(name).name for name in QUICK)
    _assert_reproduced(reports)
    assert [report["note"] for report in reports][1:] == ["8 of 8 images equal to the last bit"] * 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_recordings_are_reproduced_to_the_last_bit(laboratory: Experiments, golden: Path) -> None:
    reports = laboratory("verify", folder=str(golden / LIBERO_10))
    assert len(reports) == 10
    _assert_reproduced(reports)


def test_a_region_of_interest_is_what_it_belongs_to(laboratory: Experiments) -> None:
    task = "pick_up_the_alphabet_soup_and_place_it_in_the_basket_task"
    carried, basket, *others = laboratory("interest", benchmark="libero_pro_object", task=task)
    assert 0.03 < carried < 0.15 < basket
    assert others == [0.0, 0.0]


SOUP = "pick_up_the_alphabet_soup_and_place_it_in_the_basket"
"""A task of LIBERO-Object."""


OWN = [SOUP.replace("_", " "), ["in(alphabet_soup_1, basket_1_contain_region)"]]
"""What it tells a policy, and its goal."""


@pytest.mark.timeout(600)
def test_a_twin_of_liberos_own_task_begins_in_the_variants_state(laboratory: Experiments) -> None:
    ((differing, variant, twin),) = laboratory("twins", benchmark="libero_pro_object", tasks=[f"{SOUP}_task"]).values()
    assert (differing, twin) == (0, OWN)
    assert variant[0] != OWN[0]
    assert variant[1] != OWN[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_paired_twins_begin_where_the_variant_does_and_others_elsewhere(laboratory: Experiments) -> None:
    found = laboratory("twins", benchmark="libero_pro_object", tasks=[f"{SOUP}_lan", f"{SOUP}_swap"])
    (differing, variant, twin), swap = found.values()
    assert (differing, twin, variant[1]) == (0, OWN, OWN[1])
    assert variant[0] != OWN[0]
    # Not paired: the states hold what is perturbed.
    assert swap[0] > 10
    variants = [f"{SOUP}{end}" for end in ("_view_0_0_100_0_0_initstate_101", "_tb_18")]
    found = laboratory("twins", benchmark="libero_plus_object", tasks=variants)
    assert all(one == [0, OWN, OWN] for one in found.values()), found


@pytest.mark.slow
def test_definition_and_states_of_every_variant_are_read(laboratory: Experiments) -> None:
    found = laboratory("definitions")
    # Layouts, and nothing else, have one initial state.
    assert {key for read in found.values() for key in read if ("Layout" in key) != key.endswith(", 1")} == set()
    assert sum(sum(read.values()) for name, read in found.items() if "plus" in name) == 7045
    assert [sum(read.values()) for name, read in found.items() if "pro" in name] == [40] * 4


@pytest.mark.slow
def test_rest_pose_and_noise_of_a_variant_begin_with_the_dummy_steps(laboratory: Experiments) -> None:
    view = f"{SOUP}_view_0_0_100_0_0_initstate_"
    found = laboratory("traps", noise=f"{view}0_noise_36", robot=f"{view}421")
    # The initial state sets the joints back, and the picture of it is clean.
    assert found["0"] == [True, 0.0, True, True]
    same, angle, clean, repeated = found["10"]
    assert (same, clean, repeated) == (False, False, True)
    assert angle > 15


@pytest.mark.timeout(600)
def test_what_is_seen_otherwise_leaves_the_physics_alone(laboratory: Experiments) -> None:
    found = laboratory("perturbed", task=5)
    assert all(same for same, _ in found.values()), found
    assert set(found.pop("none")[1].values()) == {0.0}
    assert found["camera"][1].pop("eye_in_hand") == 0.0
    assert all(moved > 1 for _, cameras in found.values() for moved in cameras.values()), found


def test_a_changed_recording_is_not_reproduced(laboratory: Experiments, golden: Path, tmp_path: Path) -> None:
    import numpy as np

    with np.load(golden / LIBERO_10 / "libero_10_5.npz") as archive:
        arrays = {name: value[:6] if name in ("actions", "ctrl") else value for name, value in archive.items()}
    arrays = {name: value for name, value in arrays.items() if not name.startswith("png")}
    arrays["states"] = arrays["states"][:7].copy()
    arrays["states"][4, 3] = np.nextafter(arrays["states"][4, 3], 1.0)
    arrays["success"] = np.append(arrays["success"][:6], True)
    np.savez(tmp_path / "changed.npz", **arrays)
    (report,) = laboratory("verify", folder=str(tmp_path), names=["changed.npz"])
    assert not report["passed"]
    assert report["first_difference"] == 4
    assert report["flags_agree"] is False
    assert 0.0 < report["deviations"]["states"] < 1e-12


@pytest.mark.parametrize(
    ("benchmark", "names"),
    [
        ("libero_pro_object", ["liberopro_libero_object_object.npz"]),
        pytest.param("libero_plus_object", None, marks=SLOW),
    ],
)
def test_recordings_of_perturbed_tasks_are_reproduced(
    benchmark: str, names: list[str] | None, laboratory: Experiments, golden: Path
) -> None:
    reports = laboratory("verify", folder=str(golden / "libero_pro_plus"), benchmark=benchmark, names=names)
    assert len(reports) == (len(names) if names else 3)
    _assert_reproduced(reports)
    assert all(report["flags_agree"] and "4 of 4 images equal" in report["note"] for report in reports), reports


def test_absolute_control_is_upstreams_with_deltas_off(laboratory: Experiments) -> None:
    assert laboratory("absolute", steps=8) == {"states": True, "poses": True}


def test_numba_compiles_once_for_all_checkouts_and_anew_for_another_content(
    laboratory: Experiments, tmp_path: Path
) -> None:
    assert laboratory("compiled_functions", cache=str(tmp_path)) == [0, 1, 0]


def test_the_contract_is_kept(laboratory: Experiments) -> None:
    assert laboratory("check", tasks=[5], steps=4) == "passed"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_contract_is_kept_by_all_tasks(laboratory: Experiments) -> None:
    assert laboratory("check", tasks=list(range(10)), steps=8) == "passed"


@pytest.mark.parametrize(
    "tasks", [pytest.param([3, 9, 2], id="three"), pytest.param(list(range(10)), id="all", marks=SLOW)]
)
def test_states_do_not_depend_on_what_ran_before(laboratory: Experiments, tasks: list[int]) -> None:
    found = laboratory("states", tasks=tasks)
    assert found["first"] == found["again"] == found["fresh"]
    assert len(set(found["first"])) == len(tasks)


def test_environments_of_different_tasks_do_not_disturb_each_other(laboratory: Experiments) -> None:
    assert laboratory("two_environments") == {
        "differ": True,
        "plausible": True,
        "beside another": True,
        "moves": True,
        "the other unmoved": True,
        "after the other was closed": True,
        "begun again": True,
    }


@pytest.mark.slow
@pytest.mark.skipif(ctypes.util.find_library("OSMesa") is None, reason="OSMesa is not installed")
def test_osmesa_draws_the_same_pixels_as_egl(laboratory: Experiments) -> None:
    drawn = [laboratory("images", {"MUJOCO_GL": backend}, task=2) for backend in ("egl", "osmesa")]
    assert [backend for backend, *_ in drawn] == ["egl", "osmesa"]
    assert drawn[0][1:] == drawn[1][1:]


@pytest.mark.parametrize(
    ("task", "agent", "hand"),
    [
        (0, range(20, 100), range(40, 150)),
        # The stove is a mirror, which one camera always sees and the other one now and then.
        (2, range(1), range(1)),
        pytest.param(5, range(20, 100), range(40, 150), marks=SLOW),
    ],
)
def test_what_a_camera_cannot_see_is_left_out_and_changes_no_pixel(
    laboratory: Experiments, task: int, agent: range, hand: range
) -> None:
    found = laboratory("in_sight", task=task, seed=3, steps=6)
    assert not any(differs for states in found.values() for _, differs in states)
    for states, wanted in zip(found.values(), (agent, hand), strict=True):
        assert all(count in wanted for count, _ in states), states


def test_settling_interleaves_with_the_policy_under_vlm4vla(laboratory: Experiments) -> None:
    assert laboratory("interleaved") == {"equal": True, "limit": 525}


@pytest.mark.parametrize(
    ("tasks", "seed", "episodes"),
    [
        ([3], 11, 3),
        pytest.param([2, 3, 5, 8, 9], 0, 50, marks=SLOW),
        pytest.param([2, 3, 5, 8, 9], 7, 50, marks=SLOW),
    ],
)
def test_draws_of_fixtures_are_upstreams(laboratory: Experiments, tasks: list[int], seed: int, episodes: int) -> None:
    found = laboratory("fixtures", tasks=tasks, seed=seed, episodes=episodes)
    assert len(found) == len(tasks)
    assert all(found.values()), found


def test_without_cameras_nothing_of_opengl_and_no_file_is_left(laboratory: Experiments, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    found = laboratory("blind", {"HOME": str(home), "MUJOCO_GL": "nonsense", "CUDA_VISIBLE_DEVICES": "3"})
    assert found["opengl"] == []
    assert found["generator untouched"]
    assert found["in space"]
    assert found["instruction"] == "turn on the stove and put the moka pot on it"
    assert len(found["proprio"]) == 8
    assert not (home / ".libero").exists()


def test_what_cannot_be_done_is_refused(laboratory: Experiments, tmp_path: Path, assets: Path) -> None:
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero" / "scenes").symlink_to(assets / "libero" / "scenes")
    refused = laboratory("refusal", attempt="begin", suite="libero_10", assets=str(tmp_path))
    assert refused.startswith("AssetError: the data files of libero_10 are missing: there is no ")
    assert str(tmp_path) in refused
    (tmp_path / "empty").mkdir()
    refused = laboratory("refusal", attempt="begin", suite="libero_goal", assets=str(tmp_path / "empty"))
    assert refused.startswith("AssetError: the data files of libero_goal are missing")
    assert laboratory("refusal", attempt="rotation").startswith("UnknownNameError: unknown image_rotation")
    assert laboratory("refusal", attempt="seed").startswith("UsageError: episode libero_10/standard@2/LIVING_ROOM")
    assert laboratory("refusal", attempt="idle").startswith("UsageError: no episode was started")


def test_stand_ins_are_told(laboratory: Experiments, assets: Path) -> None:
    found = laboratory("fingerprint")
    assert found["standins"] is (assets / "libero" / "STANDINS.txt").exists()
    assert found["packages"]["mujoco"] == "3.3.2"
    assert found["renderer"]["backend"] in ("egl", "osmesa")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_upstream_recorded_now_is_reproduced(
    laboratory: Experiments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simrun.envs.libero import laboratory as recording

    benchmark = get_benchmark("libero_10")
    tasks = recording.suite_tasks("libero_10")
    monkeypatch.setattr(recording, "suite_tasks", lambda suite: [tasks[0], tasks[2], tasks[9]])
    (tmp_path / "recordings").mkdir()
    list(Laboratory.of(benchmark).record_upstream(find_interpreter(benchmark), tmp_path / "recordings"))
    reports = laboratory("verify", folder=str(tmp_path / "recordings"))
    assert len(reports) == 3
    _assert_reproduced(reports)
    assert all("10 of 10 images equal" in report["note"] for report in reports), reports


@pytest.mark.parametrize(
    ("trials", "least"),
    [
        pytest.param(range(2, 4), 2, id="two"),
        pytest.param(range(24), 17, id="all", marks=SLOW),
    ],
)
def test_the_expert_succeeds_on_three_tasks(laboratory: Experiments, trials: range, least: int) -> None:
    tasks = [0, 1, 7]
    successes = laboratory("expert", trials=[[task, trial] for task in tasks for trial in trials])
    per_task = {task: sum(successes[index * len(trials) :][: len(trials)]) for index, task in enumerate(tasks)}
    assert min(per_task.values()) >= least, per_task
