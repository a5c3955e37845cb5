"""Texts of packages with ``$name`` in them; one folder for each kind."""

from __future__ import annotations

from importlib.resources import files
from string import Template


def filled(path: str, **values: str) -> str:
    """The template at ``path`` (below this folder) with its names filled in; a missing one is a KeyError."""
    return Template(raw(path)).substitute(values)


def raw(path: str) -> str:
    """The text at ``path`` as it is."""
    return files(__name__).joinpath(path).read_text("utf-8")
