"""Making figures and writing them; nothing of the machine, its fonts or the hour gets into the files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simrun.envs.machine.regular_files import open_to_write
from simrun.errors import DependencyError, JournalError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442")
"""Okabe and Ito's colours, told apart by colour-blind readers too."""


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which every figure is drawn and written.

    Raises:
        DependencyError: matplotlib is missing.
    """
    try:
        import matplotlib
        from matplotlib import rcsetup
    except ImportError:
        raise DependencyError("plots need matplotlib: pip install 'simrun[report]'") from None
    settings: Any = {
        # Names of checkpoints and tasks may hold anything, dollar signs too.
        "text.parse_math": False,
        "axes.prop_cycle": rcsetup.cycler(color=list(PALETTE)),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": "simrun",
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches; call it within `drawing`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the file's suffix.

    Raises:
        UsageError: another suffix.
        JournalError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"cannot draw {path.name!r}; known suffixes: {', '.join(SUFFIXES)}")
    dateless = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    try:
        with drawing(), open_to_write(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=150, metadata=dateless)
    except OSError as error:
        raise JournalError(f"the plot {path} cannot be written: {error.strerror}") from None


def to_svg(figure: Figure, name: str) -> str:
    """An ``<svg>`` element to stand in a page: transparent, and drawn in the colour of the page's text.

    Args:
        figure: the figure.
        name: unique in the page; keeps the identifiers of several figures apart.
    """
    import matplotlib

    stream = io.StringIO()
    with drawing(), matplotlib.rc_context({"svg.hashsalt": f"simrun-{name}"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    element = text[text.index("<svg") :]
    return (
        element.replace("#000000", "currentColor")
        .replace('id="', f'id="{name}-')
        .replace("url(#", f"url(#{name}-")
        .replace('xlink:href="#', f'xlink:href="#{name}-')
    )
