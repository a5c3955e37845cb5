"""``file.py:callable`` or ``package.module:callable`` -> what the callable returns.

C1 no file or module · C2 the file or module fails on import · C3 it has no such name (the closest are told) ·
C4 the name is not callable · C5 the callable raises · C6 a framework that it imports is not installed.

A file is executed under a name of its own, with its folder first on the path, and its neighbours are
forgotten afterwards: two models that both have a ``layers.py`` beside them do not get each other's.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit import settings
from edgekit.errors import ExportError, InputError, UnknownNameError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import missing_framework
from edgekit.frontends.triton_first import load_triton_first
from edgekit.user_code import importable, load_file

_MORE = "docs/recipe.md"


def call_source(source: str, *, base: Path) -> Any:
    """Import and call; what the user's code prints goes to stderr.

    Raises:
        ExportError: cases C1, C2, C4, C5.
        UnknownNameError: case C3.
        MissingBackendError: case C6.
    """
    where, _, attribute = source.rpartition(":")
    if not where or not attribute:
        raise ExportError(
            f"{source!r} names no callable",
            why="a source in Python is file.py:callable or package.module:callable",
            remedy="write for example model.py:build",
            more=_MORE,
        )
    settings.silence_native_libraries()
    load_triton_first()  # the user's file may import Keras
    folder = (base / where).resolve().parent if where.endswith(".py") else base.resolve()
    with contextlib.redirect_stdout(sys.stderr), importable(folder, forget=where.endswith(".py")):
        module = _guarded(lambda: _import(where, base=base), f"{where} cannot be imported", source)
        function = _attribute(module, attribute, where=where)
        return _guarded(function, f"{source} raised", source)


def _import(where: str, *, base: Path) -> ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    path = (base / where).resolve()
    if not path.is_file():
        raise ExportError(
            f"no file at {path}",
            why="relative paths start at the recipe's folder, or the current one for flags",
            remedy="correct the path before the colon",
            more=_MORE,
        )
    return load_file(path)


def _attribute(module: ModuleType, name: str, *, where: str) -> Callable[[], Any]:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"callable in {where}", name, known, listing=f"grep -n 'def ' {where}")
    function = getattr(module, name)
    if not callable(function):
        raise ExportError(
            f"{where}:{name} is {_a(function)}, not a callable",
            why="edgekit calls it without arguments to get the model",
            remedy=f"write `def build(): return {name}` and name {where}:build",
            more=_MORE,
        )
    found: Callable[[], Any] = function
    return found


def _guarded(action: Callable[[], Any], what: str, source: str) -> Any:
    """``action()``; anything that user code raises becomes an ExportError with its first line."""
    try:
        return action()
    except InputError:
        raise
    except ModuleNotFoundError as error:
        missing = missing_framework(error, needed_for=source)
        if missing is not None:
            raise missing from error
        raise _failed(what, error) from error
    except (Exception, SystemExit) as error:  # user code may raise anything, and call sys.exit
        raise _failed(what, error) from error


def _failed(what: str, error: BaseException) -> ExportError:
    return ExportError(
        f"{what}: {explain(error)}",
        why="the model comes from that code",
        remedy="run it by itself, for example with python -c, and correct it",
        more=_MORE,
    )


def _a(value: object) -> str:
    return f"an object of type {type(value).__name__}"
