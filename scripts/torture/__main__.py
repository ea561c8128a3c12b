#!/usr/bin/env python3
"""Hurt simrun on purpose and count what it does: refused in one sentence, taken, equal after all, or a fault.

    python scripts/torture --seed 7 --inputs 10000 --kills 200 --state torture.jsonl
    python scripts/torture --seconds 100                       # as much as fits

Malformed inputs go to every reader of files, frames and command lines; kills end runner, workers and policy processes
of running sweeps, which are then resumed and must equal ones that nobody disturbed, while no process may be left.
Every trial is seeded and one line of the state file, and a second call with the same file goes on behind the last
one. The exit code is 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from answers import ANSWERING, Answers
from damage import mangle
from folders import Folders
from inputs import Reader, Readers, try_input
from kills import SIGNALS, SWEEPS, Whole, possible
from sockets import DIALECTS, Conversations
from verbs import Verbs

MOST_MEMORY = 12 * 1024**3
GOOD = ("refused", "taken", "equal")


class Trials:
    """What every trial gave; kept in a file, so that a second call goes on behind the last one.

    Args:
        state: the file; None keeps nothing.
    """

    def __init__(self, state: Path | None) -> None:
        self._state = state
        known = state.read_text().splitlines() if state and state.exists() else []
        self.outcomes = {tuple(trial[:2]): trial[2:] for trial in map(json.loads, known)}

    def note(self, kind: str, number: int, what: str, outcome: str) -> None:
        """Keep what a trial gave."""
        self.outcomes[kind, number] = [what, outcome]
        if self._state:
            with self._state.open("a") as file:
                file.write(json.dumps([kind, number, what, outcome]) + "\n")

    def report(self) -> int:
        """Print a table in Markdown, and every fault; 1 if there was one."""
        counts: dict[str, Counter[str]] = {}
        for what, outcome in self.outcomes.values():
            counts.setdefault(what, Counter())[outcome if outcome in GOOD else "fault"] += 1
        print("| what | trials | refused in a sentence | taken | equal after resumption | faults |")
        print("| --- | --: | --: | --: | --: | --: |")
        for what, count in sorted(counts.items()):
            print(f"| {what} | {sum(count.values())} | {' | '.join(str(count[key]) for key in (*GOOD, 'fault'))} |")
        faults = [(key, *value) for key, value in self.outcomes.items() if value[1] not in GOOD]
        for (kind, number), what, outcome in faults:
            print(f"fault: {kind} {number}, {what}: {outcome}")
        return 1 if faults else 0


def main() -> int:
    """Run the trials and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--only", default="", help="of the kinds of inputs, those with this in their names; commas separate"
    )
    parser.add_argument("--part", type=part, default=(0, 1), help="I/N: of N processes side by side, this one's share")
    parser.add_argument("--wholes", type=Path, help="keep the undisturbed sweeps here, for the next call of this part")
    parser.add_argument("--state", type=Path, help="one line a trial; goes on behind the last one")
    arguments = parser.parse_args()
    ends = time.monotonic() + arguments.seconds
    trials = Trials(arguments.state)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory(prefix="simrun-torture-") as name:
        folder = Path(name)
        if arguments.inputs:
            most = ends - (0.5 * arguments.seconds if arguments.kills else 0.0)
            malformed(trials, folder, arguments.seed, arguments.inputs, most, arguments.only, arguments.part)
        if arguments.kills:
            whole = arguments.wholes or folder
            whole.mkdir(exist_ok=True)
            killed(trials, whole, arguments.seed, arguments.kills, ends, arguments.part)
    return trials.report()


RARE = 20
"""What starts processes has one turn in so many."""

Trial = Callable[[random.Random], tuple[str, str]]


def part(text: str) -> tuple[int, int]:
    """Which share of the trials, ``0/2``."""
    own, _, all_of_them = text.partition("/")
    return int(own), int(all_of_them)


def malformed(
    trials: Trials, folder: Path, seed: int, count: int, ends: float, only: str, share: tuple[int, int]
) -> None:
    """Give each reader, client, server, folder, page and verb its share of malformed inputs."""
    readers = Readers(folder)
    folders = Folders(folder, folder / "run")
    verbs = Verbs(folder)
    with Conversations() as conversations, Answers() as answers:

        def read(what: str, whole: bytes, reader: Reader) -> Trial:
            return lambda draw: (what, try_input(reader, mangle(whole, draw), folder))

        often: dict[str, Trial] = {what: read(what, *both) for what, both in readers.all().items()}
        often |= {dialect: partial(conversations.trial, dialect) for dialect in DIALECTS}
        often["opening of a conversation"] = conversations.opening
        often |= {dialect: partial(answers.trial, dialect) for dialect in ANSWERING}
        often |= {name: partial(folders.trial, name) for name in folders.subjects}
        often |= {"strange paths": verbs.strange_path, "strange numbers": verbs.strange_number}
        often |= {f"simrun {name}": partial(verbs.trial, name) for name in verbs.lines}
        rarely = {f"simrun {name}": partial(verbs.trial, name) for name in verbs.long_lines}
        often, rarely = (
            {k: v for k, v in named.items() if any(word in k for word in only.split(","))} for named in (often, rarely)
        )
        # Each of the rare ones has a turn before any has its second.
        turns = [*often.values(), *rarely.values(), *(list(often.values()) * (RARE - 1))]
        if not turns:
            raise SystemExit(f"torture: no kind of input has {only!r} in its name")
        for number in range(count):
            if time.monotonic() > ends:
                break
            if number % share[1] == share[0] and ("input", number) not in trials.outcomes:
                trials.note("input", number, *turns[number % len(turns)](random.Random(f"{seed}-{number}")))


def killed(trials: Trials, folder: Path, seed: int, count: int, ends: float, share: tuple[int, int]) -> None:
    """Kill processes of each sweep in turn: every target with every signal."""
    sweeps = [sweep for sweep in SWEEPS for _ in range(sweep.share)]
    wholes: dict[str, Whole] = {}
    turns: Counter[str] = Counter()
    for number in range(count):
        if time.monotonic() > ends:
            break
        sweep = sweeps[number % len(sweeps)]
        turn = turns[sweep.name]
        turns[sweep.name] += 1
        target, signal = sweep.targets[turn % len(sweep.targets)], SIGNALS[turn // len(sweep.targets) % len(SIGNALS)]
        if number % share[1] != share[0] or ("kill", number) in trials.outcomes or not possible(sweep):
            continue
        if sweep.name not in wholes:
            wholes[sweep.name] = Whole(sweep, folder)
        outcome = wholes[sweep.name].disturb(target, signal, random.Random(f"{seed}-kill-{number}"))
        trials.note("kill", number, f"{sweep.name}, {target}, SIG{signal}", outcome)


if __name__ == "__main__":
    sys.exit(main())
