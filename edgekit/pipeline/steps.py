"""A file -> pre-processing steps, for flags that name raw data (`--preprocess`).

| file | steps |
|---|---|
| a recipe (``edgekit.toml``, or its folder) | its ``[data] preprocess`` |
| any other .toml | its key ``preprocess``, written as in a recipe |
| .json | a list of steps, or an object with the key ``preprocess`` |
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit import recipe as recipes
from edgekit.errors import InputError
from edgekit.preprocess import Step

_STEPS = TypeAdapter(tuple[Step, ...])


def read(path: Path | None) -> tuple[Step, ...]:
    """The steps in ``path``; none without a file.

    Raises:
        RecipeError: the file is a recipe, and a wrong one.
        InputError: it cannot be read, or holds no steps.
    """
    if path is None:
        return ()
    path = path / "edgekit.toml" if path.is_dir() else path
    try:
        text = path.read_text("utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        if isinstance(document, dict) and "data" in document:
            return recipes.parse(text, name=str(path)).data.preprocess
        found = document["preprocess"] if isinstance(document, dict) else document
        return _STEPS.validate_python(found)
    except KeyError as error:
        raise _unreadable(path, "it has no key 'preprocess'") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(path, f"{where or 'the list'}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"pre-processing steps cannot be read from {path}",
        why=why,
        remedy='give a recipe, or a .json like [{"op": "scale", "by": 0.00392}]',
        more="docs/recipe.md#pre-processing",
    )
