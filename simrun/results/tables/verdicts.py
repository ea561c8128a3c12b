"""Sections of comparisons: cells against each other, and against published numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from simrun.results.cells import Cell, group_by, short_names
from simrun.results.published import Difference
from simrun.results.statistics.contrasts import NO_DIFFERENCE, Contrast, comparable, contrast_family
from simrun.results.statistics.estimates import Estimate
from simrun.results.tables.model import Column, Row, Section, Value

_FEW_CELLS = 4


def contrast_section(
    contrasts: Sequence[Contrast],
    title: str = "Comparisons",
    *,
    margin: float | None = None,
    fewer_is_better: bool = False,
    notes: Sequence[str] = (),
) -> Section:
    """One row a comparison; all of one protocol, p-values corrected together.

    Args:
        contrasts: the comparisons.
        title: title of the section.
        margin: also say whether A is no worse than B by this much, in the unit of the scores.
        fewer_is_better: whether steps to success are compared.
        notes: further footnotes.
    """
    scoring = contrasts[0].a.scoring
    columns = (
        Column("a", "A"),
        Column("b", "B"),
        *([Column("task", "task")] if any(one.task for one in contrasts) else []),
        Column("states", "states"),
        Column.of_score("value_a", "A's score", scoring),
        Column.of_score("value_b", "B's score", scoring),
        Column.of_score("difference", "A - B", scoring),
        Column("test", "test"),
        Column("p_value", "p", "p"),
        Column("adjusted_p_value", "p (Holm)", "p"),
        Column("verdict", "verdict"),
        *([Column("margin", f"margin {scoring.number(margin)}")] if margin is not None else []),
        Column.of_score("simultaneous", "A - B, all at once", scoring),
        *([Column("odds_ratio", "odds ratio", "number")] if any(one.comparison.counts for one in contrasts) else []),
        Column("superiority", "P(A > B)", "number"),
    )
    corrected = sum(not one.primary for one in contrasts)
    rows = tuple(Row(_contrast_values(one, margin, fewer_is_better)) for one in contrasts)
    remarks = [
        f"Protocol: {', '.join(dict.fromkeys(cell.protocol for one in contrasts for cell in (one.a, one.b)))}.",
        *([f"{corrected} comparisons, p-values corrected together by Holm's method."] if corrected > 1 else []),
        "A - B: interval of this difference alone, zero in it as its own p-value says; all at once: intervals that "
        "hold together, zero in them as the verdicts say.",
        "Differences of means over tasks, every task with the same weight, as the tables print them. P(A > B): "
        "posterior.",
    ]
    if any(one.primary for one in contrasts):
        remarks.append("The first comparison was declared beforehand, and is not corrected.")
    left_out = sum(one.left_out for one in contrasts)
    if any(one.paired for one in contrasts):
        remarks.append(
            f"Paired: only initial states that both completed{f'; {left_out} others were left out' * bool(left_out)}."
        )
    if margin is not None:
        low, above, minus, high, below = (
            ("upper", "below", "", "lower", "above minus the margin")
            if fewer_is_better
            else ("lower", "above", "minus ", "upper", "below it")
        )
        remarks.append(
            f"Margin: 'not worse' where the {low} end of A - B lies {above} {minus}the margin, 'equivalent' where the "
            f"{high} end lies {below} too."
        )
    if fewer_is_better:
        remarks.append("Steps to success: 'A higher' says that A is the slower one.")
    if any(one.a.fingerprint != one.b.fingerprint for one in contrasts):
        remarks.append("Some cells were run under different fingerprints: a difference may come from the machine.")
    return Section(title, columns, rows, (*remarks, *notes))


def verdict_sentences(cells: Sequence[Cell]) -> list[str]:
    """What a few cells show against each other, the largest differences first: one sentence a pair of one protocol.

    Verdicts are Holm's over all pairs of the protocol; intervals are those of each difference alone. Nothing is said of
    more than four cells, whose pairs nobody reads: ``simrun table --compare`` tests them.
    """
    sentences = []
    for group in group_by(comparable(cells)[0], "protocol").values():
        names = dict(zip(map(id, group), short_names(group), strict=True))
        if not 2 <= len(set(names.values())) == len(group) <= _FEW_CELLS:
            continue
        scoring = group[0].scoring
        unit = "points" if scoring.kind == "success" else scoring.unit or "subtasks"
        for one in sorted(contrast_family(list(combinations(group, 2))), key=lambda one: -abs(one.difference)):
            better, worse, low, high = one.a, one.b, one.interval.low, one.interval.high
            if one.difference < 0:
                better, worse, low, high = one.b, one.a, -high, -low
            amount = f"{scoring.number(abs(one.difference))} {unit} {scoring.interval(low, high)}"
            pair = names[id(better)], names[id(worse)]
            if one.verdict == NO_DIFFERENCE:
                sentences.append("no difference shown between {} and {}: {}".format(*pair, amount))
            else:
                sentences.append("{} is better than {} by {}".format(*pair, amount))
    return sentences


def published_sections(differences: Sequence[Difference], left_out: int = 0) -> list[Section]:
    """One row a cell and published number; average lengths and success rates in sections of their own.

    Args:
        differences: what to show.
        left_out: how many published numbers were left out, for they cannot be tested.
    """
    by_unit: dict[str, list[Difference]] = {}
    for one in differences:
        by_unit.setdefault("length" if one.row.metric == "average_length" else "percent", []).append(one)
    notes = (
        f"{len(differences)} comparisons, p-values corrected together by Holm's method.",
        *(
            [f"Left out: {left_out} that cannot be tested; --compare published:MODEL shows all of one."]
            if left_out
            else []
        ),
        "A published rate that is no count of its episodes, and a length that its own success rates contradict, are "
        "not tested; runs repeated on the same initial states count the states.",
        "Protocols are named in the first table; whether the paper's protocol is the same is for you to judge.",
        "VLM4VLA reports the best of several checkpoints and variants, so its numbers are biased upwards.",
        "Published counts are the printed rate times the episodes that the paper states; the spread of a published "
        "average length follows from its success at 1 to 5, where the paper prints them.",
    )
    return [
        Section(
            f"Against published numbers: {'average length' if unit == 'length' else 'success'}",
            _published_columns(unit),
            tuple(Row(_published_values(one)) for one in members),
            notes,
        )
        for unit, members in by_unit.items()
    ]


def _published_columns(unit: str) -> tuple[Column, ...]:
    return (
        Column("checkpoint", "checkpoint"),
        Column("execution", "execution"),
        Column("metric", "metric"),
        Column("model", "published model"),
        Column("source", "source"),
        Column("published", "published", unit),
        Column("ours", "ours", unit),
        Column("difference", "ours - published", unit),
        Column("test", "test"),
        Column("p_value", "p", "p"),
        Column("adjusted_p_value", "p (Holm)", "p"),
        Column("verdict", "verdict"),
    )


def _contrast_values(one: Contrast, margin: float | None, fewer_is_better: bool) -> dict[str, Value]:
    size, episodes = min(one.n_a, one.n_b), one.n_a + one.n_b
    odds = one.comparison.odds(one.level)
    sizes = f"{one.n_a} paired" if one.paired else f"{one.n_a} and {one.n_b}"
    told = [(cell.deviation or "as it is") if one.a.protocol != one.b.protocol else "" for cell in (one.a, one.b)]
    return {
        "a": _name(one.a.checkpoint, one.a.execution, told[0], one.a.run),
        "b": _name(one.b.checkpoint, one.b.execution, told[1], one.b.run),
        "states": sizes,
        "value_a": one.value_a,
        "value_b": one.value_b,
        "task": one.task,
        "difference": Estimate(one.difference, one.interval, size, episodes),
        "test": one.test,
        "p_value": one.p_value,
        "adjusted_p_value": one.adjusted,
        "simultaneous": Estimate(one.difference, one.simultaneous, size, episodes),
        "odds_ratio": None if odds is None or not math.isfinite(odds[1].high) else Estimate(*odds, size, episodes),
        "superiority": one.comparison.superiority,
        "verdict": one.verdict,
        "margin": None if margin is None else one.within(margin, fewer_is_better=fewer_is_better),
    }


def _published_values(one: Difference) -> dict[str, Value]:
    setting = f", {one.row.setting}" if one.row.setting else ""
    return {
        "checkpoint": one.cell.checkpoint,
        "execution": one.cell.execution,
        "metric": one.row.category or one.row.metric.replace("_", " "),
        "model": one.row.model + setting,
        "source": ", Table ".join(filter(None, (one.row.paper, one.row.table))),
        "published": one.row.value,
        "ours": one.ours,
        "difference": Estimate(one.difference, one.interval, one.ours.n, one.ours.episodes + one.row.episodes),
        "test": one.test,
        "p_value": one.p_value,
        "adjusted_p_value": one.adjusted,
        "verdict": one.verdict,
    }


def _name(checkpoint: str, *told: str) -> str:
    return f"{checkpoint} ({', '.join(filter(None, told))})"
