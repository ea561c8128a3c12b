"""The ``simrun`` commands of a shell block, and parsing one through the real command line without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import typer.main

from simrun.cli import app, options
from simrun.envs import get_benchmark
from simrun.policies import ExecutionVariant
from simrun.policies.families import families
from simrun.results.publishing.bundle import is_bundle
from simrun.runners.sweep import make_config, select_protocol
from tests.docs.pages import Block

SHELL = ("sh", "bash", "console")
_ENDS = frozenset({";", "&", "&&", "||", "|", "(", ")", ">", ">>", "2>", "2>&1", "<"})
_ENDING = ("-h", "--help", "--version", "--install-completion")


def simrun_commands(block: Block) -> Iterator[list[str]]:
    """The words after ``simrun`` of each such command in a block.

    In ``console`` blocks lines of output are left out: commands begin with ``$`` there.
    """
    for words in shell_commands(block):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["simrun"] or (words and words[0].endswith("/bin/simrun")):
            yield words[1:]
        elif words[1:3] == ["-m", "simrun"]:
            yield words[3:]
        elif words[:2] == ["docker", "run"]:
            yield words[1 + next(at for at, word in enumerate(words) if word.startswith("simrun:")) :]
        elif words[:2] == ["apptainer", "exec"]:
            yield words[1 + words.index("simrun") :]


def shell_commands(block: Block) -> Iterator[list[str]]:
    """All simple commands of a block, each as its words."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    lines = text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _ENDS:
                words.append(word)
            elif words:
                yield words
                words = []


def parse(arguments: list[str]) -> None:
    """Parse the words after ``simrun`` as the program would, down to benchmark, protocol and variant names.

    Raises:
        Exception: whatever the command line would report.
    """
    if "--" in arguments:
        at = arguments.index("--")
        parse(arguments[:at])
        parse(arguments[at + 1 :])
        return
    if set(arguments) & set(_ENDING):
        return
    command: Any = typer.main.get_command(app)
    context = command.make_context("simrun", list(arguments))
    rest = _unread(context)
    while rest:
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        rest = _unread(context) if hasattr(command, "resolve_command") else []
    _check_names(context.params, evaluates=context.parent is None)


def _unread(context: Any) -> list[str]:
    return [*context._protected_args, *context.args]


def _check_names(params: dict[str, Any], *, evaluates: bool) -> None:
    """Benchmarks, protocol with its overrides, and execution variants exist."""
    benches = _words(params.get("bench")) + _words(params.get("benches"))
    for name in benches:
        if not is_bundle(Path(name)) and name not in ("policies", *families()):
            get_benchmark(name)
    if params.get("dialect"):
        assert params["dialect"] in ("openpi", "vlaeval")
    if params.get("exec_"):
        for text in _words(params["exec_"]):
            ExecutionVariant.parse(text)
    if evaluates or params.get("protocol") or params.get("set_"):
        file = {"bench": ["tabletop"]} if params.get("config") else {}
        config = make_config({"ckpt": ["scripted:zero"], **file, **options.given(params)})
        for name in config.bench:
            protocol = select_protocol(config, get_benchmark(name))
            if config.tasks:
                assert all(
                    any(fnmatchcase(task.name, wanted) for task in get_benchmark(name).tasks(protocol))
                    for wanted in config.tasks
                ), f"{name} has no such task: {config.tasks}"


def _words(value: str | Sequence[str] | None) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value or ())
    return [word for text in texts for word in text.split(",")]
