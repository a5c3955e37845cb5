"""``file.py:callable`` of a recipe -> what an application makes of the outputs of one sample.

    answer = callable({"output name": array of shape (1, ...)})

P1 the file or the name in it is not there · P2 its code cannot be imported · P3 it raises. What it prints
goes to stderr: stdout is the result's.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import DataError, EdgekitError, UnknownNameError
from edgekit.spec import Array
from edgekit.user_code import importable, load_file

_MORE = "docs/recipe.md#data"


@dataclass(frozen=True)
class PostProcessing:
    """A user's function; call it inside ``ready``."""

    source: str
    folder: Path
    function: Callable[[Mapping[str, Array]], Any]

    def __call__(self, outputs: Mapping[str, Array]) -> Any:
        """The answer.

        Raises:
            DataError: P3.
        """
        try:
            return self.function(outputs)
        except EdgekitError:
            raise
        except Exception as error:  # user code may raise anything
            raise _failed(self.source, f"raised {type(error).__name__}: {error}") from error

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Its folder on the path, and its prints on stderr."""
        with contextlib.redirect_stdout(sys.stderr), importable(self.folder):
            yield


def post_processing(source: str, *, base: Path) -> PostProcessing:
    """The function that ``source`` names; relative paths start at ``base``.

    Raises:
        DataError: P1, P2.
        UnknownNameError: P1, a file without that name.
    """
    where, _, name = source.rpartition(":")
    path = base / where
    is_file = where.endswith(".py")
    if not where or (is_file and not path.is_file()):
        raise _failed(source, f"is no file.py:callable in {base.resolve()}")
    folder = path.resolve().parent if is_file else base.resolve()
    try:
        with contextlib.redirect_stdout(sys.stderr), importable(folder):
            module = load_file(path) if is_file else importlib.import_module(where)
    except EdgekitError:
        raise
    except Exception as error:  # user code may raise anything
        raise _failed(source, f"cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if callable(value) and each[0] != "_"]
        raise UnknownNameError(f"function in {where}", name, known, listing=f"grep -n 'def ' {where}")
    return PostProcessing(source, folder, function)


def _failed(source: str, what: str) -> DataError:
    return DataError(
        f"post-processing {source} {what}",
        why="it is called with the outputs of one sample, by name, with their batch axis",
        remedy="correct [data] postprocess of the recipe, or run its code by itself",
        more=_MORE,
    )
