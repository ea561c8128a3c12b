"""LIBERO-PRO and LIBERO-plus, as far as they are known without MuJoCo: lists, names, sentences, perturbations."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from simrun.envs import get_benchmark
from simrun.envs.libero.recipes import CameraPose
from simrun.envs.libero.robustness.perturbations import REST_POSES, moved_view, rest_pose
from simrun.envs.libero.robustness.plus import LiberoPlusSuite, Perturbation, added_objects, read_suffix
from simrun.envs.libero.robustness.pro import LiberoProSuite
from simrun.envs.libero.robustness.suites import PROMPTS, PerturbedSuite, sentence_of
from simrun.envs.libero.suites import suite_tasks
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.interpreters import find_interpreter
from simrun.errors import AssetError, UnknownNameError, UsageError
from simrun.runners.sweep import SweepConfig, select_episodes

SUITES = ("spatial", "object", "goal", "10")
PUBLISHED = {
    "Camera Viewpoints": (376, 396, 408, 419),
    "Robot Initial States": (350, 398, 409, 393),
    "Language Instructions": (390, 354, 410, 383),
    "Light Conditions": (292, 297, 279, 274),
    "Background Textures": (258, 248, 281, 289),
    "Sensor Noise": (351, 422, 379, 449),
    "Objects Layout": (385, 403, 425, 312),
}
"""Category -> variants in the four suites, as counted over the registry."""

TABLE = CameraPose((0.6586131746834771, 0.0, 1.6103500240372423), (0.638017773, 0.304849743, 0.304849863, 0.638017773))


def plus(suite: str) -> LiberoPlusSuite:
    benchmark = get_benchmark(f"libero_plus_{suite}")
    assert isinstance(benchmark, LiberoPlusSuite)
    return benchmark


def pro(suite: str) -> LiberoProSuite:
    benchmark = get_benchmark(f"libero_pro_{suite}")
    assert isinstance(benchmark, LiberoProSuite)
    return benchmark


def test_all_variants_of_the_registry_are_listed() -> None:
    counted = [Counter(task.category for task in plus(suite).perturbed_tasks().values()) for suite in SUITES]
    assert {name: tuple(counts[name] for counts in counted) for name in PUBLISHED} == PUBLISHED
    assert sum(sum(counts.values()) for counts in counted) == 10030
    without_level = [
        task for suite in SUITES for task in plus(suite).perturbed_tasks().values() if task.level not in range(1, 6)
    ]
    assert {(task.category, task.level) for task in without_level} == {("Light Conditions", None)}
    assert len(without_level) == 121


def test_every_variant_names_its_base_task_and_begins_where_it_does_but_for_layouts() -> None:
    for suite in SUITES:
        benchmark = plus(suite)
        for task in benchmark.tasks(benchmark.protocol()):
            assert task.variant is not None
            assert task.variant.twin_protocol == f"libero_{suite}/openvla@2"
            assert task.variant.twin_task in suite_tasks(f"libero_{suite}")
            assert task.variant.paired == (task.variant.category != "Objects Layout")
            assert task.trials == 1


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("_view_21_15_100_0_0_initstate_0", Perturbation("Camera Viewpoints", view=(21, 15, 100, 0, 0))),
        ("_view_0_0_100_0_0_initstate_421", Perturbation("Robot Initial States", rest_pose=421)),
        ("_view_0_0_100_0_0_initstate_0_noise_13", Perturbation("Sensor Noise", noise=13)),
        ("_language_6_view_0_0_100_0_0_initstate_0", Perturbation("Language Instructions", "_language_6")),
        ("_moved_level1_sample3", Perturbation("Objects Layout", "_moved_level1_sample3")),
        ("_level2_sample1", Perturbation("Objects Layout", "_level2_sample1")),
        ("_add_14", Perturbation("Objects Layout", "_add_14")),
        ("_table_12", Perturbation("Background Textures", "_table_12")),
        ("_tb_18", Perturbation("Background Textures", "_tb_18")),
        ("_light_101", Perturbation("Light Conditions", "_light_101")),
    ],
)
def test_suffixes_are_read_from_their_end(suffix: str, expected: Perturbation) -> None:
    assert read_suffix(suffix) == expected


def test_a_base_task_that_names_a_table_is_none_of_the_background_variants() -> None:
    base = "pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate"
    variants = [task for task in plus("spatial").perturbed_tasks().values() if task.base == base]
    assert len(variants) == 267
    assert {task.category for task in variants} == set(PUBLISHED)
    with pytest.raises(ValueError, match="no suffix"):
        read_suffix("_from_table_center_and_place_it_on_the_plate")


def test_every_variant_has_its_view_rounded_to_four_decimals() -> None:
    unmoved = moved_view(TABLE, 0, 0, 100, 0, 0)
    assert unmoved.position == (0.6586, 0.0, 1.6104)
    assert unmoved.quaternion == (0.638, 0.3048, 0.3048, 0.638)
    turned = moved_view(TABLE, 90, 0, 100, 0, 0)
    assert turned.position == (0.0, 0.6586, 1.6104)
    raised = moved_view(TABLE, 0, 15, 100, 0, 0)
    assert raised.position[2] > TABLE.position[2]
    far = np.array(moved_view(TABLE, 0, 0, 200, 0, 0).position)
    assert far.tolist() == pytest.approx([2 * 0.6586, 0.0, 0.8 + 2 * (1.6104 - 0.8)], abs=1e-12)
    for change in ((0, 0, 100, 4, 0), (0, 0, 100, 0, 6)):
        assert moved_view(TABLE, *change).position == unmoved.position
        assert moved_view(TABLE, *change).quaternion != unmoved.quaternion


def test_rest_poses_are_upstreams_to_the_digits_that_it_prints() -> None:
    printed = [0.10678435, -0.28772887, 0.10323432, -2.43175644, -0.00588528, 2.19359228, 0.80968676]
    assert list(rest_pose(102)) == printed
    own = np.array([0.0, -0.161037389, 0.0, -2.44459747, 0.0, 2.2267522, np.pi / 4])
    away = [float(np.linalg.norm(np.array(rest_pose(number)) - own)) for number in (1, 100, 101, 250, 301, REST_POSES)]
    assert away == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-7)


def test_pro_has_160_tasks_of_50_states_that_are_its_own() -> None:
    for suite in SUITES:
        benchmark = pro(suite)
        tasks = benchmark.tasks(benchmark.protocol())
        assert Counter(task.variant.category for task in tasks if task.variant) == dict.fromkeys(
            ("Object", "Position", "Semantic", "Task"), 10
        )
        assert {task.trials for task in tasks} == {50}
        for task in tasks:
            assert task.variant is not None
            # Where the scene is LIBERO's own, its task can begin in the variant's states; elsewhere they are perturbed.
            own = task.variant.category in ("Semantic", "Task")
            assert task.variant.paired == own
            base = task.name.rpartition("_")[0]
            twin = (f"{benchmark.name}/twin@1", task.name) if own else (f"libero_{suite}/openvla@2", base)
            assert (task.variant.twin_protocol, task.variant.twin_task) == twin
        twins = benchmark.protocol("twin")
        assert [task.name.rpartition("_")[2] for task in benchmark.tasks(twins)] == ["lan"] * 10 + ["task"] * 10
        assert not any(task.variant for task in benchmark.tasks(twins))
        with pytest.raises(UnknownNameError, match=f"task of {benchmark.name}"):
            benchmark.task(twins, f"{suite_tasks(f'libero_{suite}')[0]}_swap")


@pytest.mark.assets
def test_tasks_with_a_twin_of_the_same_states_have_liberos_scene(assets: Path) -> None:
    """Over all 160: what differs from hf-libero's definition, by section."""
    differing: dict[str, set[str]] = {}
    for suite in SUITES:
        folder = bddl_folder() / f"libero_{suite}"
        for task in pro(suite).perturbed_tasks().values():
            ours = sections(pro(suite)._definition(task))
            theirs = sections((folder / f"{task.base}.bddl").read_text(encoding="utf-8"))
            kind = task.name.rpartition("_")[2]
            differing.setdefault(kind, set()).update(
                name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)
            )
    assert differing["lan"] == {":language"}
    assert differing["task"] == {":language", ":obj_of_interest", ":goal"}
    assert differing["swap"] == {":init"}
    assert {":objects", ":regions"} <= differing["object"]


