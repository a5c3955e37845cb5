"""An OpenVINO IR (.xml and .bin) -> Contents: its interface, and what each layer costs. Nothing is run.

    file --openvino_xml--> layers --> costs, interface, quantization

OpenVINO is not needed. Layers that only rearrange or decompress constants are part of the constants: a
quantized weight is Const -> Convert -> Subtract -> Multiply. Weights are counted from the sizes of the Const
layers, in the convention of ``ir.cost``; open sizes count as 1.

Source: docs.openvino.ai, "OpenVINO IR format" and the operation specifications of opset1 to opset15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from pathlib import Path

from edgekit.backends.openvino_xml import COPY_AGAIN, Layer, Net, Port, Shape, dtype_name, parse, split_names
from edgekit.backends.openvino_xml import size as size_of
from edgekit.errors import ModelFileError
from edgekit.ir.contents import FLOAT, Contents, LayerCost, Quantization, schemes_in_words
from edgekit.ir.macs import einsum
from edgekit.spec import Dim, IoBinding, Precision, TensorSpec

_INTERFACE = frozenset({"Const", "Parameter", "Result"})
# the same numbers in another form: the way from a stored weight to the layer that reads it
_REARRANGING = frozenset({"Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})
_SCALING = frozenset({"Subtract", "Multiply"})
_QUANTIZE = "FakeQuantize"
_STORED_INTEGERS = frozenset({"int8", "uint8", "int4", "uint4", "int16", "uint16"})
_BITS = {"bool": 8, "bfloat16": 16}


def read(path: Path) -> Contents:
    """What is inside the IR whose .xml is at ``path``.

    Raises:
        ModelFileError: it cannot be read, is no whole IR (X1 to X4 of ``openvino_xml``), or names weights
            that its .bin does not have.
    """
    try:
        net = parse(path.read_bytes(), name=path.name)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror}",
            why="the operating system refused",
            remedy="check the path and its permissions",
        ) from error
    weights = path.with_suffix(".bin")
    here = weights.is_file()
    try:
        stored = _stored_end(net)
        contents = _contents(net, files=(path.name, weights.name) if here else (path.name,))
    except (LookupError, ValueError) as error:
        raise ModelFileError(
            f"{path.name} is damaged: its layers do not fit together", why=str(error), remedy=COPY_AGAIN
        ) from error
    if here and weights.stat().st_size < stored:
        raise ModelFileError(
            f"{weights.name} has {weights.stat().st_size} bytes, and {path.name} names {stored}",
            why="the two files do not belong together, or one is cut off",
            remedy=COPY_AGAIN,
        )
    if stored and not here:
        note = f"{weights.name}, which holds the weights, is not beside it: it cannot be opened"
        return Contents(**{**vars(contents), "notes": (*contents.notes, note)})
    return contents


def _stored_end(net: Net) -> int:
    """The first byte of the .bin that nothing names."""
    ends = [
        int(layer.data["offset"]) + int(layer.data["size"])
        for layer in net.layers.values()
        if layer.kind == "Const"
    ]
    return max([0, *ends, *map(_stored_end, net.bodies)])


def _contents(net: Net, *, files: tuple[str, ...]) -> Contents:
    nets = _all(net)
    graphs = [_Graph(each) for each in nets]
    quantization = _quantization(graphs)
    layers = [(graph, layer) for graph in graphs for layer in graph.working]
    versions: dict[str, set[str]] = {}
    for _, layer in layers:
        versions.setdefault(layer.kind, set()).add(layer.version)
    counted: set[tuple[int, str]] = set()
    made_by = net.facts.get("OpenVINO Runtime", net.facts.get("Runtime_version", ""))
    facts = {
        "made by": f"OpenVINO {made_by}" if made_by else "",
        "IR": f"version {net.version}",
    }
    return Contents(
        form="OpenVINO IR",
        files=files,
        facts={name: value for name, value in facts.items() if value},
        inputs=tuple(_input(layer) for layer in net.layers.values() if layer.kind == "Parameter"),
        outputs=tuple(_output(net, layer) for layer in net.layers.values() if layer.kind == "Result"),
        precision=_precision(graphs, quantization),
        layers=tuple(_cost(graph, layer, counted) for graph, layer in layers),
        quantization=quantization,
        versions={kind: ", ".join(sorted(found)) for kind, found in sorted(versions.items())},
        notes=(f"{len(nets) - 1} bodies of loops or branches; each is counted once",)
        if len(nets) > 1
        else (),
    )


def _all(net: Net) -> list[Net]:
    return [net, *(inner for body in net.bodies for inner in _all(body))]


class _Graph:
    """A net with what follows from its edges: which layers are constant, and where an input comes from."""

    def __init__(self, net: Net) -> None:
        self.net = net
        constant: dict[str, bool] = {}
        for layer in _sorted(net):
            constant[layer.key] = layer.kind == "Const" or (
                layer.kind not in _INTERFACE
                and bool(layer.sources)
                and all(source is not None and constant[source[0]] for source in layer.sources)
            )
        self._constant = constant
        self.working = [
            layer for layer in net.layers.values() if layer.kind not in _INTERFACE and not constant[layer.key]
        ]

    def source(self, layer: Layer, index: int) -> Layer | None:
        """The layer that makes input ``index``."""
        found = layer.sources[index] if index < len(layer.sources) else None
        return None if found is None else self.net.layers[found[0]]

    def way(self, layer: Layer, index: int) -> list[Layer]:
        """The layers from input ``index`` back through its forms, the last one being Const or the origin."""
        found: list[Layer] = []
        each = self.source(layer, index)
        while each is not None and len(found) <= len(self.net.layers):
            found.append(each)
            if each.kind not in _REARRANGING | _SCALING and each.kind != _QUANTIZE:
                break
            each = self.source(each, self._passed_on(each))
        return found

    def _passed_on(self, layer: Layer) -> int:
        """Which input of a form is the number itself, and not its scale or zero point."""
        first = self.source(layer, 0)
        if layer.kind not in _SCALING or first is None or len(layer.inputs) < 2:
            return 0
        if self._constant[layer.key]:  # a scalar times a bias: alpha and beta of Gemm
            return 1 if first.kind == "Const" and not _const_shape(first) else 0
        return 1 if self._constant[first.key] else 0

    def weight(self, layer: Layer, index: int) -> Layer | None:
        """The Const that input ``index`` is a form of."""
        way = self.way(layer, index)
        return way[-1] if way and way[-1].kind == "Const" else None


def _sorted(net: Net) -> list[Layer]:
    """Every layer after the layers that it reads. Without recursion: a graph may be deep."""
    done: dict[str, Layer] = {}
    for start in net.layers.values():
        open_layers = [start]
        entered: set[str] = set()
        while open_layers:
            layer = open_layers[-1]
            waiting = [source[0] for source in layer.sources if source is not None and source[0] not in done]
            if layer.key in done or not waiting:
                done[layer.key] = open_layers.pop()
            elif layer.key in entered:
                raise ValueError(f"layer {layer.name!r} reads its own result")
            else:
                entered.add(layer.key)
                open_layers += [net.layers[key] for key in waiting]
    return list(done.values())


def _input(layer: Layer) -> IoBinding:
    port = layer.outputs[0]
    name = port.names[0] if port.names else layer.name
    return _binding(name, dtype_name(layer.data.get("element_type", "")) or port.dtype, port.shape)


def _output(net: Net, layer: Layer) -> IoBinding:
    port = layer.inputs[0]
    names = split_names(layer.attributes.get("output_names", ""))
    dtype = port.dtype
    source = layer.sources[0]
    if source is not None:
        origin = net.layers[source[0]]
        made = next((each for each in origin.outputs if each.number == source[1]), None)
        names = names or (made.names if made is not None else ()) or (origin.name,)
        dtype = dtype or (made.dtype if made is not None else "")
    return _binding(names[0] if names else layer.name, dtype, port.shape)


def _binding(name: str, dtype: str, shape: Shape) -> IoBinding:
    dims: tuple[Dim, ...] = tuple(
        "batch" if axis == 0 and size is None else size for axis, size in enumerate(shape)
    )
    return IoBinding(reference=TensorSpec(name, dtype, dims), name=name, dtype=dtype, shape=dims)


# --- costs --------------------------------------------------------------------------------------------


def _cost(graph: _Graph, layer: Layer, counted: set[tuple[int, str]]) -> LayerCost:
    fresh = {each.key: each for each in _parameters(graph, layer) if (id(graph), each.key) not in counted}
    counted.update((id(graph), key) for key in fresh)
    sizes = [_port_bytes(port) for port in layer.outputs]
    return LayerCost(
        name=layer.name,
        operator=layer.kind,
        macs=_macs(layer),
        parameters=sum(prod(_const_shape(each)) for each in fresh.values()),
        parameter_bytes=sum(int(each.data["size"]) for each in fresh.values()),
        output=layer.outputs[0].shape if layer.outputs else None,
        output_bytes=None if None in sizes else sum(size for size in sizes if size is not None),
    )


def _parameters(graph: _Graph, layer: Layer) -> list[Layer]:
    """Const layers that it reads as parameters: floats of rank 1 and more, and stored integers."""
    if layer.kind in _REARRANGING or layer.kind == _QUANTIZE:
        return []
    found = []
    for index in range(len(layer.inputs)):
        way = graph.way(layer, index)
        if not way or way[-1].kind != "Const":
            continue
        dtype = dtype_name(way[-1].data.get("element_type", ""))
        decompressed = any(each.kind == "Multiply" for each in way)
        learned = dtype.startswith(("float", "bfloat")) or dtype in _STORED_INTEGERS or decompressed
        if learned and _const_shape(way[-1]):
            found.append(way[-1])
    return found


def _const_shape(layer: Layer) -> tuple[int, ...]:
    sizes = [size_of(each) for each in layer.data.get("shape", "").split(",") if each.strip()]
    return tuple(1 if each is None else each for each in sizes)


def _port_bytes(port: Port) -> int | None:
    digits = "".join(letter for letter in port.dtype if letter.isdecimal())
    bits = _BITS.get(port.dtype) or (int(digits) if digits else 0)
    return ceil(prod(_sizes(port.shape)) * bits / 8) if bits else None


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(1 if dim is None else dim for dim in shape)


def _macs(layer: Layer) -> int | None:
    """In the convention of ``ir.macs``; None for an operation outside OpenVINO's own sets."""
    rule = _RULES.get(layer.kind)
    if rule is None:
        return 0 if layer.version.startswith("opset") or not layer.version else None
    try:
        return rule(
            [_sizes(port.shape) for port in layer.inputs],
            [_sizes(port.shape) for port in layer.outputs],
            layer.data,
        )
    except (LookupError, ValueError):  # fewer ports or axes than the operation is defined with
        return None


