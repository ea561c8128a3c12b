"""A user's own instructions: read from a file, or made as a control, and given in place of the benchmark's.

A file says for each task, or for each trial of it, one sentence or several, which are variants. In TOML or JSON:

.. code-block:: toml

    press_button = "push the white button down"
    open_drawer = ["open the drawer", "pull the handle towards you"]

    [push_red_block]
    0 = "push the red block to the left"
    1 = ["push the red block away", "get the red block off the mat"]

In CSV: columns ``task``, ``instruction`` and, where it matters, ``trial``; several rows are several sentences. Where a
task of a benchmark asks for one thing after the other, the things that it asks for are named instead.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from simrun.envs.description import BenchmarkDescription
from simrun.envs.machine.regular_files import parse_object, parse_rows, parse_toml, read_document
from simrun.envs.perturbations import NONE
from simrun.envs.protocols import Protocol
from simrun.envs.spaces import LONGEST_INSTRUCTION
from simrun.errors import UnknownNameError, UsageError

CONTROLS = ("empty", "swap")
"""No sentence at all; the sentence of the next task, in the benchmark's order, that has another one."""


Sentences = Mapping[str, Sequence[str]]
"""``NAME``, ``NAME/TRIAL`` or ``*`` -> sentences."""


def worded(
    protocol: Protocol, benchmark: BenchmarkDescription, choice: str, states: Iterable[tuple[str, int]]
) -> Protocol:
    """A protocol under which the policy is given other sentences; its name has what they are.

    Args:
        protocol: the protocol.
        benchmark: its benchmark.
        choice: ``none``, one of `CONTROLS`, or a file.
        states: (task, trial) of the episodes that will be run; a file must have a sentence for each.

    Raises:
        UsageError: the benchmark has no instructions, the file cannot be read, or lacks a task.
        UnknownNameError: the file names a task that the benchmark does not have.
    """
    if choice == NONE:
        return protocol
    known = benchmark.sentences(protocol)
    if not known:
        raise UsageError(f"{benchmark.name} has no instructions, so there is nothing that --instructions could replace")
    if choice in CONTROLS:
        label, sentences = choice, {"*": ("",)} if choice == "empty" else _swapped(benchmark, known)
    else:
        sentences = read_instructions(Path(choice))
        _check(sentences, Path(choice), benchmark, known, protocol, states)
        digest = hashlib.sha256(json.dumps(sentences, sort_keys=True).encode()).hexdigest()
        label = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', Path(choice).stem)[:40]}-{digest[:8]}"
    return replace(protocol, name=f"{protocol.name}+wording={label}", instructions=sentences)


def read_instructions(file: Path) -> Sentences:
    """Read a file of instructions, ``.toml``, ``.json`` or ``.csv``; see the top of this module.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        text = read_document(file, "utf-8-sig")
        found = _READERS[file.suffix](text)
    except OSError as error:
        raise UsageError(
            f"the instructions {file} cannot be read: {error.strerror}; known besides files: "
            f"{', '.join((NONE, *CONTROLS))}"
        ) from None
    except KeyError:
        raise UsageError(f"the instructions {file} must be {', '.join(_READERS)}, known by the file's ending") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the instructions {file} cannot be read: {error}") from None
    sentences = {key: (value,) if isinstance(value, str) else value for key, value in found}
    for key, value in sentences.items():
        if problem := _problem(value):
            raise UsageError(f"the instructions {file}: {key.replace('/', ', trial ')} {problem}")
    return {key: tuple(value) for key, value in sentences.items()}


def _swapped(benchmark: BenchmarkDescription, known: Mapping[str, str | None]) -> Sentences:
    if None in known.values():
        raise UsageError(
            f"each episode of {benchmark.name} has a sentence of its own, so there is none to swap it with; give "
            "sentences in a file"
        )
    names = list(known)
    swapped = {}
    for index, name in enumerate(names):
        others = (known[other] for other in (*names[index + 1 :], *names[:index]))
        other = next((sentence for sentence in others if sentence != known[name]), None)
        if other is None:
            raise UsageError(f"all tasks of {benchmark.name} have one sentence, so there is none to swap it with")
        swapped[name] = (other,)
    return swapped


def _check(
    sentences: Sentences,
    file: Path,
    benchmark: BenchmarkDescription,
    known: Mapping[str, str | None],
    protocol: Protocol,
    states: Iterable[tuple[str, int]],
) -> None:
    for key in sentences:
        if (name := key.partition("/")[0]) not in known:
            raise UnknownNameError(f"task of {benchmark.name} in {file}", name, list(known))
    tried = replace(protocol, instructions=sentences)
    missing = {
        name if f"{name}/" not in "".join(f"{key}/" for key in sentences) else f"trial {trial} of {name}": None
        for task, trial in states
        for name in benchmark.asked(protocol, task, trial)
        if not tried.sentences(name, trial)
    }
    if missing:
        names = list(missing)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise UsageError(f"the instructions {file} have no sentence for {', '.join(names[:5])}{more}, asked for here")


def _problem(sentences: Any) -> str | None:
    if not isinstance(sentences, list | tuple) or not sentences or not all(isinstance(one, str) for one in sentences):
        return "must be a sentence, or a list of some"
    if len(set(sentences)) < len(sentences):
        return "has the same sentence twice"
    for sentence in sentences:
        if len(sentence) > LONGEST_INSTRUCTION:
            return f"has a sentence of {len(sentence)} characters; the most are {LONGEST_INSTRUCTION}"
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in sentence):
            return "has a sentence with a line break or another control character"
    return None


def _from_object(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(chain.from_iterable(_entries(name, value) for name, value in document.items()))


def _entries(name: str, value: Any) -> list[tuple[str, Any]]:
    if "/" in name:
        raise ValueError(f"{name!r} is no name of a task")
    if not isinstance(value, Mapping):
        return [(name, value)]
    for trial in value:
        if not re.fullmatch(r"0|[1-9]\d{0,17}", trial):
            raise ValueError(f"{trial!r} of {name} is no trial; trials are whole numbers from 0")
    return [(f"{name}/{trial}", sentences) for trial, sentences in value.items()]


def _from_csv(text: str) -> list[tuple[str, Any]]:
    rows = list(parse_rows(text))
    if not rows or not {"task", "instruction"} <= rows[0].keys() <= {"task", "trial", "instruction"}:
        raise ValueError("its columns must be task, instruction and, where it matters, trial, and it must have a row")
    tasks: dict[str, Any] = {}
    for number, row in enumerate(rows, start=1):
        if row.get("trial"):
            held = tasks.setdefault(row["task"], {})
        else:
            held, row["trial"] = tasks, row["task"]
        if not isinstance(held, dict) or not isinstance(held.setdefault(row["trial"], []), list):
            raise ValueError(f"row {number}: {row['task']} has sentences with and without a trial")
        held[row["trial"]].append(row["instruction"])
    return _from_object(tasks)


_READERS = {
    ".toml": lambda text: _from_object(parse_toml(text)),
    ".json": lambda text: _from_object(parse_object(text)),
    ".csv": _from_csv,
}
"""Ending of a file -> what reads its text."""
