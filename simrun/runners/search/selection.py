"""Checkpoint selection: a race over candidates on one half of the initial states, the winner scored on the other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simrun.envs import Episode
from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import write_json
from simrun.envs.scoring import Scoring
from simrun.errors import InfrastructureError, UsageError
from simrun.results.plan import Candidate
from simrun.results.run import Run
from simrun.results.statistics.intervals import Interval, wilson
from simrun.results.statistics.likelihood import Stratum, mean_interval
from simrun.results.statistics.racing import Race, Standing, round_sizes
from simrun.results.statistics.selection import split_states
from simrun.runners.engine.progress import Display
from simrun.runners.engine.session import PolicySource, SessionResult, run_source
from simrun.runners.engine.sources import Stage
from simrun.runners.search.rounds import InitialState, RoundSource, by_state, count_tasks, interleave, mean_score
from simrun.runners.sweep import SweepConfig, make_plan

_FIRST_ROUND = 10


@dataclass(frozen=True)
class SelectionResult:
    """What a race came to.

    Attributes:
        session: the session it ran in.
        candidates: the candidates, in the order of their indices.
        scoring: how episodes are scored; all scores below are in parts of the largest.
        standings: all of them, best first.
        winner: the candidate that was chosen; None when the race was interrupted or nobody finished.
        tied: candidates that the race could not tell from the winner.
        score: mean score of the winner on the report states, which selection never touched; NaN without them.
        interval: interval of the score.
        report_states: number of report states that were run.
        spent: episodes run, those of the report included.
        exhaustive: episodes that running everybody on everything would take.
        failures: candidates that could not be run, and why.
    """

    session: SessionResult
    candidates: list[Candidate]
    scoring: Scoring
    standings: list[Standing]
    winner: Candidate | None
    tied: list[Candidate]
    score: float
    interval: Interval
    report_states: int
    spent: int
    exhaustive: int
    failures: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """What ``selection.json`` holds."""
        return {
            "winner": None if self.winner is None else asdict(self.winner),
            "scoring": self.scoring.to_json(),
            "tied_with_winner": [asdict(candidate) for candidate in self.tied],
            "score": None if math.isnan(self.score) else self.score,
            "interval": [self.interval.low, self.interval.high, self.interval.method],
            "report_states": self.report_states,
            "episodes_spent": self.spent,
            "episodes_exhaustive": self.exhaustive,
            "failures": self.failures,
            "leader_board": [
                {
                    **asdict(self.candidates[standing.candidate]),
                    "states": standing.states,
                    "mean": None if math.isnan(standing.mean) else standing.mean,
                    "interval": [standing.interval.low, standing.interval.high],
                    "dropped_after": standing.dropped_after,
                    "beaten_by": None if standing.beaten_by is None else asdict(self.candidates[standing.beaten_by]),
                    "evidence": standing.evidence,
                }
                for standing in self.standings
            ],
        }


def select(
    config: SweepConfig,
    out: Path,
    display: Display,
    *,
    budget: int | None = None,
    confidence: float = 0.95,
    policies: PolicySource | None = None,
) -> SelectionResult:
    """Race the candidates of a sweep; calling it again with the same ``out`` goes on where it was.

    Args:
        config: the sweep: one benchmark, its checkpoints and execution variants.
        out: the run folder; gets ``selection.json`` and a link ``best`` to the winning checkpoint.
        display: shows progress.
        budget: most episodes to spend, those of the report included; None races to the end.
        confidence: one less the probability allowed of dropping the truly best candidate.
        policies: gives the policies; None loads checkpoints as the configuration says.

    Raises:
        UsageError: more than one benchmark, wording, perturbation or policy seed, too small a budget, or the folder
            holds another run.
        InfrastructureError: the benchmark cannot run on this machine.
    """
    config.require_one_protocol("a race")
    if len(config.policy_seeds) != 1:
        raise UsageError("a race needs exactly one policy seed; run several races")
    run = Run.prepare(out, config.identity(), make_plan(config))
    with run.own():
        source = RacingSource(run, budget, confidence)
        run.note_design(report_episodes=[episode.id for episode in source.report])
        display.planned(run.plan, run.done)
        session = run_source(config, run, source, display, policies)
    result = source.result(session)
    if run.records:
        write_json(out / "selection.json", result.to_json())
    if result.winner is not None:
        link_best(out, result.winner.checkpoint)
    return result


class RacingSource(RoundSource):
    """Gives a session the rounds of a race, then the report of its winner.

    Args:
        run: the run; its journal is open.
        budget: most episodes to spend, None for no limit.
        confidence: of the race.

    Raises:
        UsageError: there are no report states, or the budget is too small.
    """

    def __init__(self, run: Run, budget: int | None, confidence: float) -> None:
        super().__init__(run)
        self._budget = budget
        self._confidence = confidence
        states = {(state[0].task, state[0].trial): state for state in by_state(self._plan.episodes)}
        selection, report = split_states(list(states))
        self._selection = interleave([states[one] for one in selection])
        self._report = [states[one] for one in report]
        self._seeds = max(len(state) for state in states.values())
        self._tasks = count_tasks(self._selection)
        if not self.report:
            raise UsageError(
                "a race needs two initial states of each task at least: one half selects, one half reports"
            )
        least = len(self.report) + self._tasks * self._seeds * len(self._plan.candidates)
        if budget is not None and budget < least:
            raise UsageError(
                f"a budget of {budget} episodes is too small: the report takes {len(self.report)}, and one episode "
                f"of each task for every candidate makes it {least}; choose fewer --episodes or a larger --budget"
            )
        self._race: Race | None = None
        self._racers: list[Candidate] = []
        self._finished = False
        self._committed = 0

    @property
    def report(self) -> list[Episode]:
        """The episodes that choose nobody."""
        return [episode for state in self._report for episode in state]

    def stages(self) -> Iterator[Stage]:
        """Round after round for those still in, then the report of the winner."""
        start = 0
        for size in round_sizes(len(self._selection), self._tasks, _FIRST_ROUND):
            racers = self._still_in()
            block = self._selection[start : start + min(size, self._affordable(len(racers)))]
            if not racers or not block or (self._race is not None and len(racers) == 1):
                break
            start += len(block)
            yield from self._request_counted(racers, block)
            self._judge(block, self._selection[: start - len(block)])
        while self._race is not None and self._race.survivors and not self._finished:
            leader = self._race.leader()
            yield from self._request_counted([self._racers[leader]], self._report)
            if self._racers[leader].checkpoint in self.failures:
                self._race.withdraw([leader])
            else:
                self._finished = True

    def result(self, session: SessionResult) -> SelectionResult:
        """What the race came to, from the records."""
        race = self._race
        winner = self._racers[race.leader()] if race is not None and self._finished else None
        survivors = [self._racers[i] for i in race.survivors] if race is not None and winner is not None else []
        recorded = self.scores()
        reported: dict[str, list[float]] = {}
        for state in self.distinct(self._report):
            if winner is not None and (mean := mean_score(recorded, [winner], state)) is not None:
                reported.setdefault(state[0].task, []).append(mean)
        return SelectionResult(
            session=session,
            candidates=self._racers,
            scoring=self._scorings[self._plan.protocols[0].name],
            standings=[] if race is None else race.standings(),
            winner=winner,
            tied=[racer for racer in survivors if racer != winner],
            score=float(np.mean([np.mean(one) for one in reported.values()])) if reported else float("nan"),
            interval=_interval(list(reported.values())),
            report_states=sum(map(len, reported.values())),
            spent=len(recorded),
            exhaustive=len(self._racers or self._plan.candidates) * len(self._plan.episodes),
            failures=self.failures,
        )

    def _still_in(self) -> list[Candidate]:
        racers = list(self._plan.candidates) if self._race is None else [self._racers[i] for i in self._race.survivors]
        return self.live(racers)

    def _affordable(self, racers: int) -> int:
        """Initial states, in whole rounds of the tasks, that the budget still allows all racers to be run on."""
        if self._budget is None:
            return len(self._selection)
        states = (self._budget - self._committed - len(self.report)) // max(1, racers * self._seeds)
        return max(0, states // self._tasks * self._tasks)

    def _request_counted(self, racers: list[Candidate], states: list[InitialState]) -> Iterator[Stage]:
        yield from self.request(racers, states)
        # How far a failing checkpoint gets depends on the workers, so all of its episodes count for the budget.
        collapsed = self._run.description.collapsed
        own = [racer for racer in racers if racer.execution not in collapsed.get(racer.checkpoint, {})]
        self._committed += len(own) * sum(map(len, states))

    def _judge(self, block: list[InitialState], before: list[InitialState]) -> None:
        if self._race is None:
            self._racers = self.live(self._plan.candidates)
            if not self._racers:
                raise InfrastructureError(f"no candidate could be run: {'; '.join(self.failures.values())}")
            self._race = Race(len(self._racers), self._confidence)
        self._race.withdraw([i for i, racer in enumerate(self._racers) if racer.checkpoint in self.failures])
        if not self._race.survivors:
            return
        survivors = [self._racers[i] for i in self._race.survivors]
        # What begins as an earlier state did is no further evidence.
        new = self.distinct([*before, *block])[len(self.distinct(before)) :]
        recorded = self.scores()
        rows = [[mean_score(recorded, [racer], state) for racer in survivors] for state in new]
        whole = [row for row in rows if None not in row]
        self._race.observe(np.array(whole, dtype=float).reshape(-1, len(survivors)))


def _interval(tasks: list[list[float]]) -> Interval:
    if not tasks:
        return Interval(0.0, 1.0, "no report states")
    if len(tasks) == 1 and all(score in (0.0, 1.0) for score in tasks[0]):
        return wilson(sum(tasks[0]), len(tasks[0]))
    return mean_interval([Stratum(scores, 1 / len(tasks), 0.0, 1.0) for scores in tasks])


def link_best(out: Path, checkpoint: str) -> None:
    """Let ``best`` in a folder point to a checkpoint, by one rename; nothing happens for one that is no file."""
    target = Path(checkpoint)
    if not target.exists():
        return
    link = out / "best"
    partial = out / f".best.{os.getpid()}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(real_path(target))
    partial.replace(link)