Sizes = Sequence[tuple[int, ...]]
Rule = Callable[[Sizes, Sizes, Mapping[str, str]], int]


def _conv(weight: int, leading: int) -> Rule:
    """Weights: (out, in, *kernel) with one leading axis, (groups, out, in, *kernel) with two."""
    return lambda inputs, outputs, data: prod(outputs[0]) * prod(inputs[weight][leading:])


def _conv_back(leading: int) -> Rule:
    return lambda inputs, outputs, data: prod(inputs[0]) * prod(inputs[1][leading:])


def _matmul(inputs: Sizes, outputs: Sizes, data: Mapping[str, str]) -> int:
    left = inputs[0]
    across = data.get("transpose_a", "false") == "true" and len(left) > 1
    return prod(outputs[0]) * left[-2 if across else -1]


def _recurrent(weights: int) -> Rule:
    """Input and recurrent weights follow each other; input 0 is (batch, steps, in) or (batch, in)."""
    return lambda inputs, outputs, data: (
        prod(inputs[0][:-1]) * (prod(inputs[weights]) + prod(inputs[weights + 1]))
    )


def _attention(inputs: Sizes, outputs: Sizes, data: Mapping[str, str]) -> int:
    query, key, value = inputs[:3]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_RULES: Mapping[str, Rule] = {
    "Convolution": _conv(1, 1),
    "GroupConvolution": _conv(1, 2),
    "DeformableConvolution": _conv(2, 1),
    "BinaryConvolution": _conv(1, 1),
    "ConvolutionBackpropData": _conv_back(1),
    "GroupConvolutionBackpropData": _conv_back(2),
    "MatMul": _matmul,
    "Einsum": lambda inputs, outputs, data: einsum(data["equation"], inputs),
    "LSTMSequence": _recurrent(4),
    "GRUSequence": _recurrent(3),
    "RNNSequence": _recurrent(3),
    "LSTMCell": _recurrent(3),
    "GRUCell": _recurrent(2),
    "RNNCell": _recurrent(2),
    "ScaledDotProductAttention": _attention,
}


