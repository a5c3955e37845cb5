"""ONNX Runtime writes the graph that it runs, and does not say why it could not: edgekit asks the system.

Found with `edgekit debug` and a TMPDIR of 4 kB: "Protobuf serialization failed", the artifact was blamed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from edgekit.backends import onnxruntime_taps
from edgekit.backends.worker_process import EngineError
from edgekit.errors import EdgekitError, OutputError
from edgekit.spec import RunOptions


def _fails(*_: object, **__: object) -> None:
    raise EngineError("Protobuf serialization failed.")


@pytest.mark.parametrize(("room", "kind"), [(False, OutputError), (True, EngineError)], ids=["full", "room"])
def test_the_disk_is_named_where_it_was_the_disk(
    monkeypatch: pytest.MonkeyPatch, room: bool, kind: type[EdgekitError]
) -> None:
    """With room the runtime's own error stays: must not fire."""
    opened = Path.open

    def full(self: Path, *arguments: Any) -> object:
        if self.name.endswith(".probe") and not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return opened(self, *arguments)

    monkeypatch.setattr(onnxruntime_taps, "call_in_worker", _fails)
    monkeypatch.setattr(Path, "open", full)
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    with pytest.raises(kind) as raised:
        onnxruntime_taps._optimized(model, RunOptions())
    assert room or "TMPDIR" in raised.value.remedy
