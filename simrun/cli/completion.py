"""What a shell completes: benchmarks and their tasks, families, their conventions and scores. Starts no simulator.

``simrun --install-completion`` puts it into the shell. A shell shows no error: where there is one, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from textwrap import shorten
from typing import Any

from simrun.errors import SimrunError

Offer = tuple[str, str]
"""A word, and what it means."""

_LONGEST_MEANING = 60


def listed(value: str | Sequence[str] | None) -> list[str]:
    """The words of an option that commas separate, and that may be repeated."""
    texts = [value] if isinstance(value, str) else value or ()
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def quiet(complete: Callable[[Any, str], Iterator[Offer]]) -> Callable[[Any, str], list[Offer]]:
    """Complete what follows the last comma; offer nothing where looking for names fails.

    What a word means is cut to a line: fish takes every further line for another word.
    """

    @wraps(complete)
    def offered(ctx: Any, incomplete: str) -> list[Offer]:
        before, comma, last = incomplete.rpartition(",")
        try:
            return [
                (before + comma + word, shorten(what, _LONGEST_MEANING, placeholder=" ..."))
                for word, what in complete(ctx, last)
                if word.startswith(last)
            ]
        except SimrunError:
            return []

    # Typer passes by the names of the annotated parameters, which must not be those of the function inside.
    offered.__annotations__ = {"ctx": Any, "incomplete": str}
    del offered.__wrapped__
    return offered


def every_benchmark() -> Iterator[Offer]:
    """Names and aliases of benchmarks."""
    from simrun.envs import benchmark_names, get_benchmark

    for name in benchmark_names():
        benchmark = get_benchmark(name)
        yield from ((word, benchmark.summary) for word in (name, *benchmark.aliases))


@quiet
def benchmarks(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Names of benchmarks."""
    yield from every_benchmark()


@quiet
def tasks(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Tasks of the benchmarks that stand on the line already, in the protocol that stands there."""
    from simrun.envs import get_benchmark

    for name in listed(ctx.params.get("bench")):
        benchmark = get_benchmark(name)
        for task in benchmark.tasks(benchmark.protocol(ctx.params.get("protocol"))):
            yield task.name, task.instruction


@quiet
def protocols(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Protocols of the benchmarks that stand on the line already."""
    from simrun.envs import get_benchmark

    for name in listed(ctx.params.get("bench")):
        for protocol in get_benchmark(name).protocols().values():
            yield protocol.name, protocol.summary


@quiet
def families(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Families of published policies."""
    yield from _every_family()


@quiet
def scores(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Published scores."""
    from simrun.policies.families import published_scores

    yield from ((name, f"{family.title} on {entry.benchmark}") for name, (family, entry) in published_scores().items())


@quiet
def things_to_set_up(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Names of benchmarks and of families of policies."""
    yield from every_benchmark()
    yield from _every_family()


def _every_family() -> Iterator[Offer]:
    from simrun.policies.families import families as known

    yield from ((name, family.title) for name, family in known().items())


@quiet
def policy_options(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """``convention=NAME`` for every convention of a family, on the benchmarks that stand on the line already."""
    from simrun.policies.families import families

    chosen = listed(ctx.params.get("bench"))
    for family in families().values():
        for convention in family.conventions:
            if not chosen or any(convention.holds_on(name) for name in chosen):
                yield f"convention={convention.name}", convention.summary


@quiet
def kinds(ctx: Any, incomplete: str) -> Iterator[Offer]:
    """Kinds of checkpoints."""
    from simrun.doors import LOADERS, offers

    yield from offers(LOADERS).items()