# --- quantization -------------------------------------------------------------------------------------


def _quantization(graphs: Sequence[_Graph]) -> Quantization:
    pairs = [
        pair
        for graph in graphs
        for layer in graph.working
        if layer.kind in _RULES and (pair := _schemes(graph, layer)) is not None
    ]
    kinds = Counter(
        dtype_name(layer.data.get("element_type", ""))
        for graph in graphs
        for layer in graph.net.layers.values()
        if layer.kind == "Const" and _const_shape(layer)
    )
    schemes = Counter(schemes_in_words(*pair) for pair in pairs)
    return Quantization(
        weighted=len(pairs),
        quantized=sum(FLOAT not in pair for pair in pairs),
        schemes=dict(sorted(schemes.items())),
        tensors={f"constant {kind}": count for kind, count in sorted(kinds.items())},
    )


def _schemes(graph: _Graph, layer: Layer) -> tuple[str, str] | None:
    """Scheme of weights and activations; None for a layer without constant weights."""
    weights, activations = "", FLOAT
    for index in range(len(layer.inputs)):
        way = graph.way(layer, index)
        if way and way[-1].kind == "Const":
            weights = weights or _weight_scheme(graph, way)
        elif index == 0:
            activations = _activation_scheme(way)
    return (weights, activations) if weights else None


