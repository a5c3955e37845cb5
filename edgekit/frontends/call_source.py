"""``file.py:callable`` or ``package.module:callable`` -> what the callable returns.

C1 no file or module · C2 the file or module fails on import · C3 it has no such name (the closest are told) ·
C4 the name is not callable · C5 the callable raises · C6 a framework that it imports is not installed.

A file is executed under a name of its own, with its folder first on the path, and its neighbours are
forgotten afterwards: two models that both have a ``layers.py`` beside them do not get each other's.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit import settings
from edgekit.errors import ExportError, InputError, UnknownNameError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import missing_framework

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
    folder = (base / where).resolve().parent if where.endswith(".py") else base.resolve()
    with contextlib.redirect_stdout(sys.stderr), _importable(folder, forget=where.endswith(".py")):
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
    # One name per path: dataclasses and pickle look a class's module up by name.
    name = f"_edgekit_source_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # only for endings other than .py
        raise ExportError(f"{path} is no Python file", why="it cannot be imported", remedy="name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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


@contextlib.contextmanager
def _importable(folder: Path, *, forget: bool) -> Iterator[None]:
    """``folder`` first on the path; with ``forget``, modules imported from it meanwhile are dropped."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have removed it itself
            sys.path.remove(str(folder))
        if forget:
            for name in set(sys.modules) - before:
                if not name.startswith("_edgekit_source_") and _lies_in(sys.modules[name], folder):
                    del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts


def _a(value: object) -> str:
    return f"an object of type {type(value).__name__}"