def bddl_folder() -> Path:
    """Where hf-libero's task definitions lie, in LIBERO's own interpreter."""
    python = find_interpreter(get_benchmark("libero_10"))
    return next(Path(python).parent.parent.glob("lib/python3*/site-packages/libero/libero/bddl_files"))


def sections(bddl: str) -> dict[str, list[str]]:
    """Name of a part of a task definition -> its words."""
    found: dict[str, list[str]] = {}
    depth, words = 0, []
    for word in re.findall(r"[()]|[^\s()]+", re.sub(r";.*", "", bddl)):
        depth += {"(": 1, ")": -1}.get(word, 0)
        words.append(word)
        if depth == 1:
            if word == ")":
                found[words[1]] = words
            words = []
    return found


@pytest.mark.parametrize(("suite", "steps"), [("spatial", 220), ("object", 280), ("goal", 300), ("10", 520)])
def test_protocols_differ_in_the_sentence_alone(suite: str, steps: int) -> None:
    for benchmark in (pro(suite), plus(suite)):
        protocols = benchmark.protocols()
        twin = ["twin"] if benchmark is pro(suite) else []
        assert [protocol.settings["prompt"] for protocol in protocols.values()] == [*PROMPTS, *twin]
        assert benchmark.default_protocol == f"{benchmark.name}/base@1"
        assert {(one.max_steps, one.settle_steps, one.settings["environment_seed"]) for one in protocols.values()} == {
            (steps, 10, 0)
        }
        assert len({one.hash for one in protocols.values()}) == len(protocols)
        with pytest.raises(UnknownNameError, match="prompt"):
            benchmark.check_protocol(benchmark.protocol().override(prompt="new"))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An asset folder with packages that hold two definitions."""
    monkeypatch.setenv("SIMRUN_ASSETS", str(tmp_path))
    folder = tmp_path / "libero"
    folder.mkdir()
    with zipfile.ZipFile(folder / plus("goal").wheel, "w") as archive:
        root = "liberoplus/liberoplus/bddl_files/libero_goal"
        archive.writestr(f"{root}/turn_on_the_stove_language_1.bddl", "(define (:language Please, light\n it)) ; no")
        archive.writestr(f"{root}/turn_on_the_stove.bddl", "(define (:language Turn on the Stove))")
    with zipfile.ZipFile(folder / pro("goal").wheel, "w") as archive:
        root = "libero/libero/bddl_files"
        archive.writestr(
            f"{root}/libero_goal_task/turn_on_the_stove.bddl", "(define (:language Turn off the stove\u2019s))"
        )
        archive.writestr(f"{root}/libero_goal_swap/turn_on_the_stove.bddl", "(define (:language Turn on the stove))")
    return folder


def test_what_the_policy_is_told(wheels: Path) -> None:
    def told(benchmark: PerturbedSuite, name: str) -> list[str]:
        task = benchmark.perturbed_tasks()[f"turn_on_the_stove{name}"]
        return [benchmark.told(task, prompt) for prompt in PROMPTS]

    noise = "_view_0_0_100_0_0_initstate_0_noise_5"
    assert told(plus("goal"), noise) == [
        "turn on the stove",
        "turn on the stove",
        "turn on the stove view 0 0 100 0 0 initstate 0 noise 5",
    ]
    assert told(plus("goal"), "_language_1_view_0_0_100_0_0_initstate_0") == ["please, light it"] * 3
    # As released, the old task is asked and the new one checked.
    assert told(pro("goal"), "_task") == ["turn off the stove\u2019s", "turn off the stove\u2019s", "turn on the stove"]
    assert told(pro("goal"), "_swap") == ["turn on the stove"] * 3


def test_sentences_are_read_as_upstreams_parser_does() -> None:
    assert (
        sentence_of("(define ; (:language no)\n (:language Pick  the\tAkita bowl)\n (:goal x))")
        == "pick the akita bowl"
    )
    assert sentence_of("(define (:goal x))") == ""


def test_missing_files_leave_variants_out_by_name(wheels: Path) -> None:
    benchmark = plus("goal")
    protocol = benchmark.protocol()
    assert len(benchmark.tasks(protocol)) == 1791
    left_out = benchmark.left_out(protocol)
    assert [sentence.split(" left out")[0] for sentence in left_out] == [
        "libero_plus_goal: 281 variants of Background Textures",
        "libero_plus_goal: 240 variants of Objects Layout",
        "libero_plus_goal: 279 variants of Light Conditions",
    ]
    assert "needs scenes/lights/tabletop_light_sync_modified_187.xml, which is not in" in left_out[2]
    light = next(name for name, task in benchmark.perturbed_tasks().items() if task.category == "Light Conditions")
    with pytest.raises(AssetError, match=rf"{light} of libero_plus_goal needs scenes/lights/.*\.xml"):
        benchmark.task(protocol, light)
    # A run hears of what it asked for alone, and of files where all that it asked for lacks them.
    assert benchmark.left_out(protocol, ["*_view_*"]) == []
    assert [one.split(",")[0] for one in benchmark.left_out(protocol, [light, "nothing"])] == [
        "libero_plus_goal: 1 variant of Light Conditions left out"
    ]
    for pattern in (light, "*_light_*"):
        with pytest.raises(AssetError, match="Light Conditions left out"):
            select_episodes(SweepConfig(ckpt=["x"], bench=["libero_plus_goal"], tasks=[pattern]), benchmark, protocol)
    for file in benchmark.perturbed_tasks()[light].files:
        (wheels / file).parent.mkdir(parents=True, exist_ok=True)
        (wheels / file).touch()
    assert benchmark.task(protocol, light).name == light
    assert len(added_objects()) == 13


def test_7045_variants_build_from_liberos_own_files(wheels: Path) -> None:
    manifest = DataFiles.of(get_benchmark("libero_90")).manifest
    assert manifest is not None
    for path in manifest.files:
        (wheels / path).parent.mkdir(parents=True, exist_ok=True)
        (wheels / path).touch()
    available = [plus(suite).tasks(plus(suite).protocol()) for suite in SUITES]
    assert [len(tasks) for tasks in available] == [1644, 1827, 1791, 1783]
    assert (
        sum(task.variant.category == "Background Textures" for tasks in available for task in tasks if task.variant)
        == 62
    )


@pytest.mark.assets
def test_the_hubs_archive_brings_variants_and_leaves_liberos_own_files(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (path for path in (assets / "libero").rglob("*") if path.is_file()):
        place = tmp_path / "assets" / file.relative_to(assets)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.resolve())
    monkeypatch.setenv("SIMRUN_ASSETS", str(tmp_path / "assets"))
    benchmark = plus("goal")
    files = DataFiles.of(benchmark)
    assert "hub_archive" not in files.fingerprint()
    manifest = files.manifest
    assert manifest is not None
    variant = next(task for task in benchmark.perturbed_tasks().values() if task.category == "Light Conditions")
    own = next(path for path in manifest.files if path.endswith(".xml"))
    before = (tmp_path / "assets" / "libero" / own).read_bytes()
    archive = tmp_path / "assets.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        # Its authors packed the folder with the path that it had on their machine.
        for path in (*variant.files, "new_objects/mug/mug.obj", own):
            packed.writestr(f"home/somebody/libero_plus/assets/{path}", f"content of {path}")
        packed.writestr("home/somebody/libero_plus/README.md", "not data")
    said = benchmark.left_out(benchmark.protocol())
    assert any(f"variants of Light Conditions left out, {variant.name} the first" in one for one in said)
    assert all("--from ARCHIVE" in one for one in said)
    with pytest.raises(AssetError, match="needs"):
        benchmark.task(benchmark.protocol(), variant.name)
    assert files.brings_more(str(archive))
    pulled = files.pull(origin=str(archive), offline=True)
    assert pulled is not None
    new = [path for path in variant.files if path not in manifest.files]
    assert pulled.received == len(new) + 1
    assert (pulled.folder / new[0]).read_text() == f"content of {new[0]}"
    assert (pulled.folder / own).read_bytes() == before
    assert not (pulled.folder / "README.md").exists()
    assert pulled.lacking
    assert benchmark.task(benchmark.protocol(), variant.name).name == variant.name
    assert len(files.fingerprint()["hub_archive"]) == 64
    (pulled.folder / "libero_plus_archive.json").unlink()
    assert files.fingerprint()["hub_archive"].startswith("unpacked by hand")
    with pytest.raises(UsageError, match="there is no such archive"):
        files.pull(origin=str(tmp_path / "absent.zip"), offline=True)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr(f"assets/{new[0]}", "x")
        packed.writestr("assets/../../outside", "x")
    with pytest.raises(AssetError, match="leads out"):
        files.pull(origin=str(tmp_path / "evil.zip"), offline=True)
