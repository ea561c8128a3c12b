"""Run what a published score was measured with, and say whether the score holds here.

    simrun reproduce openvla_oft-libero_10 --dry-run
    simrun reproduce openvla_oft-libero_10 --trust-checkpoint

'simrun list families FAMILY' shows the names. The checkpoint, the protocol and the execution are those of the entry;
--ckpt puts another checkpoint in its place.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from simrun.cli import completion, options
from simrun.cli.evaluate import choose_folder, forbid_downloads, print_result, report_result
from simrun.cli.terminal import TerminalConsole
from simrun.errors import DONE, FAILED, UnknownNameError, UsageError
from simrun.policies.families import Family, Published, published_scores
from simrun.results.caveats import caveats, refuse_foreign_assets
from simrun.results.cells import Cell
from simrun.results.pooling import cells_of
from simrun.results.published import PublishedRow, compare_with_rows
from simrun.results.run import Run
from simrun.results.statistics.contrasts import contrast
from simrun.results.statistics.estimates import headline
from simrun.results.statistics.intervals import Interval


def command(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="A published score; 'simrun list families FAMILY' shows them.", autocompletion=completion.scores
        ),
    ],
    ckpt: Annotated[str | None, typer.Option("--ckpt", "-c", help="Another checkpoint than the published one.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Run folder with its authors' own episodes: then the test is paired, state by state."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the command, and run nothing.")] = False,
    tasks: options.Tasks = None,
    episodes: options.Episodes = None,
    policy_option: options.PolicyOption = None,
    out: options.Out = None,
    workers: options.Workers = None,
    offline: options.Offline = False,
    trust_checkpoint: options.TrustCheckpoint = None,
    quiet: options.Quiet = False,
) -> int:
    """Evaluate, and compare with the published score.

    Raises:
        UnknownNameError: no such published score.
        UsageError: no weights are public, and none were named.
        SimrunError: see `simrun.runners.engine.session.run_session`.
    """
    known = published_scores()
    if name not in known:
        raise UnknownNameError("published score", name, sorted(known))
    family, entry = known[name]
    if offline:
        forbid_downloads()
    values = wanted(entry) | options.given({**context.params, "ckpt": [ckpt] if ckpt else None})
    if values["ckpt"] == [""]:
        raise UsageError(f"no weights of {name} are public; name yours with --ckpt")
    if family.unsupported and values["ckpt"] == [entry.checkpoint]:
        raise UsageError(
            f"{entry.checkpoint} is of {family.title}{family.how_served()}; name other weights for {name} with --ckpt"
        )
    if dry_run:
        for line in lines(family, entry, values, served_by_its_authors=ckpt is None):
            print(line)
        return DONE
    return _run(family, entry, values, out, against, quiet=quiet)


def wanted(entry: Published) -> dict[str, Any]:
    """The configuration of the run that a published score asks for; trust in its code is the user's to give."""
    values = {
        "bench": [entry.benchmark],
        "ckpt": [entry.checkpoint],
        "protocol": entry.protocol,
        "set": dict(entry.set),
        "episodes": entry.trials or None,
        "exec": [entry.execution],
        "policy_options": dict(entry.options),
    }
    return {key: value for key, value in values.items() if value not in (None, {})}


def lines(family: Family, entry: Published, values: dict[str, Any], *, served_by_its_authors: bool) -> list[str]:
    """The commands of a run, as a user would type them."""
    typed = []
    if family.server is not None and served_by_its_authors:
        typed.append(f"# {family.server.install}; in another terminal: {_start(family, entry)}")
    elif family.is_built_here and family.interpreter() is None:
        typed.append(f"simrun setup {family.name}")
    words = ["simrun", "--bench", values["bench"][0], "--ckpt", values["ckpt"][0], "--exec", values["exec"][0]]
    for option, key in (("--protocol", "protocol"), ("--episodes", "episodes")):
        words += [option, values[key]] if values.get(key) else []
    words += ["--tasks", ",".join(values["tasks"])] if values.get("tasks") else []
    for option, key in (("--set", "set"), ("-p", "policy_options")):
        for left, right in values.get(key, {}).items():
            words += [option, f"{left}={right}"]
    words += ["--trust-checkpoint"] if entry.trust or values.get("trust_checkpoint") else []
    return [*typed, shlex.join(words)]


