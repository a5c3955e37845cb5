"""`init` goes on where it was ended, and replaces nothing that is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import OutputError
from edgekit.pipeline.init import init


def test_what_was_ended_in_its_middle_goes_on(tmp_path: Path) -> None:
    whole = {path.name: path.read_bytes() for path in init(tmp_path / "whole", example="digits-cnn")}
    written = init(tmp_path / "half", example="digits-cnn")
    written[-1].unlink()
    assert init(tmp_path / "half", example="digits-cnn") == (written[-1],)
    assert {path.name: path.read_bytes() for path in (tmp_path / "half").iterdir()} == whole


def test_nothing_is_replaced(tmp_path: Path) -> None:
    written = init(tmp_path, example="digits-cnn")
    with pytest.raises(OutputError, match="is there already"):
        init(tmp_path, example="digits-cnn")
    written[0].write_bytes(b"somebody else's")
    written[-1].unlink()
    with pytest.raises(OutputError, match=f"{written[0].name} is there already"):
        init(tmp_path, example="digits-cnn")
    assert written[0].read_bytes() == b"somebody else's"
    assert not written[-1].exists()
