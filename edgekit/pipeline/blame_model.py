"""A verb failed as nobody expected -> the model file is to blame, or edgekit is.

    verb --Exception--> ONNX files among its arguments --second opinions--> ModelFileError, or that exception

An ONNX file that parses can still contradict itself in more ways than anybody checks before each step. So the
steps trust it, and a failure asks: the specification's checker, then ONNX Runtime, in a process of its own.
What one of them refuses is bad input with its reason. What both take and edgekit cannot work with is a bug.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from edgekit.errors import EdgekitError, ModelFileError

P = ParamSpec("P")
Result = TypeVar("Result")
_OPINION = "edgekit.backends.onnxruntime_opinion:opinion"


def blames_model(verb: Callable[P, Result]) -> Callable[P, Result]:
    """``verb``, whose unexpected failures over a file that nobody takes are ``ModelFileError``.

    Files are the arguments that name an ``.onnx`` file, a list of such, or a recipe with such a source.
    """

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return verb(*args, **kwargs)
        except (EdgekitError, OSError):
            raise
        except Exception as error:
            for path in _files([*args, *kwargs.values()]):
                if refusal := refusal_of(path):
                    raise ModelFileError(
                        f"{path} is no valid ONNX model: {refusal}",
                        why=f"it broke the work on it ({type(error).__name__})",
                        remedy="export the model again with a current exporter, or copy the file again",
                    ) from error
            raise

    return wrapped


def refusal_of(path: Path) -> str:
    """Who refuses the ONNX file at ``path`` and why, or ""."""
    from edgekit.backends.worker import call_in_worker  # processes and shared memory, for a failure alone

    try:
        return str(
            call_in_worker(_OPINION, {"path": str(path.absolute())}, subject=path.name, doing="checking it")
        )
    except EdgekitError as error:  # the checker itself died of it
        return error.what


def _files(values: Any) -> Iterator[Path]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _files(value)
        elif isinstance(value, str | Path) and _is_file(path := Path(value)):
            if path.suffix == ".onnx":
                yield path
            elif path.suffix == ".toml" and _is_file(source := _source_of(path)):
                yield source


def _is_file(path: Path) -> bool:
    """Of any argument: a metric, a flag or a name may be no path at all (too long, a zero byte in it)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _source_of(recipe: Path) -> Path:
    """The source that a recipe names; the recipe has been read before, or this is not asked."""
    from edgekit import recipe as recipes

    try:
        source = recipes.load(recipe).model.source
    except EdgekitError:
        return Path()
    found = recipe.parent / source
    return found if found.suffix == ".onnx" else Path()
