"""What onnx_ir notes for its authors, names out of files included, reaches no terminal."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.ir.external import external_files
from edgekit.ir.quiet import PACKAGES, quiet

HOSTILE = "line\x1b[31m"


@pytest.fixture
def dangling(tmp_path: Path) -> Path:
    """A model with an input that nothing computes: onnx_ir warns, and names the node."""
    node = helper.make_node("Relu", ["c"], ["y"], name=HOSTILE)
    one = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", one[:1], one[1:])
    path = tmp_path / "dangling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_the_names_of_external_files_are_read_without_a_word(
    dangling: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert external_files(dangling) == ()
    assert caplog.records == []


def test_the_last_thread_out_puts_the_level_back() -> None:
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [logger.level for logger in loggers]
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(30)
    with quiet():
        pass
    assert {logger.level for logger in loggers} == {logging.ERROR}  # the other one is still inside
    leave.set()
    thread.join()
    assert [logger.level for logger in loggers] == before
