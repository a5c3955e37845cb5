"""What cannot go inside is refused before anything long starts (cases E1 to E8 of ``pipeline.embedding``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.bundle.processing import Processing
from edgekit.dataset import Dataset
from edgekit.errors import RecipeError
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.pipeline import embedding, processing
from edgekit.pipeline import plan as plans
from edgekit.pipeline.embedding import Embedded
from edgekit.pipeline.model import Canonical
from edgekit.spec import Rejection

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
embed = {embed}
{model}
[data]
evaluation = {{ source = "e.npz", metric = "top1" }}
preprocess = [{steps}]
[[target]]
name = "onnxruntime-cpu"
"""
SCALE = '{ op = "scale", by = 0.00392156862745098 }'
RESIZE = '{ op = "resize", size = [8, 8] }'
BYTES = '{ op = "bytes" }'
NCHW = '{ op = "layout", to = "NCHW" }'
CHANNELS = '{ op = "normalize", mean = [1, 2, 3], std = [1, 2, 3] }'
PLAIN = """g (float[n, 3, 8, 8] x) => (float[n, 5] y) <float[5, 192] w>
{ f = Flatten(x) y = Gemm<transB = 1>(f, w) }"""
ENDED = PLAIN.replace("y = Gemm<transB = 1>(f, w)", "z = Gemm<transB = 1>(f, w) y = Softmax(z)")
TWO = PLAIN.replace("=> (float[n, 5] y)", "=> (float[n, 5] y, float[n, 5] u)").replace(
    "w) }", "w) u = Neg(y) }"
)
IDS = "g (int64[n, 4] x) => (float[n, 4] y) { y = Cast<to = 1>(x) }"


def decided(case: Any, folder: Path) -> Embedded:
    (folder / "edgekit.toml").write_text(
        RECIPE.format(embed=list(case.embed), model=case.model, steps=", ".join(case.steps)).replace("'", '"')
    )
    plan = plans.make(folder)
    text = f'<ir_version: 10, opset_import: ["" : 21]>\n{case.graph}'
    held = [ir.tensor(np.ones((5, 192), np.float32), name="w")] if " w>" in case.graph else []
    model = canonicalize(ir.from_onnx_text(text, initializers=held))
    inputs, outputs = io.specs(model)
    canonical = cast("Canonical", SimpleNamespace(model=model, inputs=inputs, outputs=outputs))

    def samples() -> Iterator[dict[str, Any]]:
        yield {"x": np.zeros(case.shape, case.dtype)}

    data = Dataset("d", "", "", 1, 0, samples, raw=samples)
    whole: Processing = processing.of_plan(plan, canonical, data)
    [target] = plan.targets
    return embedding.decide(target.embed, plan.recipe, canonical, whole=whole, data=data)


@dataclass(frozen=True)
class Case:
    id: str
    embed: tuple[str, ...]
    steps: tuple[str, ...]
    message: str = ""
    graph: str = PLAIN
    model: str = ""
    dtype: str = "uint8"
    shape: tuple[int, ...] = (8, 8, 3)


REFUSED = (
    Case("E1-twice", ("softmax", "softmax"), (), "names 'softmax' twice"),
    Case("E1-both", ("softmax", "sigmoid"), (), "softmax and sigmoid"),
    Case("E1-another", ("softmax",), (), "activation is 'sigmoid'", model='activation = "sigmoid"'),
    Case("E1-no-nms", ("nms",), (), "there is no .model. nms"),
    Case("E2-nothing", ("normalize",), (NCHW,), "no scale or normalize step"),
    Case("E2-in-front", ("normalize",), (SCALE, RESIZE, NCHW), "no scale or normalize step"),
    Case("E3-axis", ("normalize",), (NCHW, CHANNELS), r"no \(x - mean\) / std of channels"),
    Case("E3-turned-twice", ("normalize",), (SCALE, NCHW, NCHW), r"no \(x - mean\) / std of channels"),
    Case("E4-between", ("uint8-input",), (SCALE, NCHW), "a scale step follows the bytes"),
    Case("E5-resized", ("uint8-input", "normalize"), (RESIZE, SCALE, NCHW), "is float32, not uint8"),
    Case("E5-floats", ("uint8-input", "normalize"), (SCALE, NCHW), "is float64, not uint8", dtype="float64"),
    Case("E6-input", ("normalize",), (SCALE,), "no float32 input", graph=IDS, dtype="int64", shape=(4,)),
    Case("E7-open", ("softmax",), (), "open for which of 2 outputs", graph=TWO),
    Case("E7-already", ("softmax",), (), "from a Softmax already", graph=ENDED),
    Case("E7-sigmoid-of-softmax", ("sigmoid",), (), "from a Softmax already", graph=ENDED),
    Case(
        "E8-shape",
        ("nms",),
        (),
        "names nms, and the candidates are y:float32",
        graph=PLAIN,
        model='nms = { boxes = "y", scores = "y", classes = "y" }',
    ),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=case.message) as found:
        decided(case, tmp_path)
    assert found.value.what.startswith("embed ")
    assert found.value.remedy


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("embed/nms/kept", "leave 'nms' out of embed"),
        ("embed/y/softmax", "leave 'softmax' out of embed"),
        ("embed/x/cast", "leave 'uint8-input' out of embed"),
        ("embed/x/mul", "leave 'normalize' out of embed"),
        ("node_Conv_1", "another remedy"),
    ],
)
def test_a_target_that_refuses_a_step_says_where_to_leave_it_out(node: str, said: str) -> None:
    found = embedding.with_remedy(Rejection(node, "operator", "no such operator", "another remedy"))
    assert said in found.remedy
    assert found.reason == "no such operator"


TAKEN = (
    Case("bytes-after-resize", ("uint8-input", "normalize"), (RESIZE, BYTES, SCALE, NCHW)),
    Case("bytes-as-they-are", ("uint8-input", "normalize"), (SCALE, NCHW)),
    Case("channels", ("uint8-input", "normalize"), (SCALE, CHANNELS, NCHW)),
    Case("layout-alone", ("uint8-input",), (NCHW,)),
    Case("floats", ("normalize",), (SCALE, NCHW), dtype="float64"),
    Case("channels-first-bytes", ("uint8-input", "normalize"), (NCHW, BYTES, SCALE)),
    Case("softmax", ("softmax",), (SCALE, NCHW)),
    Case("said-too", ("softmax",), (SCALE, NCHW), model='activation = "softmax"'),
)


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.id)
def test_taken(case: Case, tmp_path: Path) -> None:
    found = decided(case, tmp_path)
    assert found.processing.embedded == case.embed
    assert found.processing.inputs[0].steps == found.steps
    assert len(found.steps) <= len(case.steps) + 1