def _weight_scheme(graph: _Graph, way: list[Layer]) -> str:
    dtype = dtype_name(way[-1].data.get("element_type", ""))
    scales = [graph.weight(each, 1) for each in way if each.kind in {"Multiply", _QUANTIZE}]
    if not scales or (dtype not in _STORED_INTEGERS and not any(each.kind == _QUANTIZE for each in way)):
        return FLOAT
    channels = any(each is not None and prod(_const_shape(each)) > 1 for each in scales)
    bits = dtype.replace("uint", "u").replace("int", "s") if dtype in _STORED_INTEGERS else "s8"
    return f"{bits}:{'channel' if channels else 'tensor'}"


def _activation_scheme(way: list[Layer]) -> str:
    for each in way:
        if each.kind == "Convert":
            stored = dtype_name(each.data.get("destination_type", ""))
            if stored in _STORED_INTEGERS:
                return f"{stored.replace('uint', 'u').replace('int', 's')}:tensor"
        if each.kind == _QUANTIZE:
            levels = int(each.data.get("levels", "0"))
            return f"{max(levels - 1, 1).bit_length()}-bit:tensor"
    return FLOAT


def _precision(graphs: Sequence[_Graph], quantization: Quantization) -> Precision:
    """w8a8 where one layer at least computes in integers; else what the weights are stored in."""
    if quantization.quantized:
        return Precision.W8A8
    stored = {
        dtype_name(layer.data.get("element_type", ""))
        for graph in graphs
        for layer in graph.net.layers.values()
        if layer.kind == "Const" and _const_shape(layer)
    }
    return Precision.FP16 if "float16" in stored else Precision.FP32