def _start(family: Family, entry: Published) -> str:
    assert family.server is not None
    return family.server.start.replace("{weights}", entry.weights)


def _run(
    family: Family, entry: Published, values: dict[str, Any], out: Path | None, against: Path | None, *, quiet: bool
) -> int:
    from simrun.runners.engine.progress import make_display
    from simrun.runners.engine.session import run_session
    from simrun.runners.sweep import make_config

    config = make_config(values)
    console = TerminalConsole(stderr=True)
    result = run_session(config, choose_folder(config, out, resume=False), make_display(console, quiet=quiet))
    print_result(result)
    code = report_result(result, console)
    if result.failures and family.server is not None and values["ckpt"] == [entry.checkpoint]:
        line = f"its server: {family.server.install}; {_start(family, entry)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if code != DONE:
        return code
    (cell,) = cells_of([result.run])
    refuse_foreign_assets(caveats(result.run.description.fingerprints, [cell.fingerprint]), "a published score")
    holds = _tell(family, entry, cell)
    if against is not None:
        _tell_paired(cell, against)
    return DONE if holds else FAILED


def _tell(family: Family, entry: Published, cell: Cell) -> bool:
    """Print what was published and what was measured; whether the interval holds the published score."""
    rows, ours = _rows(family, entry), headline(cell)
    if ours is None or ours.interval is None or set(cell.tasks) != set(cell.facts.tasks):
        raise UsageError(
            f"{entry.name} was published over all {len(cell.facts.tasks)} tasks, and {len(cell.tasks)} were run: a "
            "mean over some of them is another number, and is not compared"
        )
    (difference,) = compare_with_rows([cell], rows[:1], rows)
    holds = ours.interval.low <= rows[0].value <= ours.interval.high
    told = {
        "published": f"{entry.score} over {entry.episodes} episodes; {entry.source}",
        "here": f"{_shown(cell, ours.value, ours.interval)} over {cell.n} episodes; {cell.protocol}, {cell.execution}",
        "verdict": f"the interval {'holds' if holds else 'does not hold'} the published score",
        "unpaired": f"not testable: {difference.test}",
        "remark": entry.remark,
    }
    if difference.interval is not None and difference.p_value is not None:
        told["unpaired"] = (
            f"here less published {_shown(cell, difference.difference, difference.interval)}, "
            f"p = {difference.p_value:.3g} ({difference.test}): {difference.verdict}"
        )
    for heading, text in told.items():
        if text:
            print(f"{heading:<10} {text}")
    return holds


def _shown(cell: Cell, value: float, interval: Interval) -> str:
    return f"{cell.scoring.number(value)} {cell.scoring.interval(interval.low, interval.high)}"


def _rows(family: Family, entry: Published) -> list[PublishedRow]:
    """A published score as the rows of a paper's table: itself, and the rates behind an average length."""
    scale = 100 if entry.metric == "success_mean" else 1
    decimals = len(entry.score.partition(".")[2]) + (2 if scale == 100 else 0)
    row = PublishedRow(
        paper=entry.source,
        table="",
        model=family.title,
        setting=entry.name,
        benchmark=entry.benchmark,
        metric=entry.metric,
        value=float(entry.score) / scale,
        decimals=decimals,
        episodes=entry.episodes,
        states=entry.states or entry.episodes,
        note=entry.remark,
    )
    rates = [replace(row, metric=f"success_at_{k}", value=rate) for k, rate in enumerate(entry.rates, start=1)]
    return [row, *rates]


def _tell_paired(cell: Cell, against: Path) -> None:
    theirs = [one for one in cells_of([Run.read(against)]) if one.protocol == cell.protocol]
    if not theirs:
        raise UsageError(f"{against} holds no episodes of {cell.protocol}")
    for other in theirs:
        one = contrast(cell, other)
        heading, states = (
            ("paired", f"{one.n_a} states") if one.paired else ("unpaired", f"{one.n_a} and {one.n_b} states")
        )
        print(
            f"{heading:<10} here less {other.checkpoint} {_shown(cell, one.difference, one.interval)}, {states}, "
            f"p = {one.p_value:.3g} ({one.test}): {one.verdict}"
        )
