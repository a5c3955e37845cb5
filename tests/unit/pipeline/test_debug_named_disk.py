"""`debug` on a full TMPDIR: the folder is named, whatever the runtime or the system called it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edgekit.backends.worker_process import EngineError
from edgekit.errors import OutputError
from edgekit.pipeline.debug.named_disk import named_disk

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refused(self: Path, *arguments: Any) -> object:
        if self.name.endswith(".probe"):
            raise FULL
        return opened(self, *arguments)

    monkeypatch.setattr(Path, "open", refused)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "error", [EngineError("basic_ios::clear: iostream error"), FULL], ids=["engine", "write"]
)
def test_the_folder_is_named(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OutputError, match="No space left on device") as raised, named_disk(tmp_path, 100):
        raise error
    assert raised.value.what.startswith(str(tmp_path))
    assert "TMPDIR" in raised.value.remedy


@pytest.mark.parametrize(
    "error",
    [EngineError("unknown operator"), FileNotFoundError(errno.ENOENT, "no such file", "model.xml")],
    ids=["engine", "file"],
)
def test_with_room_an_error_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    """Must not fire."""
    with pytest.raises(type(error)) as raised, named_disk(tmp_path, 100):
        raise error
    assert raised.value is error
    assert list(tmp_path.iterdir()) == []
