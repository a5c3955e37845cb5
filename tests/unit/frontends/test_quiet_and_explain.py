"""Exporters are silent inside quiet(), and as before outside; explain finds the line that matters."""

from __future__ import annotations

import logging
import warnings

import pytest

from edgekit.frontends.explain import explain
from edgekit.frontends.quiet import quiet


def test_stdout_and_loggers_are_silent_inside(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    with quiet():
        print("noise")
        logger.error("noise")
        assert not logger.isEnabledFor(logging.ERROR)
    print("result")
    assert capsys.readouterr().out == "result\n"
    assert logger.level == level


def test_levels_come_back_after_an_error() -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with pytest.raises(ValueError, match="inside"), quiet():
        raise ValueError("inside")
    assert logger.level == level


def test_only_the_known_warning_is_filtered() -> None:
    known = "`isinstance(treespec, LeafSpec)` is deprecated, use something else"
    with quiet():
        warnings.warn(known, FutureWarning, stacklevel=1)
    with pytest.warns(FutureWarning, match="LeafSpec"):
        warnings.warn(known, FutureWarning, stacklevel=1)
    with pytest.raises(FutureWarning, match="new"), quiet():
        warnings.warn("something new", FutureWarning, stacklevel=1)


def test_the_innermost_cause_is_told_in_one_line() -> None:
    error = RuntimeError("\x1b[96mStep 2/3\x1b[0m failed\nlong advice")
    error.__cause__ = KeyError("conv1")
    assert explain(error) == "KeyError: 'conv1'"


def test_colours_and_further_lines_are_dropped() -> None:
    assert (
        explain(RuntimeError("\n\x1b[96mStep 2/3\x1b[0m failed\nlong advice"))
        == "RuntimeError: Step 2/3 failed"
    )


def test_an_error_without_text_has_its_name() -> None:
    assert explain(NotImplementedError()) == "NotImplementedError"
