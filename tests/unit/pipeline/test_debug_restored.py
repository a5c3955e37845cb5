"""What an artifact holds -> whether its channels were scaled, or are wrong; a pooling proves nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.pipeline.debug.restored import as_restored
from edgekit.quantization.restore.channels import scalable
from edgekit.quantization.restore.equalize import rescaled
from edgekit.spec import Array, RunOptions
from edgekit.validation import segments

SEED = 9
ENDS = ("r", "p", "y")
TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[batch,2,8,8] image) => (float[batch,3,4,4] y) {
  s = Conv<pads=[1,1,1,1]>(image, w1)
  r = Relu(s)
  p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
  y = Conv<pads=[1,1,1,1]>(p, w2)
}
"""


def model(*, half: bool = False) -> ir.Model:
    """The float model; ``half``: its first channel is half as large, and nobody makes up for it."""
    made = ir.from_onnx_text(TEXT)
    rng = np.random.default_rng(SEED)
    for number, node in enumerate(made.graph):
        node.name = f"node_{number}"
    for name, shape in (("w1", (4, 2, 3, 3)), ("w2", (3, 4, 3, 3))):
        array = rng.normal(size=shape).astype(np.float32)
        if half and name == "w1":
            array[0] *= 0.5
        value = ir.Value(
            name=name,
            shape=ir.Shape(shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )
        made.graph.register_initializer(value)
        reader = next(n for n in made.graph if name in [v.name for v in n.inputs if v is not None])
        reader.replace_input_with(1, value)
    sizes = ((4, 8, 8), (4, 8, 8), (4, 4, 4), (3, 4, 4))
    for node, size in zip(made.graph, sizes, strict=True):
        value = node.outputs[0]
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", *size])
    return made


def seen(artifact: ir.Model) -> tuple[dict[str, Array], dict[str, Array]]:
    feeds: dict[str, Array] = {
        "image": np.random.default_rng(SEED).normal(size=(4, 2, 8, 8)).astype(np.float32)
    }
    with open_model(segments.exposed(artifact, ENDS), RunOptions()) as session:
        return feeds, session.run(feeds)


def test_a_channel_that_is_wrong_stays_wrong_behind_a_pooling() -> None:
    """MaxPool gives what it gets, scaled or not: an error of 0 either way is no proof."""
    reference = model()
    found, said = as_restored(reference, *seen(model(half=True)), ENDS)
    assert found is reference
    assert said == ()


def test_channels_that_were_scaled_are_scaled_alike() -> None:
    """The one that must fire: what reads the pooling undoes it."""
    reference = model()
    (name,) = (between.value.name for between in scalable(reference))
    scaled = rescaled(reference, {name or "": (-1, 0, 0, 0)})
    found, said = as_restored(reference, *seen(scaled), ENDS)
    assert found is not reference
    assert said
