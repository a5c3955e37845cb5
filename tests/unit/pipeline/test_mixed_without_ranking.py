"""A model that cannot be ranked has no mix, and says why; other errors are not hidden."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from edgekit import target
from edgekit.dataset import Dataset
from edgekit.errors import DataError, EdgekitError
from edgekit.pipeline import mixed
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.scheme import Scheme
from edgekit.quantization.alone import NotRankedError
from edgekit.quantization.mixed import Mixed, Trial
from edgekit.quantization.plan import QuantPlan
from edgekit.spec import Precision, Silent


def _mix(monkeypatch: pytest.MonkeyPatch, error: EdgekitError) -> tuple[Scheme | None, Mixed]:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(mixed, "plan_of", lambda *_, **__: QuantPlan("", (), {}))
    monkeypatch.setattr(mixed, "rank", fail)
    return mixed.mix(
        cast("Prepared", SimpleNamespace(model=None)),
        target.load("onnxruntime-cpu"),
        Scheme(Precision.W8A8),
        overrides=(),
        data=cast("Dataset", SimpleNamespace(batches=None)),
        evaluate=lambda _: Trial(True, 0.0),
        limit=1.0,
        progress=Silent(),
    )


def test_control_flow_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, result = _mix(monkeypatch, NotRankedError("operator loop holds a graph", why="w", remedy="r"))
    assert scheme is None
    assert not result.reached
    assert result.said == "operator loop holds a graph"


def test_no_samples_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError):
        _mix(monkeypatch, DataError("no samples", why="w", remedy="r"))
