"""Writes the tables of docs/families.md and README.md from the families' own files: ``python docs/families.py``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from simrun.policies.families import Family, families

PAGE = Path(__file__).with_suffix(".md")
README = PAGE.parents[1] / "README.md"
BEGIN, END = "<!-- table: python docs/families.py -->\n", "<!-- end of the table -->\n"

BENCHMARKS = {"calvin": "CALVIN", "libero": "LIBERO", "simpler": "Bridge", "robotwin": "RoboTwin"}


def table() -> str:
    """A section a family: how it is reached, in which environment, whose convention, and what was proven."""
    return "\n".join(_section(family) for family in families().values())


def short_table() -> str:
    """A line a family: how it is reached, where it runs, on which benchmarks, how many printed scores are known."""
    lines = ["| family | `--ckpt` | runs in | on | scores |", "| --- | --- | --- | --- | --- |"]
    for family in sorted(families().values(), key=lambda family: family.title.lower()):
        folder = "a folder, `hf://`" if family.kind and not family.unsupported else "its conventions alone"
        reached = f"`{family.dialect}://`" if family.dialect else folder
        built = (
            f"`simrun setup {family.name}`" if family.is_built_here else "its authors' server" if family.server else ""
        )
        known = (*family.conventions, *(families()[family.like].conventions if family.like else ()))
        patterns = {pattern.partition("_")[0] for entry in known for pattern in entry.benchmarks}
        on = ", ".join(title for prefix, title in BENCHMARKS.items() if prefix in patterns)
        lines.append(f"| {family.title} | {reached} | {built} | {on} | {len(family.published) or ''} |")
    return "\n".join(lines) + "\n"


def written(page: str, content: str) -> str:
    """A page with the table that the files give."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def _section(family: Family) -> str:
    rows = {
        "looks like": _plain(family.looks_like),
        "command": _command(family),
        "environment": _environment(family),
        "conventions": "<br>".join(
            f"`{entry.name}`: {_plain(entry.source)}"
            for entry in (*family.conventions, *(families()[family.like].conventions if family.like else ()))
        ),
        "published": "<br>".join(_scores(family)),
        "proven here": _plain(family.proven),
        "not proven": _plain(family.unproven),
    }
    lines = [f"| {heading} | {text} |" for heading, text in rows.items() if text]
    return "\n".join([f"### {family.title}", "", "| | |", "| --- | --- |", *lines, ""])


def _scores(family: Family) -> Iterator[str]:
    """The scores of one source on a line, by the names under which they are reproduced."""
    for (source, remark), entries in groupby(family.published, key=lambda entry: (entry.source, entry.remark)):
        members = list(entries)
        scores = ", ".join(f"`{entry.name}` {entry.score}" for entry in members)
        yield f"{scores} ({members[0].episodes} episodes): {_plain(source)}" + (f"; {_plain(remark)}" if remark else "")


def _command(family: Family) -> str:
    if family.unsupported:
        scores = [f", or `simrun reproduce {family.published[0].name} --ckpt OTHERS`"] if family.published else []
        return "none: it is refused, and the message says why" + "".join(scores)
    if family.published:
        return f"`simrun reproduce {family.published[0].name}`"
    if family.dialect:
        return f"`--ckpt {family.dialect}://HOST:PORT`"
    return "none: it is refused, and the message says why"


def _environment(family: Family) -> str:
    if family.environment is not None:
        return f"`simrun setup {family.name}`, Python {family.environment.python}: {_plain(family.environment.source)}"
    if family.is_built_here:
        return f"`simrun setup {family.name}`: that of {families()[family.like].title}"
    if family.server is not None:
        server = family.server
        return f"its authors' server: {_plain(server.install)}; `{server.start}` ({_plain(server.source)})"
    return "none that simrun builds"


def _plain(text: str) -> str:
    """Text for a cell: no bar ends it, no asterisk or brackets are taken for marks."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("[", "\\[").replace("<", "&lt;")


if __name__ == "__main__":
    for page, content in ((PAGE, table()), (README, short_table())):
        page.write_text(written(page.read_text(encoding="utf-8"), content), encoding="utf-8")
