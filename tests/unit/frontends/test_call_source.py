"""file.py:callable and package.module:callable are imported and called without leaving traces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.frontends.call_source import call_source


def test_a_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def build():\n    return 'made'\n")
    assert call_source("model.py:build", base=tmp_path) == "made"


def test_an_absolute_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("build = lambda: 'made'\n")
    assert call_source(f"{tmp_path / 'model.py'}:build", base=Path("/nowhere")) == "made"


def test_a_module_below_the_base_is_called(tmp_path: Path) -> None:
    package = tmp_path / "edgekit_test_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text("def build():\n    return __name__\n")
    assert call_source("edgekit_test_package.model:build", base=tmp_path) == "edgekit_test_package.model"


def test_two_models_do_not_share_their_neighbours(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "neighbour.py").write_text(f"NAME = '{name}'\n")
        (folder / "model.py").write_text("def build():\n    from neighbour import NAME\n    return NAME\n")
    assert [call_source(f"{name}/model.py:build", base=tmp_path) for name in ("one", "two", "one")] == [
        "one",
        "two",
        "one",
    ]


def test_path_and_modules_are_as_before(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").touch()
    (tmp_path / "model.py").write_text("import neighbour\ndef build():\n    return 1\n")
    before = list(sys.path)
    call_source("model.py:build", base=tmp_path)
    assert sys.path == before
    assert "neighbour" not in sys.modules


def test_classes_of_the_file_find_their_module(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Model:\n    width: int = 3\n"
        "def build():\n    return Model()\n"
    )
    model = call_source("model.py:build", base=tmp_path)
    assert type(model).__module__ in sys.modules


def test_what_the_callable_prints_stays_off_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text("print('loading')\ndef build():\n    print('building')\n")
    call_source("model.py:build", base=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "loading\nbuilding\n"
