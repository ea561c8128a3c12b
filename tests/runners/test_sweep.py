from __future__ import annotations

import os
from pathlib import Path

import pytest

from simrun.envs import Protocol, get_benchmark
from simrun.errors import EpisodeRangeError, UnknownNameError, UsageError
from simrun.results.plan import Plan
from simrun.runners.sweep import make_config, make_plan, parse_range, read_config, select_episodes, select_protocol

SMALL = {"bench": ["tabletop"], "ckpt": ["scripted:zero"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:3", [0, 1, 2]),
        ("6,15", [6, 15]),
        ("0:10:4,1", [0, 4, 8, 1]),
        (":2", [0, 1]),
        ("18:", [18, 19]),
        ("3,3", [3]),
    ],
)
def test_ranges(text: str, expected: list[int]) -> None:
    assert parse_range(text, 20) == expected


@pytest.mark.parametrize("text", ["0:21", "20", "abc", "1-3", "", "5:5", "0:4:0", "-1"])
def test_bad_ranges_are_one_sentence(text: str) -> None:
    with pytest.raises(EpisodeRangeError):
        parse_range(text, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bench": ["nonsense"]}, "unknown benchmark 'nonsense'"),
        ({"bench": []}, "bench"),
        ({"exec": ["quarter"]}, "unknown execution variant 'quarter'"),
        ({"exec": ["k=0"]}, "at least 1"),
        ({"workers": 0}, "workers"),
        ({"workers": 10**6}, "workers: .*less than or equal to 4096"),
        ({"timeout": 1e300}, "timeout: .*less than or equal to 1000000"),
        ({"timeout": float("nan")}, "timeout"),
        ({"max_wait": float("inf")}, "max_wait: .*less than or equal to 1000000"),
        ({"video": "some"}, "--video 'some' is unknown"),
        ({"wrokers": 2}, "unknown key 'wrokers'"),
        ({"seeds": ["x"]}, "seeds"),
    ],
)
def test_wrong_values_are_named(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_config({**SMALL, **change})


def test_a_toml_file_is_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('bench = ["tabletop"]\nckpt = ["scripted:zero"]\nexec = ["full", "k=2"]\nset = {max_steps = 5}\n')
    config = make_config(read_config(path))
    assert config.exec == ["full", "k=2"]
    assert select_protocol(config, get_benchmark("tabletop")).name.endswith("+max_steps=5")


@pytest.mark.parametrize("text", ["bench = [", None])
def test_an_unreadable_file_is_one_sentence(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "sweep.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"sweep\.toml"):
        read_config(path)


def test_tasks_are_chosen_by_pattern_in_the_official_order() -> None:
    benchmark = get_benchmark("tabletop")
    config = make_config({**SMALL, "tasks": ["push_*", "reach_red"], "episodes": "0:2"})
    episodes = select_episodes(config, benchmark, benchmark.protocol())
    official = [task.name for task in benchmark.tasks(benchmark.protocol())]
    chosen = list(dict.fromkeys(episode.task for episode in episodes))
    assert chosen == [name for name in official if name.startswith("push_") or name == "reach_red"]
    assert len(episodes) == len(set(episodes)) == len(chosen) * 2


def test_seeds_that_draw_nothing_are_refused_as_copies() -> None:
    benchmark = get_benchmark("tabletop")
    config = make_config({**SMALL, "seeds": list(range(10))})
    with pytest.raises(UsageError, match="10 seeds would be as many copies of the same episodes"):
        select_episodes(config, benchmark, benchmark.protocol())
    libero = get_benchmark("libero_10")
    config = make_config({**SMALL, "bench": ["libero_10"], "episodes": "0:2", "seeds": [0, 1]})
    assert len(select_episodes(config, libero, libero.protocol())) == 40


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    benchmark = get_benchmark("tabletop")
    with pytest.raises(UnknownNameError, match="unknown task of tabletop 'fly'"):
        select_episodes(make_config({**SMALL, "tasks": ["fly"]}), benchmark, benchmark.protocol())


def test_a_plan_survives_json_and_keeps_its_hash() -> None:
    config = make_config({**SMALL, "ckpt": ["scripted:zero", "scripted:random"], "exec": ["full", "single"]})
    plan = make_plan(config)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.hash == plan.hash == make_plan(config).hash
    assert len(plan) == 4 * len(plan.episodes)


def test_a_plan_that_was_edited_is_refused() -> None:
    document = make_plan(make_config(SMALL)).to_json()
    document["episodes"].pop()
    with pytest.raises(UsageError, match="hash does not match"):
        Plan.from_json(document)


def test_what_the_machine_does_is_no_part_of_the_identity() -> None:
    one = make_config({**SMALL, "workers": 1, "retries": 0})
    two = make_config({**SMALL, "workers": 8, "video": "all"})
    assert one.identity() == two.identity()
    assert one.identity() != make_config({**SMALL, "policy_seeds": [1]}).identity()


@pytest.mark.parametrize(
    "text",
    ["seeds = [" + "1" * 5000 + "]", "[" * 100_000, 'bench = ["tabletop"]\nset = {max_steps = "many"}', "\udcff"],
)
def test_a_damaged_configuration_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sweep.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError):
        make_plan(make_config({"bench": ["tabletop"], "ckpt": ["scripted:zero"], **read_config(file)}))


def test_a_configuration_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UsageError, match="is no regular file"):
            read_config(path)


def test_a_range_beyond_all_trials_takes_no_memory() -> None:
    with pytest.raises(EpisodeRangeError, match="the last trial is 9"):
        parse_range("0:99999999999999999", 10)


@pytest.mark.parametrize("text", ["1" * 5000, "0:" + "1" * 5000, "0:3:" + "1" * 5000])
def test_numbers_beyond_all_digits_are_no_range(text: str) -> None:
    with pytest.raises(EpisodeRangeError, match="is no range"):
        parse_range(text, 10)


def test_sizes_without_end_are_no_protocol() -> None:
    document = select_protocol(make_config(SMALL), get_benchmark("tabletop")).to_json()
    with pytest.raises(UsageError, match="cannot be read"):
        Protocol.from_json({**document, "cameras": {"front": [float("inf"), 3]}})
