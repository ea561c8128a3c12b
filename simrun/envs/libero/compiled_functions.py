"""Functions that numba compiles, kept by the content of the file that they stand in.

Numba itself goes by a file's path and date, so that every checkout and every installation of simrun would compile for
ten seconds of processor time what the one before it has compiled already.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, config

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Decorator: let numba compile a function without Python's objects, and keep what it compiles.

    Where numba is told of no folder for its cache it keeps the code where it would by itself.
    """
    if config.CACHE_DIR:
        dispatcher: Any = numba.njit(function)
        dispatcher._cache = _Cache(function)
    else:
        dispatcher = numba.njit(cache=True)(function)
    kept: Function = dispatcher
    return kept


class _Locator(caching.UserProvidedCacheLocator):  # type: ignore[misc]
    """Names the folder of a file's functions, and says whether they are current, by the file's content."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)
        self._content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        self._cache_path = os.path.join(config.CACHE_DIR, f"{Path(file).stem}_{self._content[:32]}")

    def get_source_stamp(self) -> str:
        """The hash of the content, which numba keeps beside the code."""
        return self._content


class _Kept(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator, *caching.CompileResultCacheImpl._locator_classes)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _Kept
