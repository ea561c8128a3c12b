"""A user's own instructions: what a file may say, what is refused, and what a policy is told then."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from simrun.envs import Benchmark, Episode, Protocol, Task, get_benchmark
from simrun.envs.instructions import read_instructions, worded
from simrun.errors import EpisodeRangeError, UnknownNameError, UsageError

TABLETOP = get_benchmark("tabletop")
PLAIN = TABLETOP.protocol()
STATES = [("press_button", 0), ("open_drawer", 3)]

TOML = """
press_button = "push the button"
[open_drawer]
3 = ["pull", "open it"]
"""
CSV = "task,trial,instruction\npress_button,,push the button\nopen_drawer,3,pull\nopen_drawer,3,open it\n"
JSON = json.dumps({"press_button": ["push the button"], "open_drawer": {"3": ["pull", "open it"]}})


@pytest.mark.parametrize(("ending", "text"), [("toml", TOML), ("csv", CSV), ("json", JSON)])
def test_three_formats_say_the_same(tmp_path: Path, ending: str, text: str) -> None:
    file = tmp_path / f"words.{ending}"
    file.write_text(text)
    found = worded(PLAIN, TABLETOP, str(file), STATES)
    assert found.instructions == {"press_button": ("push the button",), "open_drawer/3": ("pull", "open it")}
    assert re.fullmatch(r"tabletop/standard@1\+wording=words-[0-9a-f]{8}", found.name)
    assert found.plain == PLAIN
    assert found.plain.hash == PLAIN.hash != found.hash
    assert Protocol.from_json(json.loads(json.dumps(found.to_json()))).hash == found.hash
    assert [TABLETOP.wordings(found, *state) for state in STATES] == [1, 2]


def test_a_plain_protocol_is_written_as_before_there_were_wordings() -> None:
    assert not {"instructions", "perturbation"} & set(PLAIN.to_json())


def test_other_sentences_are_another_protocol(tmp_path: Path) -> None:
    names = set()
    for sentence in ("push", "press"):
        (tmp_path / "a.json").write_text(json.dumps({"press_button": sentence}))
        names.add(worded(PLAIN, TABLETOP, str(tmp_path / "a.json"), STATES[:1]).name)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", 'press_buton = "push"', "task of tabletop in .*press_button"),
        ("a.toml", 'press_button = "push"', "no sentence for open_drawer"),
        ("a.toml", 'press_button = "push"\n[open_drawer]\n0 = "pull"', "no sentence for trial 3 of open_drawer"),
        ("a.toml", "press_button = 3", "press_button must be a sentence"),
        ("a.toml", "press_button = []", "press_button must be a sentence"),
        ("a.toml", 'press_button = ["push", "push"]', "same sentence twice"),
        ("a.toml", 'press_button = "push\\nit"', "line break"),
        ("a.toml", f'press_button = "{"x" * 2000}"', "2000 characters"),
        ("a.toml", '[press_button]\nfirst = "push"', "'first' of press_button is no trial"),
        ("a.toml", "press_button =", "cannot be read"),
        ("a.json", "[1]", "holds no object"),
        ("a.csv", "task,sentence\npress_button,push\n", "columns must be"),
        ("a.csv", "task,instruction\npress_button,push,it\n", "row 1 has not as many fields"),
        ("a.csv", "task,trial,instruction\nopen_drawer,3,pull\nopen_drawer,,pull\n", "with and without a trial"),
        ("a.txt", "press_button: push", "must be .toml, .json, .csv"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((UsageError, UnknownNameError), match=words) as refused:
        worded(PLAIN, TABLETOP, str(tmp_path / name), STATES)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No such file.*none, empty, swap"):
        read_instructions(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="no regular file"):
        read_instructions(tmp_path)


def test_swap_gives_each_task_the_next_ones_sentence() -> None:
    found = worded(PLAIN, TABLETOP, "swap", STATES)
    own = TABLETOP.sentences(PLAIN)
    names = list(own)
    assert found.sentences("press_button", 0) == (own[names[names.index("press_button") + 1]],)
    assert found.sentences(names[-1], 0) == (own[names[0]],)
    assert all(found.sentences(name, 7) != (own[name],) for name in names)


def test_swap_looks_for_another_sentence_and_is_refused_where_there_is_none() -> None:
    class Same(type(TABLETOP)):  # type: ignore[misc]
        sentence = ""

        def tasks(self, protocol: Protocol) -> Sequence[Task]:
            return [Task(name, self.sentence, 1, 1) for name in ("a", "b")]

    same: Benchmark = Same()
    with pytest.raises(UsageError, match="has no instructions"):
        worded(PLAIN, same, "empty", [])
    Same.sentence = "do it"
    with pytest.raises(UsageError, match="all tasks of tabletop have one sentence"):
        worded(PLAIN, same, "swap", [])
    robotwin = get_benchmark("robotwin_easy")
    with pytest.raises(UsageError, match="has a sentence of its own"):
        worded(robotwin.protocol(), robotwin, "swap", [])


def test_episodes_name_their_sentence() -> None:
    episode = Episode("tabletop/standard@1+wording=a-0", "press_button", 2, 1, 3)
    assert episode.id == "tabletop/standard@1+wording=a-0/press_button/2/s1/w3"
    assert Episode.parse(episode.id) == episode
    assert Episode.parse(episode.id.removesuffix("/w3")).wording == 0
    assert episode.chance == "tabletop/standard@1/press_button/2/s1"


def test_the_environment_says_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    protocol = worded(PLAIN, TABLETOP, str(tmp_path / "a.toml"), STATES)
    env = TABLETOP.make_env(protocol=protocol, cameras=())
    try:
        told = []
        for task, trial, wording in (("press_button", 0, 0), ("open_drawer", 3, 0), ("open_drawer", 3, 1)):
            observation, _ = env.reset(options={"episode": Episode(protocol.name, task, trial, 0, wording)})
            told.append(observation["instruction"])
        assert told == ["push the button", "pull", "open it"]
        with pytest.raises(EpisodeRangeError, match="no sentence number 1"):
            env.reset(options={"episode": Episode(protocol.name, "press_button", 0, 0, 1)})
    finally:
        env.close()


def test_a_chain_asks_for_its_subtasks(tmp_path: Path) -> None:
    calvin = get_benchmark("calvin")
    plain = calvin.protocol()
    names = calvin.asked(plain, "sequence", 0)
    assert len(names) == 5
    assert set(names) <= set(calvin.sentences(plain))
    (tmp_path / "a.json").write_text(json.dumps({name: ["go", "move"] for name in names[:-1]}))
    with pytest.raises(UsageError, match=f"no sentence for {names[-1]}"):
        worded(plain, calvin, str(tmp_path / "a.json"), [("sequence", 0)])
    (tmp_path / "a.json").write_text(json.dumps({name: ["go", "move"] for name in names}))
    assert calvin.wordings(worded(plain, calvin, str(tmp_path / "a.json"), [("sequence", 0)]), "sequence", 0) == 2
