"""An .onnx artifact -> the same graph with the ends of its kernels as further outputs.

    x -> QuantizeLinear -> q          =>  q is an output: the node groups that ONNX Runtime fuses end there
    float value of the optimized graph  =>  an output, because no fusion swallowed it

Which kernels run is read from the optimized graph, which ONNX Runtime writes when asked (in a worker). Node
names survive optimization: ``node_Conv_49_token_1`` is the QLinearConv that stands for ``node_Conv_49``.

R1 the integer output of QuantizeLinear, where its input is no constant
R2 a float value that is not the input of a QuantizeLinear, and still a name in the optimized graph
R3 a graph without quantized activations is looked at with optimization level "extended": "all" keeps images
   in blocks of channels (NCHWc) and fuses sums into convolutions there, and what is behind has no name. The
   arithmetic is the same to the last bits of float.
R4 a float value whose tap changes a kernel is not tapped after all; an integer one is reported as disturbed

Source: onnxruntime core/optimizer/qdq_transformer (a node group ends at its QuantizeLinear, whose output may
be a graph output); session option optimized_model_filepath.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit import drafts
from edgekit.backends.base import file_entries
from edgekit.backends.taps import Attribute, Tap, Tapped, binding, plain_names
from edgekit.backends.worker import call_in_worker
from edgekit.backends.worker_process import EngineError
from edgekit.ir import io
from edgekit.ir.external_data import size_bytes
from edgekit.ir.graph import constant, int_attribute, is_float32, is_onnx
from edgekit.ir.infer import infer_shapes
from edgekit.spec import Artifact, Dim, QuantParams, RunOptions
from edgekit.write_errors import probe

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEVEL = "graph_optimization_level"
_PLUMBING = frozenset({"Transpose", "ReorderInput", "ReorderOutput"})  # layouts of kernels, no kernels
_SUFFIX = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")  # what ONNX Runtime 1.31 appends to names of nodes
_SAME = {"NhwcMaxPool": "MaxPool"}  # a maximum of integers is exact in every layout
_ROUNDS = 3  # of taking back taps that change a kernel; one has always been enough

Kernels = Mapping[str, tuple[str, ...]]
"""Name of a node, as in the file -> what the optimized graph has under it."""


@dataclass(frozen=True)
class _Place:
    """A value that could be an output: R1 (with its quantizer) or R2."""

    value: ir.Value
    quantizer: ir.Node | None

    @property
    def real(self) -> ir.Value:
        """The real numbers: in front of the quantizer."""
        found = self.value if self.quantizer is None else self.quantizer.inputs[0]
        assert found is not None  # noqa: S101  a QuantizeLinear has an input
        return found


def tapped(
    artifact: Artifact, folder: Path, *, batch: int, known: Collection[str], avoid: Collection[str]
) -> Tapped:
    """``backends.taps.tapped`` for ONNX Runtime; kernels do not depend on the batch."""
    del batch
    model = infer_shapes(io.load(artifact.path))
    places = [place for place in _places(model, frozenset(known)) if not _is_avoided(place, avoid)]
    notes: tuple[str, ...] = ()
    options = artifact.options
    if not any(place.quantizer for place in places):  # R3
        options = _extended(options)
        notes = ("float kernels are looked at without blocked layouts of images",)
    before = _optimized(model, options)
    left = set(_outputs(before))
    places = [place for place in places if place.quantizer or place.value.name in left]
    for _ in range(_ROUNDS):
        made = _with_outputs(model, places)
        after = _optimized(made, options)
        changed = changed_kernels(_kernels(before), _kernels(after))
        blamed = [place for place in places if place.quantizer is None and _touches(place, changed)]
        if not blamed:
            break
        places = [place for place in places if place not in blamed]  # R4
    path = folder / artifact.path.name
    io.save(made, path)
    makers = {output.name: node for node in after.graph for output in node.outputs}
    taps = tuple(_tap(place, makers, changed) for place in places)
    others = sorted(entry.name for entry in folder.iterdir() if entry.name != path.name)
    written = replace(
        artifact,
        folder=folder,
        files=file_entries(folder, [path.name, *others]),
        options=options,
        outputs=(*artifact.outputs, *map(binding, taps)),
    )
    return Tapped((written,), taps, notes)


def optimize(path: str, out: str, threads: int, settings: list[list[str]]) -> None:
    """Have ONNX Runtime write the graph that it runs; inside a worker."""
    from edgekit.backends.onnxruntime_engine import save_optimized

    options = RunOptions(threads, "cpu", tuple((name, value) for name, value in settings))
    save_optimized(Path(path), Path(out), options)


def _extended(options: RunOptions) -> RunOptions:
    others = tuple(pair for pair in options.settings if pair[0] != _LEVEL)
    return replace(options, settings=(*others, (_LEVEL, "extended")))


def _places(model: ir.Model, known: frozenset[str]) -> Iterator[_Place]:
    given = {value.name for value in model.graph.outputs}
    for node in model.graph:
        if is_onnx(node, "QuantizeLinear"):
            source = node.inputs[0]
            if source is not None and constant(source) is None and _params(node) is not None:
                yield _Place(node.outputs[0], node)  # R1
            continue
        if is_onnx(node, "DequantizeLinear"):
            continue
        for value in node.outputs:
            quantized = any(is_onnx(use.node, "QuantizeLinear") for use in value.uses())
            if value.name in known and is_float32(value) and not quantized and value.name not in given:
                yield _Place(value, None)  # R2


def _is_avoided(place: _Place, avoid: Collection[str]) -> bool:
    return not set(_names(place)).isdisjoint(avoid)


def _names(place: _Place) -> tuple[str, ...]:
    return (*plain_names(place.real.name or ""), *plain_names(place.value.name or ""))


def _with_outputs(model: ir.Model, places: list[_Place]) -> ir.Model:
    made = model.clone()
    values = {value.name: value for node in made.graph for value in node.outputs}
    for place in places:
        value = values[place.value.name]
        if value.type is None and place.quantizer is not None:
            params = _params(place.quantizer)
            assert params is not None  # noqa: S101  _places has looked
            value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(params.dtype)))
        if value.shape is None:
            value.shape = place.real.shape
        made.graph.outputs.append(value)
    return made


def _optimized(model: ir.Model, options: RunOptions) -> ir.Model:
    with drafts.temporary() as folder:
        source, result = folder / "model.onnx", folder / "optimized.onnx"
        io.save(model, source)
        try:
            call_in_worker(
                "edgekit.backends.onnxruntime_taps:optimize",
                {
                    "path": str(source),
                    "out": str(result),
                    "threads": options.threads,
                    "settings": [list(pair) for pair in options.settings],
                },
                subject="the artifact (onnxruntime)",
                doing="reading which kernels run",
            )
        except EngineError:  # it writes ``result``, and does not say why it could not
            probe(folder, 2 * size_bytes(model), elsewhere="set TMPDIR to a folder with more room")
            raise
        return io.load(result)


def _outputs(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        for value in node.outputs:
            yield value.name or ""


def _kernels(optimized: ir.Model) -> Kernels:
    """Without plumbing: where a tap needs plain order, a Transpose comes after the kernel."""
    found: dict[str, list[str]] = {}
    for node in optimized.graph:
        if node.op_type in _PLUMBING:
            continue
        activation = node.attributes.get("activation")
        said = f"{_SAME.get(node.op_type, node.op_type)}({len(node.inputs)})"
        if activation is not None:
            said += f"+{activation.as_string()}"
        found.setdefault(_SUFFIX.sub("", node.name or ""), []).append(said)
    return {name: tuple(sorted(kinds)) for name, kinds in found.items()}


def changed_kernels(before: Kernels, after: Kernels) -> frozenset[str]:
    """Names of nodes under which the two graphs hold something else."""
    return frozenset(
        name for name in (*before, *after) if Counter(before.get(name, ())) != Counter(after.get(name, ()))
    )


def _touches(place: _Place, changed: frozenset[str]) -> bool:
    """Whether a node of the kernel that ends at ``place``, or a reader of it, is among ``changed``."""
    if not changed:
        return False
    nodes = [*_segment(place), *(use.node for use in place.real.uses())]
    return any(node.name in changed for node in nodes)


def _segment(place: _Place) -> list[ir.Node]:
    """Nodes between the last dequantizers and ``place``, the last first."""
    found: list[ir.Node] = []
    waiting = [place.real]
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in found or is_onnx(node, "DequantizeLinear", "QuantizeLinear"):
            continue
        found.append(node)
        if place.quantizer is None:  # float: where the kernel begins is not known
            break
        waiting.extend(value for value in node.inputs if value is not None)
    return found


def _tap(place: _Place, makers: Mapping[str | None, ir.Node], changed: frozenset[str]) -> Tap:
    params = None if place.quantizer is None else _params(place.quantizer)
    kernel, integer = _kernel(place, makers)
    segment = _segment(place)
    head = next((node for node in segment if is_onnx(node, *_WEIGHTED)), segment[0] if segment else None)
    real = place.real
    return Tap(
        names=_names(place),
        tensor=place.value.name or "",
        dtype="float32" if params is None else params.dtype,
        shape=_shape(real),
        params=params,
        kernel=kernel,
        integer=integer,
        weight=None if head is None else _weight(head),
        attributes={} if head is None else attributes(head),
        disturbed=any(node.name in changed for node in segment),
    )


def _kernel(place: _Place, makers: Mapping[str | None, ir.Node]) -> tuple[str, bool]:
    """What makes the value in the optimized graph, and whether it makes integers of integers."""
    node = makers.get(place.value.name)
    while node is not None and node.op_type in _PLUMBING and node.inputs[0] is not None:
        earlier = makers.get(node.inputs[0].name)
        if earlier is None:
            break
        node = earlier
    if node is None:
        return "", False
    if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
        return node.op_type, place.quantizer is not None
    before = makers.get(node.inputs[0].name)
    return ("QuantizeLinear" if before is None else f"{before.op_type}+QuantizeLinear"), False


def _params(node: ir.Node) -> QuantParams | None:
    """Of a QuantizeLinear or DequantizeLinear with constant scales; None for blocks and int4."""
    scale = constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.uint8)
    if scale is None or zero is None or zero.dtype.name not in ("int8", "uint8", "int16", "uint16"):
        return None
    if scale.ndim > 1 or int_attribute(node, "block_size", 0):
        return None
    flat = scale.reshape(-1)
    zeros = np.broadcast_to(zero.reshape(-1), flat.shape)
    return QuantParams(
        zero.dtype.name,
        tuple(map(float, flat)),
        tuple(map(int, zeros)),
        None if flat.size == 1 else int_attribute(node, "axis", 1),
    )


def _weight(node: ir.Node) -> QuantParams | None:
    if not is_onnx(node, *_WEIGHTED):
        return None
    maker = node.inputs[1].producer() if node.inputs[1] is not None else None
    if maker is None or not is_onnx(maker, "DequantizeLinear") or constant(maker.inputs[0]) is None:
        return None
    return _params(maker)


def attributes(node: ir.Node) -> Mapping[str, Attribute]:
    """Those that are numbers or words."""
    found: dict[str, Attribute] = {}
    for name, attribute in node.attributes.items():
        if attribute.type in (ir.AttributeType.INT, ir.AttributeType.FLOAT):
            found[name] = float(attribute.value)
        elif attribute.type is ir.AttributeType.STRING:
            found[name] = str(attribute.value)
        elif attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
            found[name] = tuple(map(float, attribute.value))
    return found


def _shape(value: ir.Value) -> tuple[Dim, ...]:
    if value.shape is None:
        return ()
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
