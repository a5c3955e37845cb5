"""Name -> JSON Schema of a file that edgekit reads or writes.

| name | what it describes |
|---|---|
| recipe | edgekit.toml |
| target | targets/<name>.toml |
| manifest | manifest.json of a bundle |
| sweep-matrix | MATRIX.toml of a sweep |
| error | what ``--format json`` prints where there is no result |
| others | what that verb prints with ``--format json`` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekit.errors import UnknownNameError
from edgekit.pipeline.clean import CleanResult
from edgekit.pipeline.result import RESULTS
from edgekit.report.json import error_schema, schema_of
from edgekit.report.listing import LISTINGS

Schema = dict[str, Any]


def _recipe() -> Schema:
    from edgekit.recipe import Recipe

    return Recipe.model_json_schema(by_alias=True)


def _target() -> Schema:
    from edgekit.target import Target

    return Target.model_json_schema(by_alias=True)


def _sweep_matrix() -> Schema:
    from edgekit.pipeline.sweep.matrix_file import Matrix

    return Matrix.model_json_schema(by_alias=True)


def _manifest() -> Schema:
    from edgekit.bundle.manifest import Manifest

    return Manifest.model_json_schema(by_alias=True)


_FILES: dict[str, Callable[[], Schema]] = {
    "recipe": _recipe,
    "target": _target,
    "manifest": _manifest,
    "sweep-matrix": _sweep_matrix,
    "error": error_schema,
}
_DOCUMENTS: dict[str, type] = {**RESULTS, **LISTINGS, "clean": CleanResult}


def names() -> tuple[str, ...]:
    """All names, files first, then the verbs' documents."""
    return (*_FILES, *_DOCUMENTS)


def schema(name: str) -> Schema:
    """The JSON Schema called ``name``.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name in _FILES:
        return _FILES[name]()
    if name in _DOCUMENTS:
        return schema_of(_DOCUMENTS[name])
    raise UnknownNameError("schema", name, names(), listing="edgekit schema")
