"""What a user's code imported: files of the user are dependencies, installed packages are not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import edgekit
from edgekit.user_code import file_digest, imported_files


def _module(name: str, file: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_file_of_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "layers.py"
    file.write_text("width = 8\n")
    _module("layers_of_the_test", file, monkeypatch)
    assert imported_files()[str(file.resolve())] == file_digest(file)


def test_installed_packages_and_edgekit_are_not() -> None:
    found = imported_files()
    for module in (np, pytest, edgekit):
        assert str(Path(str(module.__file__)).resolve()) not in found


def test_a_path_that_leads_out_of_the_packages_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "layers.py"
    file.write_text("width = 8\n")
    packages = Path(np.__file__).parents[1]
    up = "/".join([".."] * (len(packages.resolve().parts) - 1))
    _module("layers_of_the_test", f"{packages.resolve()}/{up}{file.resolve()}", monkeypatch)
    assert str(file.resolve()) in imported_files()
