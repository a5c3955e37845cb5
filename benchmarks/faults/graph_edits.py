"""Edits of a candidate's graph that a converter makes by mistake: padding, Resize, activations, the input.

The candidate is made of a changed float graph with the plan of the right one: names stay, so scales are
those of the
right activations, as when a converter writes a wrong attribute into a file with calibrated scales. Where
the fault would have been there during calibration too, the changed graph is calibrated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from benchmarks.faults.case import Case, Rng, shuffled
from benchmarks.faults.subjects import Subject, transformed
from edgekit.ir.graph import add_initializer, bypass, ints_attribute, is_onnx, replace_value, shape_of
from edgekit.passes.remove_unused import RemoveUnused
from edgekit.quantization.apply import apply
from edgekit.spec import Array
from edgekit.validation.diagnose.changes.change import behind_input
from edgekit.validation.diagnose.changes.change_padding import padded_in_front


def _qdq_node(candidate: ir.Model, node: ir.Node) -> ir.Node:
    return next(each for each in candidate.graph if each.name == node.name)


def padding(subject: Subject, rng: Rng) -> Iterator[Case]:
    """Pads of one Conv or pooling at other sides, or edge values for zeros."""
    nodes = {
        node.name or "": node
        for node in subject.model.graph
        if is_onnx(node, "Conv", "MaxPool", "AveragePool") and any(ints_attribute(node, "pads", ()))
    }
    for name in shuffled(rng, list(nodes)):
        pads = ints_attribute(nodes[name], "pads", ())
        many = len(pads) // 2
        sums = [pads[axis] + pads[axis + many] for axis in range(many)]
        swapped = [*pads[many:], *pads[:many]]
        forms: list[list[int] | str] = [[*sums, *[0] * many], [*[0] * many, *sums]]
        if swapped != list(pads):
            forms = [swapped]
        if is_onnx(nodes[name], "Conv"):
            forms.append("reflect")
        form = forms[int(rng.integers(len(forms)))]
        candidate = subject.candidate().clone()
        node = _qdq_node(candidate, nodes[name])
        if isinstance(form, str):
            padded_in_front(node, mode=form, value=0.0)
        else:
            node.attributes["pads"] = ir.AttrInt64s("pads", form)
        yield Case(
            "padding-mode", subject.name, f"{name}, pads {form}", subject.model, candidate, subject.feeds
        )


def pad_value(subject: Subject, rng: Rng) -> Iterator[Case]:
    """A Conv pads the least integer, or the one in the middle, and not the zero point."""
    plan = subject.plan()
    nodes = {
        operator.name: operator
        for operator in plan.operators
        if operator.pattern.startswith("Conv") and operator.inputs[0] in plan.activations
    }
    for name in shuffled(rng, list(nodes)):
        params = plan.activations[nodes[name].inputs[0]]
        kind = np.iinfo(params.dtype)
        integers = [int(kind.min), (int(kind.min) + int(kind.max) + 1) // 2]
        values = [params.scale[0] * (q - params.zero_point[0]) for q in integers]
        values = [value for value in values if value]
        candidate = subject.candidate().clone()
        node = next(each for each in candidate.graph if each.name == name)
        if not values or not any(ints_attribute(node, "pads", ())):
            continue
        value = values[int(rng.integers(len(values)))]
        padded_in_front(node, mode="constant", value=value)
        yield Case(
            "constant-pad",
            subject.name,
            f"{name}, {value:.4g} for 0",
            subject.model,
            candidate,
            subject.feeds,
        )


def activation_left_out(subject: Subject, rng: Rng) -> Iterator[Case]:
    """A Relu or a Clip is missing; the range was learned without it."""
    names = [node.name or "" for node in subject.model.graph if is_onnx(node, "Relu", "Clip", "HardSwish")]
    for name in shuffled(rng, names):
        clone = subject.model.clone()
        node = next(each for each in clone.graph if each.name == name)
        out = node.outputs[0].name
        if not bypass(node):
            continue
        changed = subject.recalibrated(clone)
        candidate = apply(clone, changed.plan())
        yield Case(
            "unfused-activation",
            subject.name,
            f"{name} ({out}) left out",
            subject.model,
            candidate,
            subject.feeds,
        )


def resize(subject: Subject, rng: Rng) -> Iterator[Case]:
    """Another form of the Resize of a model that has one."""
    from edgekit.validation.diagnose.changes.change_resize import FORMS, form_of, words, write

    for larger, label in (*_behind_resize(subject), *_tiles_as_resize(subject)):
        candidate = larger.candidate().clone()
        node = next(each for each in candidate.graph if each.op_type == "Resize")
        now = form_of(node)
        others = [form for form in FORMS if form != now and form[0] != "cubic"]
        form = others[int(rng.integers(len(others)))]
        write(node, form)
        site = f"{label}: {words(form)} for {words(now)}"
        yield Case("resize-mode", subject.name, site, larger.model, candidate, larger.feeds)


def _behind_resize(subject: Subject) -> Iterator[tuple[Subject, str]]:
    """The model of an image behind the Resize that a camera's smaller picture needs."""
    for value in subject.model.graph.inputs:
        shape = shape_of(value)
        if (
            shape is None
            or len(shape) != 4
            or shape[1] not in {1, 3}
            or (shape[2] or 1) % 2
            or value.name is None
        ):
            continue
        name = value.name
        for mode, place in (("linear", "half_pixel"), ("nearest", "asymmetric"), ("linear", "align_corners")):
            clone = subject.model.clone()
            same = next(each for each in clone.graph.inputs if each.name == name)
            scales = add_initializer(clone.graph, "scales", np.array([1, 1, 2, 2], np.float32))
            attributes = {"mode": mode, "coordinate_transformation_mode": place}
            first = next(iter(clone.graph))
            readers = tuple(same.uses())
            made = ir.node("Resize", [same, None, scales], attributes=attributes, name="resized")
            if mode == "nearest":
                made.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "floor")
            made.outputs[0].name, made.outputs[0].type = "resized", same.type
            made.outputs[0].shape = same.shape
            clone.graph.insert_before(first, made)
            for node, index in readers:
                node.replace_input_with(index, made.outputs[0])
            dims = list(same.shape or ())
            same.shape = ir.Shape([dims[0], dims[1], int(shape[2] or 1) // 2, int(shape[3] or 1) // 2])

            smaller = functools.partial(_smaller, name=name)
            data = transformed(subject.data, smaller, "half")
            feeds = tuple(smaller(batch) for batch in subject.feeds)
            yield subject.recalibrated(clone, data=data, feeds=feeds), f"{mode} in front of {name}"


def _smaller(sample: Mapping[str, Array], *, name: str) -> dict[str, Array]:
    return {key: array[..., ::2, ::2] if key == name else array for key, array in sample.items()}


def _tiles_as_resize(subject: Subject) -> Iterator[tuple[Subject, str]]:
    """Keras' UpSampling2D, written as Unsqueeze, Tile, Transpose, Reshape: one as the Resize that it is."""
    by_output = {node.outputs[0].name: node for node in subject.model.graph}
    for node in subject.model.graph:
        chain = []
        current: ir.Node | None = node
        while current is not None and is_onnx(current, "Transpose", "Reshape", "Tile", "Unsqueeze"):
            chain.append(current.op_type)
            source = current.inputs[0]
            current = None if source is None else by_output.get(source.name)
        if chain != [
            "Transpose",
            "Reshape",
            "Tile",
            "Unsqueeze",
            "Reshape",
            "Transpose",
            "Tile",
            "Unsqueeze",
        ]:
            continue
        clone = subject.model.clone()
        end = next(each for each in clone.graph if each.name == node.name)
        source = end
        for _ in range(7):
            producer = source.inputs[0].producer() if source.inputs[0] is not None else None
            assert producer is not None
            source = producer
        scales = add_initializer(clone.graph, "scales", np.array([1, 1, 2, 2], np.float32))
        attributes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        made = ir.node(
            "Resize", [source.inputs[0], None, scales], attributes=attributes, name=f"{end.name}_resize"
        )
        made.outputs[0].type, made.outputs[0].shape = end.outputs[0].type, end.outputs[0].shape
        clone.graph.insert_before(end, made)
        name = end.outputs[0].name
        replace_value(end.outputs[0], made.outputs[0])
        made.outputs[0].name = f"{name}_resized"
        changed = RemoveUnused().apply(clone)
        yield subject.recalibrated(changed), f"nearest at {name}"


def inputs(subject: Subject, rng: Rng) -> Iterator[Case]:
    """The converter, or who prepared the data, has the layout or the normalization of an input wrong."""
    for value in subject.model.graph.inputs:
        shape = shape_of(value)
        if value.dtype != ir.DataType.FLOAT or shape is None:
            continue
        for says, steps in _mistakes(shape):
            clone = subject.model.clone()
            same = next(each for each in clone.graph.inputs if each.name == value.name)
            behind_input(same, steps(clone.graph))
            changed = subject.recalibrated(clone)
            candidate = apply(clone, changed.plan())
            kind = (
                "swapped-normalization"
                if "layout" not in says and "ex" not in says and "rev" not in says
                else "swapped-layout"
            )
            yield Case(kind, subject.name, says, subject.model, candidate, subject.feeds)
    del rng


Steps = Callable[[ir.Graph], list[tuple[str, list[ir.Value], dict[str, object]]]]


def _mistakes(shape: tuple[int | None, ...]) -> Iterator[tuple[str, Steps]]:
    if len(shape) == 4 and None not in shape[1:]:
        sizes = [int(size or 1) for size in shape[1:]]
        axis = 1 if sizes[0] <= 4 else 3
        if sizes[axis - 1] > 1:
            yield (
                "channels reversed",
                lambda graph: [
                    ("Gather", [_ints(graph, range(sizes[axis - 1] - 1, -1, -1))], {"axis": axis})
                ],
            )
            order = [0, 2, 3, 1] if axis == 1 else [0, 3, 1, 2]
            yield (
                "memory of the other layout",
                lambda graph: [
                    ("Transpose", [], {"perm": order}),
                    ("Reshape", [_ints(graph, [-1, *sizes])], {}),
                ],
            )
        spatial = (2, 3) if axis == 1 else (1, 2)
        if shape[spatial[0]] == shape[spatial[1]]:
            swapped = [0, 1, 3, 2] if axis == 1 else [0, 2, 1, 3]
            yield "height and width exchanged", lambda graph: [("Transpose", [], {"perm": swapped})]
    yield (
        "divided by 255 once more",
        lambda graph: [("Mul", [_number(graph, 1 / 255)], {})],
    )
    yield (
        "0..1 taken for -1..1",
        lambda graph: [("Mul", [_number(graph, 2.0)], {}), ("Add", [_number(graph, -1.0)], {})],
    )


def _ints(graph: ir.Graph, values: object) -> ir.Value:
    return add_initializer(graph, "order", np.array(list(values), np.int64))  # type: ignore[call-overload]


def _number(graph: ir.Graph, value: float) -> ir.Value:
    return add_initializer(graph, "number", np.array(value, np.float32))


def wrong_data(subject: Subject, rng: Rng) -> Iterator[Case]:
    """The right graph, calibrated with samples that are 255 times as large, or as small, as the real ones."""
    del rng
    names = {value.name for value in subject.model.graph.inputs if value.dtype == ir.DataType.FLOAT}
    if not names:
        return

    def times(factor: float) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        return lambda sample: {
            key: np.asarray(array * np.float32(factor), np.float32) if key in names else array
            for key, array in sample.items()
        }

    for factor in (255.0, 1 / 255.0):
        data = transformed(subject.data, times(factor), f"times {factor}")
        changed = subject.recalibrated(subject.model, data=data)
        candidate = apply(subject.model, changed.plan())
        site = f"calibrated with inputs times {factor:.3g}"
        yield Case("swapped-normalization", subject.name, site, subject.model, candidate, subject.feeds)
