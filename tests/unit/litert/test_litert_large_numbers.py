"""Numbers of a model that TFLite's int32 cannot hold: found by fuzzing."""

from __future__ import annotations

import pytest

from tests.unit.litert.litert_models import Model, compiled


@pytest.mark.parametrize(
    ("pad", "rules"), [(2**62, ["number-too-large"]), (1, [])], ids=["too large", "usual"]
)
def test_a_padding_beyond_int32_is_refused(pad: int, rules: list[str]) -> None:
    m = Model()
    x = m.input("x", (1, 1, 4, 4))
    model = m.build(m.add("Conv", x, m.weight(2, 1, 3, 3), pads=[0, pad, 0, 0]))
    assert [each.rule for each in compiled(model).lowered.rejections] == rules
