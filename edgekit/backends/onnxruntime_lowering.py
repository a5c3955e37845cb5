"""Integer weights behind DequantizeLinear -> the operators with which ONNX Runtime is fast on them.

    dynamic   MatMul(x, DQ(w, s))  ->  q, sx, zx = DynamicQuantizeLinear(x)
                                       Mul(Cast(MatMulInteger(q, w, zx)), Mul(sx, s))
    w4        MatMul(x, DQ(w, s))  ->  MatMulNBits(x, w, s), float accumulation
    w8        Gather(DQ(w, s), i)  ->  Mul(Cast(Gather(w, i)), Gather(s, i))
    w4, w8    of a small model (``small_weights``)  ->  as they are, L4
    w8a8      weights that are float stay float (``onnxruntime_float_weights``); w8a16 likewise

L1 a Gemm has its weight as (out, in): it becomes (in, out), and the bias an Add.
L2 what reads one x shares its DynamicQuantizeLinear; ONNX Runtime fuses the rest into MatMulIntegerToFloat.
L3 the weights stay signed. Shifted by 128 (U8U8) the products are exact on every CPU, but for six layers of
   384 the kernel took 0.74 of float's time against 0.45 (AMD EPYC with AVX512-VNNI, ONNX Runtime 1.31).
   Where a pair of products can saturate on CPUs without VNNI, ``saturating`` counts the operators.
L4 w8 keeps DequantizeLinear before MatMul and Gemm, small models everywhere, and both run with
   session.disable_quant_qdq: ONNX Runtime folds the weights while loading, so the file is small and the
   kernel is float's own. Without that option ONNX Runtime 1.31 makes MatMulNBits of them, which quantizes the
   activations unasked.
L5 accuracy_level 1 of MatMulNBits: unset or 4 would quantize the activations too.
L6 int8 with zero point 0, which GPUs want: without QDQPropagationTransformer, which gives the copies that it
   makes of a QuantizeLinear in front of a MatMul and its Add an unsigned zero point, and the model is refused
   (1.31).
L7 TensorRT computes in float16 or int8 only where its session allows it.
L8 and leaves out zeros only where it is allowed to: it is where a weight has them two of four.
L9 WebGPU turns convolutions to channels-last, and pushes the Transposes on through an ArgMax: it has no
   kernel for one of integers (plug-in 0.4.0), so a graph with an integer result of rank 4 keeps NCHW.
L10 NVIDIA GPUs get int32 biases as the floats that they stand for: ONNX Runtime's CUDA provider has no
   DequantizeLinear of int32 (seen on an H100, 1.31), and TensorRT takes none. So they run without
   WeightBiasQuantization, which would make int32 of them again.
L11 CUDA computes convolutions of images in float16 channels-last: 0.92 and 0.63 of the time for
   mobilenet_v2 and resnet18 on an H100 (1.31), whose matrix units want it so. Whoever sets cuda.prefer_nhwc
   decides.

Source: onnx DynamicQuantizeLinear-11, MatMulInteger-10; onnxruntime docs/ContribOperators.md (MatMulNBits),
core/optimizer/matmul_integer_to_float.cc, core/optimizer/qdq_transformer/selectors_actions
(DQMatMulToMatMulNBits),
core/session/onnxruntime_session_options_config_keys.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime_float_weights import with_float_weights
from edgekit.backends.small_weights import WEIGHT_ONLY, is_small
from edgekit.backends.zero_weights import terms_of
from edgekit.ir.graph import add_initializer, constant, free_name, int_attribute, is_onnx
from edgekit.passes.dequantized_constant import dequantizer, integers, reals, scale_axis
from edgekit.spec import Array, Precision, RunOptions

MICROSOFT = "com.microsoft"
_LARGEST_PAIR = 128  # 255 * (|a| + |b|) must stay inside int16 where pairs are summed there (vpmaddubsw)
_FLOAT = int(ir.DataType.FLOAT)
_NO_QDQ = "session.disable_quant_qdq"
_TENSORRT = {  # L7
    Precision.FP16: "tensorrt.trt_fp16_enable",
    Precision.W8A8: "tensorrt.trt_int8_enable",
}
_SPARSE = "tensorrt.trt_sparsity_enable"  # L8
_LAYOUT = "webgpu.preferredLayout"  # L9
_LEFT_OUT = "optimization.disable_specified_optimizers"
_PROPAGATION, _BIASES = "QDQPropagationTransformer", "WeightBiasQuantization"  # L6, L10
_CHANNELS_LAST = "cuda.prefer_nhwc"  # L11
_IMAGE_RANK = 4
_COMPUTE_IN_FLOAT = 1  # accuracy_level of MatMulNBits

Inputs = Sequence[ir.Value | None]
Made = tuple[ir.Value, ir.Value, ir.Value]


def lowered(model: ir.Model, precision: Precision, *, device: str = "cpu") -> ir.Model:
    """The form of ``model`` that ONNX Runtime gets; the model itself where there is nothing to lower.

    Args:
        model: canonical model with weights behind DequantizeLinear; untouched.
        precision: what they stand for.
        device: as ``RunOptions`` has it.
    """
    if precision.is_static:
        protected = with_float_weights(model)
        return _with_float_biases(protected) if device == "cuda" else protected
    rewrite = {Precision.DYNAMIC: _dynamic, Precision.W4: _n_bits, Precision.W8: _rows}.get(precision)
    if rewrite is None:
        return model
    if precision in WEIGHT_ONLY and is_small(model):
        return model
    result = model.clone()
    state = _State(result.graph)
    for node in tuple(result.graph):
        rewrite(node, state)
    _drop_unread(result.graph)
    if any(node.domain == MICROSOFT for node in result.graph):
        result.opset_imports[MICROSOFT] = 1
    return result


def options_for(precision: Precision, options: RunOptions, *, model: ir.Model | None = None) -> RunOptions:
    """``options`` with what ``precision`` (L4, L6, L7, L10, L11), zeros (L8) and integers (L9) need."""
    if model is not None and options.device == "gpu" and _has_integer_images(model):
        settings = {_LAYOUT: "NCHW", **dict(options.settings)}
        options = replace(options, settings=tuple(sorted(settings.items())))
    provider = dict(options.settings).get("provider")
    if provider == "cuda" and precision is Precision.FP16 and model is not None and _convolves(model):
        settings = {_CHANNELS_LAST: "1", **dict(options.settings)}
        return replace(options, settings=tuple(sorted(settings.items())))
    if provider == "tensorrt":
        told = {_TENSORRT[precision]: "1"} if precision in _TENSORRT else {}
        if model is not None and any(each.is_two_of_four for each in terms_of(model)):
            told[_SPARSE] = "1"
        options = replace(options, settings=tuple(sorted({**dict(options.settings), **told}.items())))
    if precision in WEIGHT_ONLY:
        settings = {**dict(options.settings), _NO_QDQ: "1"}
    elif precision.is_static and options.device != "cpu":
        left_out = f"{_PROPAGATION};{_BIASES}" if options.device == "cuda" else _PROPAGATION
        settings = {_LEFT_OUT: left_out, **dict(options.settings)}
    else:
        return options
    return replace(options, settings=tuple(sorted(settings.items())))


def _convolves(model: ir.Model) -> bool:
    """L11: over images; of signals and volumes nobody has measured it."""
    weights = (constant(node.inputs[1]) for node in model.graph if is_onnx(node, "Conv"))
    return any(weight is not None and weight.ndim == _IMAGE_RANK for weight in weights)


def _has_integer_images(model: ir.Model) -> bool:
    """L9."""
    integers_of = {ir.DataType.INT64, ir.DataType.INT32}
    return any(
        value.dtype in integers_of and value.shape is not None and len(value.shape) == _IMAGE_RANK
        for node in model.graph
        for value in node.outputs
    )


def saturating(model: ir.Model) -> tuple[str, ...]:
    """Names of the MatMulInteger of ``model`` whose sums of two products may saturate without VNNI."""
    found = []
    for node in model.graph:
        weight = constant(node.inputs[1]) if is_onnx(node, "MatMulInteger") else None
        if weight is None or weight.dtype != np.int8:
            continue
        size = np.abs(weight.astype(np.int16))
        size = np.concatenate([size, np.zeros((len(size) % 2, *size.shape[1:]), np.int16)])
        if (size[0::2] + size[1::2]).max(initial=0) > _LARGEST_PAIR:
            found.append(node.name or "")
    return tuple(found)


@dataclass
class _State:
    """What one rewriting shares: quantized inputs and rearranged weights, by value name."""

    graph: ir.Graph
    quantized: dict[str, Made] = field(default_factory=dict)
    weights: dict[tuple[str, str], tuple[ir.Value, ...]] = field(default_factory=dict)

    def before(
        self,
        node: ir.Node,
        operator: str,
        inputs: Inputs,
        names: Sequence[str],
        **more: object,
    ) -> tuple[ir.Value, ...]:
        """Outputs, called ``names``, of a new node before ``node``; ``more``: attributes and ``domain``."""
        free = [free_name(self.graph, name) for name in names]
        domain = str(more.pop("domain", ""))
        made = ir.node(
            operator, inputs, attributes=dict(more), domain=domain, num_outputs=len(names), name=free[0]
        )
        for value, name in zip(made.outputs, free, strict=True):
            value.name = name
        self.graph.insert_before(node, made)
        return tuple(made.outputs)

    def instead(self, node: ir.Node, operator: str, inputs: Inputs, **more: object) -> None:
        """A new node that gives the output of ``node``, which goes."""
        domain = str(more.pop("domain", ""))
        made = ir.node(operator, inputs, attributes=dict(more), domain=domain, name=node.name)
        old, new = node.outputs[0], made.outputs[0]
        self.graph.insert_before(node, made)
        new.shape, new.type = old.shape, old.type
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        name = old.name
        self.graph.remove(node, safe=True)
        new.name = name


def _dynamic(node: ir.Node, state: _State) -> None:
    source, weight = _product(node)
    if source is None or weight is None:
        return
    integer, scale = _by_column(weight, node, state)
    name = source.name or ""
    if name not in state.quantized:
        names = [f"{name}_dynamic", f"{name}_dynamic_scale", f"{name}_dynamic_zero_point"]
        q, s, z = state.before(node, "DynamicQuantizeLinear", [source], names)
        state.quantized[name] = (q, s, z)
    q, s, z = state.quantized[name]
    out = node.outputs[0].name or ""
    (product,) = state.before(node, "MatMulInteger", [q, integer, z], [f"{out}_integer"])
    (wide,) = state.before(node, "Cast", [product], [f"{out}_unscaled"], to=_FLOAT)
    (scales,) = state.before(node, "Mul", [s, scale], [f"{out}_scales"])
    _with_bias(node, state, "Mul", [wide, scales])


def _n_bits(node: ir.Node, state: _State) -> None:
    maker = node.inputs[1].producer() if is_onnx(node, "MatMul", "Gemm") and node.inputs[1] else None
    if maker is None or not is_onnx(maker, "DequantizeLinear") or maker.inputs[0] is None:
        return
    size, stored = int_attribute(maker, "block_size", 0), maker.inputs[0]
    weight, scale = constant(stored), constant(maker.inputs[1])
    if not size or weight is None or scale is None or stored.dtype != ir.DataType.INT4:
        return
    if node.op_type == "MatMul":
        weight, scale = weight.T, scale.T
    key = (stored.name or "", node.op_type)
    if key not in state.weights:
        state.weights[key] = (
            add_initializer(state.graph, f"{stored.name}_packed", packed(weight, blocks=scale.shape[1])),
            add_initializer(state.graph, f"{stored.name}_scales", np.ascontiguousarray(scale).reshape(-1)),
        )
    sizes = {"K": weight.shape[1], "N": weight.shape[0], "bits": 4, "block_size": size}
    more = {**sizes, "accuracy_level": _COMPUTE_IN_FLOAT, "domain": MICROSOFT}
    _with_bias(node, state, "MatMulNBits", [node.inputs[0], *state.weights[key]], **more)


def packed(weight: Array, *, blocks: int) -> Array:
    """int4 (out, in) -> uint8 (out, blocks, block / 2): value + 8, two in a byte, first in the low half."""
    shifted = (weight.astype(np.int16) + 8).astype(np.uint8).reshape(len(weight), blocks, -1)
    return np.asarray(shifted[..., 0::2] | (shifted[..., 1::2] << 4), np.uint8)


def _rows(node: ir.Node, state: _State) -> None:
    table = dequantizer(node.inputs[0]) if is_onnx(node, "Gather") else None
    if table is None or scale_axis(table) != 0 or int_attribute(node, "axis", 0) != 0:
        return
    name = str(table.inputs[0].name)  # type: ignore[union-attr]  # a dequantizer reads constants
    key = (name, "Gather")
    if key not in state.weights:
        steps = np.asarray(constant(table.inputs[1]), np.float32).reshape(-1, 1)
        state.weights[key] = (add_initializer(state.graph, f"{name}_steps", steps),)
    out = node.outputs[0].name or ""
    (row,) = state.before(node, "Gather", [table.inputs[0], node.inputs[1]], [f"{out}_integer"], axis=0)
    (wide,) = state.before(node, "Cast", [row], [f"{out}_unscaled"], to=_FLOAT)
    (step,) = state.before(node, "Gather", [*state.weights[key], node.inputs[1]], [f"{out}_scales"], axis=0)
    state.instead(node, "Mul", [wide, step])


def _product(node: ir.Node) -> tuple[ir.Value | None, ir.Node | None]:
    """The float input and the dequantizer of a product with int8 weights, one symmetric scale per column."""
    if not is_onnx(node, "MatMul", "Gemm"):
        return None, None
    weight = dequantizer(node.inputs[1])
    axis = 1 if node.op_type == "MatMul" else 0
    if weight is None or integers(weight).dtype != np.int8 or scale_axis(weight) != axis:
        return None, None
    if np.any(constant(weight.inputs[2] if len(weight.inputs) > 2 else None)):
        return None, None
    return node.inputs[0], weight


def _by_column(weight: ir.Node, node: ir.Node, state: _State) -> tuple[ir.Value, ir.Value]:
    """The integers as (in, out), and their scales; L1."""
    stored, scale = weight.inputs[0], weight.inputs[1]
    assert stored is not None and scale is not None  # noqa: S101, PT018  a dequantizer reads constants
    if node.op_type == "MatMul":
        return stored, scale
    key = (stored.name or "", "Gemm")
    if key not in state.weights:
        turned = add_initializer(
            state.graph, f"{stored.name}_turned", np.ascontiguousarray(integers(weight).T)
        )
        state.weights[key] = (turned,)
    return state.weights[key][0], scale


def _with_bias(node: ir.Node, state: _State, operator: str, inputs: Inputs, **more: object) -> None:
    """``operator`` in place of ``node``; behind it an Add where the Gemm has a bias."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        state.instead(node, operator, inputs, **more)
        return
    (product,) = state.before(node, operator, inputs, [f"{node.outputs[0].name}_without_bias"], **more)
    state.instead(node, "Add", [product, bias])


def _with_float_biases(model: ir.Model) -> ir.Model:
    """L10."""
    if not any(_is_int32_constant(node) for node in model.graph):
        return model
    result = model.clone()
    for node in tuple(result.graph):
        if not _is_int32_constant(node):
            continue
        read = node.outputs[0]
        name = free_name(result.graph, f"{read.name}_float")
        read.replace_all_uses_with(add_initializer(result.graph, name, reals(node)))
    _drop_unread(result.graph)
    return result


def _is_int32_constant(node: ir.Node) -> bool:
    maker = dequantizer(node.outputs[0]) if is_onnx(node, "DequantizeLinear") else None
    return maker is not None and integers(maker).dtype == np.int32 and not node.outputs[0].is_graph_output()


def _drop_unread(graph: ir.Graph) -> None:
    for node in reversed(tuple(graph)):
        if (
            is_onnx(node, "DequantizeLinear")
            and not node.outputs[0].uses()
            and not node.outputs[0].is_graph_output()
        ):
            graph.remove(node, safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
