"""An OpenVINO IR -> the same IR with the ends of its kernels as further results.

    compiled model: executed node -> the layers of the IR that it computes   =>   a Result behind the last one

OpenVINO fuses far: a convolution takes a bias, a sum with another branch, an activation and the rounding to
integers. What it fused is asked of it (get_runtime_model, "originalLayersNames"), so that no Result stands in
the middle. Everything that needs OpenVINO's own objects runs in a worker (``look``).

V1 an executed node whose last layer is a FakeQuantize, or a Convert behind one, ends at those integers
V2 any other executed node with a layer of the IR: at the output of its last layer
V3 a sum that is fused into a convolution is computed in place, in the memory of its other operand. A Result
   on that operand would end the fusion: it is looked at in a file of its own, in which only what comes behind
   it is computed otherwise, and there nothing else is read.
V4 a node that is another one with the taps that are left is reported as disturbed, unless it only moves
   values: then it is not looked at

Source: docs.openvino.ai, "Runtime model" (execution graph) and the low precision transformations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import file_entries
from edgekit.backends.openvino_device import configuration, ready
from edgekit.backends.openvino_engine import compiled_text, imported, read_ir
from edgekit.backends.taps import Tap, Tapped, binding, is_ours, plain_names
from edgekit.backends.worker import call_in_worker
from edgekit.spec import Artifact, RunOptions, from_json

_NO_KERNEL = frozenset({"Const", "Constant", "Input", "Output", "Parameter", "Result"})
_PRODUCTS = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})  # they take a sum in
_MOVING = frozenset({"Reshape", "Transpose", "Reorder"})
_NO_NUMBERS = frozenset({"i32", "i64", "u32", "u64", "u1"})  # indices and shapes
# what low precision transformations append to the name of a layer that is moved, or dequantized behind
_APPENDED = ("/DequantizationMultiply", "_original")
_WEIGHTED = frozenset({"Convolution", "GroupConvolution", "MatMul", "ConvolutionBackpropData"})
_CONSTANT_MATH = frozenset({"Convert", "Reshape", "Unsqueeze", "Squeeze", "Transpose"})
_INTEGERS = {"u8": "uint8", "i8": "int8", "u16": "uint16", "i16": "int16"}


def tapped(
    artifact: Artifact, folder: Path, *, batch: int, known: Collection[str], avoid: Collection[str]
) -> Tapped:
    """``backends.taps.tapped`` for OpenVINO."""
    found = call_in_worker(
        "edgekit.backends.openvino_taps:look",
        {
            "path": str(artifact.path.absolute()),
            "folder": str(folder),
            "how": {
                "threads": artifact.options.threads,
                "device": artifact.options.device,
                "settings": artifact.options.settings,
            },
            "inputs": {"names": [binding.name for binding in artifact.inputs], "batch": batch},
            "names": {"known": sorted(known), "avoid": sorted(avoid)},
        },
        subject=f"{artifact.path.name} (openvino)",
        doing="reading which kernels run",
    )
    taps = {row["tensor"]: from_json(Tap, row) for row in found["taps"]}
    made = tuple(
        replace(
            artifact,
            folder=folder,
            files=file_entries(folder, [f"{stem}.xml", f"{stem}.bin"]),
            outputs=(*artifact.outputs, *(binding(taps[tensor]) for tensor in tensors)),
        )
        for stem, tensors in found["files"].items()
    )
    return Tapped(made, tuple(taps.values()))


def look(
    path: str, folder: str, how: dict[str, Any], inputs: dict[str, Any], names: dict[str, list[str]]
) -> dict[str, Any]:
    """Write the tapped IRs into ``folder``; gives files and taps as JSON-ready values. Inside a worker."""
    work = _Work(Path(path), how, inputs)
    places = work.places(known=frozenset(names["known"]), avoid=frozenset(names["avoid"]))
    changed = work.changed(places)
    operands = work.beside_sums(changed)
    apart = [place for place in places if place.layer in operands]  # V3
    together = [place for place in places if place not in apart]
    changed = work.changed(together)
    moving = [place for place in together if place.node in changed and work.before[place.node].only_moves]
    if moving:
        together = [place for place in together if place not in moving]  # V4
        changed = work.changed(together)
    groups = {"main": together, **{place.tensor: [place] for place in apart}}
    for stem, group in groups.items():
        work.write(Path(folder) / f"{stem}.xml", group)
    return {
        "files": {stem: [place.tensor for place in group] for stem, group in groups.items()},
        "taps": [
            work.described(place, disturbed=place in together and place.node in changed)
            for place in places
            if place not in moving
        ],
    }


class _Work:
    """One IR, and what runs when it is compiled."""

    def __init__(self, path: Path, how: dict[str, Any], inputs: dict[str, Any]) -> None:
        self._openvino = imported()
        self._core = self._openvino.Core()
        settings = tuple((name, value) for name, value in how["settings"])
        options = RunOptions(how["threads"], how["device"], settings)
        self._device = ready(self._openvino, self._core, options)
        self._path, self._config, self._inputs = path, configuration(options, self._device), inputs
        self._model = read_ir(self._core, path)
        self._ops = {op.get_friendly_name(): op for op in self._model.get_ordered_ops()}
        self.before = self._executed(self._model)

    def places(self, *, known: frozenset[str], avoid: frozenset[str]) -> list[_Place]:
        """Where kernels end (V1, V2), in order; those with unknown names too if most are unknown."""
        order = {name: index for index, name in enumerate(self._ops)}
        found: dict[int, _Place] = {}
        for node in self.before.values():
            index = max((order[name] for name in node.layers if name in order), default=None)
            if index is None:
                continue
            layer = list(self._ops)[index]
            op = self._ops[layer]
            names = _names(op)
            if op.get_type_name() in _NO_KERNEL or _is_result(op) or avoid.intersection(names):
                continue
            if _element_type(op)[0] in "fui" and _element_type(op) not in _NO_NUMBERS:
                found[index] = _Place(node.name, layer, names, f"edgekit_tap_{index}")
        places = [found[index] for index in sorted(found)]
        if 2 * sum(any(is_ours(name, known) for name in place.names) for place in places) <= len(places):
            return places  # names of another tool
        found_names: dict[str, _Place] = {}
        for place in places:  # a value and what dequantizes it have one name: the first is the kernel's end
            name = next((each for each in place.names if each in known), None)
            if name is not None:
                found_names.setdefault(name, place)
        return list(found_names.values())

    def changed(self, places: list[_Place]) -> frozenset[str]:
        """Executed nodes that are not there any more with taps at ``places``; copies to plain order are new.

        Their names are no criterion: what dequantizes a value for a Result takes the name of what made it.
        """
        layers = frozenset(self._ops)
        after = {node.signature(layers) for node in self._executed(self._with(places)).values()}
        return frozenset(
            name
            for name, node in self.before.items()
            if not layers.isdisjoint(node.layers) and node.signature(layers) not in after
        )

    def beside_sums(self, changed: frozenset[str]) -> frozenset[str]:
        """Layers that the sums inside of ``changed`` nodes read from other nodes."""
        owners = {layer: node.name for node in self.before.values() for layer in node.layers}
        found: set[str] = set()
        for name in changed:
            if self.before[name].kind not in _PRODUCTS:
                continue
            mine = set(self.before[name].layers)
            for layer in mine & self._ops.keys():
                op = self._ops[layer]
                if op.get_type_name() != "Add":
                    continue
                for port in range(op.get_input_size()):
                    source = op.input_value(port).get_node()
                    while source.get_friendly_name() not in owners and source.get_input_size():
                        source = source.input_value(0).get_node()  # Convert, Subtract, Multiply
                    if source.get_friendly_name() not in mine:
                        found.add(source.get_friendly_name())
        return frozenset(found)

    def write(self, path: Path, places: list[_Place]) -> None:
        """The IR with taps at ``places``."""
        self._openvino.serialize(self._with(places), str(path), str(path.with_suffix(".bin")))

    def described(self, place: _Place, *, disturbed: bool) -> dict[str, Any]:
        """The tap as JSON-ready values."""
        op, node = self._ops[place.layer], self.before[place.node]
        kind = _element_type(op)
        heads = (self._ops[name] for name in node.layers if name in self._ops)
        head = next((each for each in heads if each.get_type_name() in _WEIGHTED), None)
        shape = op.output(0).get_partial_shape()
        return {
            "names": place.names,
            "tensor": place.tensor,
            "dtype": _INTEGERS.get(kind, "float16" if kind == "f16" else "float32"),
            "shape": [dim.get_length() if dim.is_static else None for dim in shape],
            "params": _params(op),
            "kernel": f"{node.kind} ({node.primitive})" if node.primitive else node.kind,
            "integer": node.precision in _INTEGERS,
            "weight": None if head is None else _weight(head),
            "attributes": {},
            "disturbed": disturbed,
        }

    def _with(self, places: list[_Place]) -> Any:
        model = read_ir(self._core, self._path)
        ops = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
        outputs = []
        for place in places:
            output = ops[place.layer].output(0)
            output.get_tensor().add_names({place.tensor})
            outputs.append(output)
        if outputs:
            model.add_outputs(outputs)
        return model

    def _executed(self, model: Any) -> dict[str, _Executed]:
        compiled = self._core.compile_model(self._static(model), self._device.plugin, self._config)
        found = {}
        for node in compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = compiled_text(info, "layerType")
            if kind in _NO_KERNEL:
                continue
            name = node.get_friendly_name()
            found[name] = _Executed(
                name=name,
                kind=kind,
                primitive=compiled_text(info, "primitiveType"),
                precision=compiled_text(info, "runtimePrecision"),
                layers=tuple(
                    _plain_layer(layer)
                    for layer in compiled_text(info, "originalLayersNames").split(",")
                    if layer
                ),
            )
        return found

    def _static(self, model: Any) -> Any:
        """As the engine compiles it: for the shapes of one batch."""
        if not model.is_dynamic():
            return model
        static = model.clone()
        shapes = {
            name: [
                dim.get_length() if dim.is_static else (self._inputs["batch"] if axis == 0 else 1)
                for axis, dim in enumerate(model.input(name).get_partial_shape())
            ]
            for name in self._inputs["names"]
        }
        try:
            static.reshape(shapes)
        except RuntimeError:  # then the engine runs it with its dynamic shapes too
            return model
        return static


@dataclass(frozen=True)
class _Executed:
    """A node of the execution graph."""

    name: str
    kind: str
    primitive: str
    precision: str
    layers: tuple[str, ...]

    @property
    def only_moves(self) -> bool:
        """Whether it computes nothing."""
        return self.kind in _MOVING

    def signature(self, known: frozenset[str]) -> tuple[str, str, str, frozenset[str]]:
        """Which kernel computes which layers of the IR."""
        return self.kind, self.primitive, self.precision, known.intersection(self.layers)


@dataclass(frozen=True)
class _Place:
    """A layer behind which a Result stands, and what it is called."""

    node: str
    layer: str
    names: tuple[str, ...]
    tensor: str


def _plain_layer(name: str) -> str:
    for suffix in _APPENDED:
        name = name.removesuffix(suffix)
    return name


def _is_result(op: Any) -> bool:
    return any(reader.get_node().get_type_name() == "Result" for reader in op.output(0).get_target_inputs())


def _names(op: Any) -> tuple[str, ...]:
    """Of the value, and in front of a rounding of what is rounded: ``relu_quantized``, ``relu``."""
    found: list[str] = []
    while True:
        for name in sorted(op.output(0).get_names()):
            found.extend(plain_names(name))
        if op.get_type_name() not in ("FakeQuantize", "Convert") or op.get_input_size() == 0:
            return tuple(dict.fromkeys(found)) or (op.get_friendly_name(),)
        op = op.input_value(0).get_node()


def _element_type(op: Any) -> str:
    return str(op.output(0).get_element_type().get_type_name())


def _params(op: Any) -> dict[str, Any] | None:
    """Scale and zero point of what ``op`` gives, if it rounds."""
    if op.get_type_name() == "FakeQuantize":
        return _of_fake_quantize(op)
    kind = _element_type(op)
    if kind not in _INTEGERS:
        return None
    for reader in op.output(0).get_target_inputs():  # Convert -> (Subtract) -> Multiply
        zero: list[float] = [0.0]
        node = reader.get_node()
        while node.get_type_name() in ("Convert", "Subtract"):
            if node.get_type_name() == "Subtract":
                zero = _constant(node.input_value(1)) or zero
            readers = list(node.output(0).get_target_inputs())
            if not readers:
                break
            node = readers[0].get_node()
        if node.get_type_name() == "Multiply":
            scale = _constant(node.input_value(1)) or _constant(node.input_value(0))
            if scale:
                return _plain(_INTEGERS[kind], scale, zero)
    return None


def _of_fake_quantize(op: Any) -> dict[str, Any] | None:
    low, high = _constant(op.input_value(3)), _constant(op.input_value(4))
    levels = int(op.get_attributes()["levels"])
    if not low or not high or levels < 2 or levels > 2**16:
        return None
    scale = [max(b - a, 1e-30) / (levels - 1) for a, b in zip(low, high, strict=True)]
    least = -(levels // 2) if min(low) < 0 else 0
    dtype = ("int8" if least else "uint8") if levels <= 2**8 else ("int16" if least else "uint16")
    return _plain(dtype, scale, [round(least - a / s) for a, s in zip(low, scale, strict=True)])


def _plain(dtype: str, scale: list[float], zero: list[float]) -> dict[str, Any]:
    zeros = [round(each) for each in (zero * len(scale) if len(zero) == 1 else zero)]
    return {"dtype": dtype, "scale": scale, "zero_point": zeros, "axis": None if len(scale) == 1 else 0}


def _weight(head: Any) -> dict[str, Any] | None:
    """Of the constant operand: Constant -> Convert -> (Subtract) -> Multiply, or a FakeQuantize."""
    for source in (head.input_value(1), head.input_value(0)):
        op = source.get_node()
        while op.get_type_name() in ("Reshape", "Transpose"):
            op = op.input_value(0).get_node()
        if op.get_type_name() == "FakeQuantize" and _constant(op.input_value(0)) is not None:
            return _of_fake_quantize(op)
        if op.get_type_name() != "Multiply":
            continue
        scale, inner, zero = _constant(op.input_value(1)), op.input_value(0).get_node(), [0.0]
        if inner.get_type_name() == "Subtract":
            zero = _constant(inner.input_value(1)) or zero
            inner = inner.input_value(0).get_node()
        stored = next(_roots(inner), None)
        if scale and stored in _INTEGERS:
            return _plain(_INTEGERS[stored], scale, zero)
    return None


def _roots(op: Any) -> Iterator[str]:
    """Element type of the Constant that ``op`` reshapes and converts."""
    while op.get_type_name() in _CONSTANT_MATH:
        op = op.input_value(0).get_node()
    if op.get_type_name() == "Constant":
        yield _element_type(op)


def _constant(source: Any) -> list[float] | None:
    op = source.get_node()
    while op.get_type_name() in _CONSTANT_MATH:
        op = op.input_value(0).get_node()
    if op.get_type_name() != "Constant":
        return None
    return [float(each) for each in op.get_data().reshape(-1)]
