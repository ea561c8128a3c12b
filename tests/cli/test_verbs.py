"""Verbs are files: found without being imported, each with its line, and those of 0.1 say what to type now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import simrun.cli
from simrun.cli import app
from simrun.cli.verbs import FORMER_OPTIONS, FORMER_VERBS, PANELS, help_line, load, target_of
from simrun.errors import DONE, FAILED, INTERRUPTED, MISUSED, UsageError

VERBS = [name for names in PANELS.values() for name in names]


def test_the_first_help_lists_every_verb_and_imports_none() -> None:
    code = """
import sys
from typer.testing import CliRunner
from simrun.cli import app, verbs

shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
assert shown.exit_code == 0, shown.exception
for names in verbs.PANELS.values():
    for name in names:
        assert f" {name} " in shown.output, name
        assert verbs.target_of(name) not in sys.modules, name
assert not {"numpy", "gymnasium", "pydantic", "scipy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", VERBS, ids="simrun {}".format)
def test_a_verb_is_described_once(name: str) -> None:
    line = help_line(name)
    assert 20 < len(line) <= 117
    assert line[0].isupper()
    assert line.endswith(".")
    command = load(target_of(name))
    assert command.help.startswith(line)
    assert "Raises:" not in command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_every_file_with_a_command_is_a_verb() -> None:
    folder = Path(simrun.cli.__file__).parent
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    texts |= {path.parent.name: path.read_text(encoding="utf-8") for path in folder.glob("*/__init__.py")}
    found = {stem for stem, text in texts.items() if "\ndef command(" in text or "\napp = typer.Typer(" in text}
    assert found - {"app", "evaluate"} == {name.replace("-", "_") for name in VERBS}


@pytest.mark.parametrize("verb", FORMER_VERBS, ids="simrun {}".format)
def test_a_former_verb_says_what_to_type_now(verb: str) -> None:
    with pytest.raises(UsageError, match="simrun ") as raised:
        app([verb, "--whatever", "x"], standalone_mode=False)
    assert raised.value.exit_code == MISUSED
    assert verb not in VERBS


@pytest.mark.parametrize(("verb", "option"), [(verb, option) for verb, old in FORMER_OPTIONS.items() for option in old])
def test_a_former_option_says_what_to_type_now(verb: str, option: str) -> None:
    with pytest.raises(UsageError, match="now"):
        app([verb, "x", option, "plain"], standalone_mode=False)
    options = [name for parameter in load(target_of(verb)).params for name in parameter.opts]
    assert option not in options


def test_a_misspelt_verb_is_suggested_and_exits_2() -> None:
    done = subprocess.run([sys.executable, "-m", "simrun", "tabel"], capture_output=True, text=True, check=False)
    assert done.returncode == MISUSED
    assert "Did you mean 'table'?" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("returned", "code"), [(None, DONE), (DONE, DONE), (FAILED, FAILED), (INTERRUPTED, INTERRUPTED)]
)
def test_what_a_verb_returns_is_the_exit_code(returned: int | None, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simrun.cli.power.command", lambda: returned)
    assert app(["power"], standalone_mode=False) == code


def test_completion_knows_the_verbs() -> None:
    command = typer.main.get_command(app)
    context = command.make_context("simrun", [], resilient_parsing=True)
    assert {item.value for item in command.shell_complete(context, "s")} >= {"select", "setup", "serve", "slurm"}


@pytest.mark.parametrize(
    ("line", "offered", "withheld"),
    [
        ("--bench tab", "tabletop", "calvin"),
        ("--bench tabletop,cal", "tabletop,calvin", "tabletop"),
        ("--bench tabletop --tasks reach_", "reach_blue", "open_drawer"),
        ("--bench tabletop --protocol tabletop/", "tabletop/standard@1", "calvin/standard@1"),
        ("--bench libero_10 -p convention=open", "convention=openvla-libero", "convention=openvla-bridge"),
        ("--policy on", "onnx", "scripted"),
        ("setup smol", "smolvla", "tabletop"),
        ("reproduce smolvla-libero_go", "smolvla-libero_goal", "pi05-libero_goal"),
        ("--bench nothing --tasks re", "", "reach_red"),
    ],
    ids=lambda value: value,
)
def test_a_shell_completes_names(line: str, offered: str, withheld: str) -> None:
    words = ["simrun", *line.split()]
    asked = {"_SIMRUN_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "from simrun.cli.app import app; app(prog_name='simrun')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
    answered = done.stdout.split()
    assert (offered in answered) == bool(offered), done
    assert withheld not in answered


def test_what_a_word_means_is_one_line() -> None:
    asked = {
        "_SIMRUN_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "simrun --bench libero_10 -p convention=open",
    }
    code = "from simrun.cli.app import app; app(prog_name='simrun')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    assert len(lines) > 3
    assert all(line.startswith("convention=open") for line in lines), lines


def test_the_help_has_three_groups_and_the_five_that_everybody_needs_come_first() -> None:
    command = typer.main.get_command(app)
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(command.make_context("simrun", [], resilient_parsing=True)):
        panels.setdefault(parameter.rich_help_panel, []).append(parameter.opts[0])
    assert len(panels) == 3
    assert next(iter(panels.values())) == ["--bench", "--ckpt", "--exec", "--episodes", "--out"]
