"""`debug` on three runtimes: a layer that is made wrong is ranked first, and a healthy model has none.

One small residual CNN with random weights (``tapped_models``, seed 5), 32 images, minmax. A layer is made
wrong by its range alone, so the artifact is one that edgekit or anybody else could have written. The own
error of a healthy int8 kernel is that of rounding its output, 1 / sqrt(12) = 0.29 steps, and its weights:
0.62 for the last layer here, whose 12 terms average little out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.backends.onnxruntime import open_model
from edgekit.errors import DataError, InputError
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.pipeline.result import DebugRow, LayerRow
from edgekit.quantization.restore.equalize import rescaled
from edgekit.spec import RunOptions
from tests.unit.backends.tapped_models import TARGETS, float_model, images, make, prepare

ROUNDING_STEPS = 1.0
SCALED = {"wide_sum": (1, 0, -1, 1, 0, 0, 2, 0)}  # exponents of two, by channel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("debug")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(place / "cache"))
        prepare(place)
        yield place


@pytest.fixture(scope="module")
def healthy(folder: Path) -> dict[str, DebugRow]:
    return {target: look(folder, make(folder, target)) for target in TARGETS}


def look(folder: Path, artifact: Path, *, data: str = "data.npz") -> DebugRow:
    found = edgekit.debug(artifact, reference=folder / "float.onnx", data=str(folder / data))
    (row,) = found.rows
    return row


def layer(row: DebugRow, name: str) -> LayerRow:
    return next(each for each in row.layers if each.name == name)


@pytest.mark.parametrize("target", TARGETS)
def test_in_a_healthy_artifact_every_layer_only_rounds(healthy: dict[str, DebugRow], target: str) -> None:
    """The one that must not fire."""
    row = healthy[target]
    assert row.samples == 32
    assert {"stem", "wide", "joined", "half", "scores"} <= {each.name for each in row.layers}
    for each in row.layers:
        assert each.own_steps is None or each.own_steps < ROUNDING_STEPS, each
        assert not each.disturbed
        assert each.clipped < 0.001
    assert row.unmatched == ()
    assert row.causes == ()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["wide", "half"])
def test_a_clipped_layer_is_ranked_first(
    folder: Path, healthy: dict[str, DebugRow], target: str, name: str
) -> None:
    """Sabotage: an eighth of the range. What comes behind is wrong in total and does nothing wrong itself."""
    high = 0.125 * _peak(name)
    row = look(folder, make(folder, target, ranges={name: (0.0, high)}))
    first = row.layers[0]
    assert first.name == name
    assert first.clipped > 0.02
    assert first.own_sqnr_db < layer(healthy[target], name).own_sqnr_db - 10
    for each in row.layers[1:]:
        assert each.own_steps is None or each.own_steps < ROUNDING_STEPS, each
    behind = layer(row, "scores")
    assert behind.total_sqnr_db < layer(healthy[target], "scores").total_sqnr_db - 6


@pytest.mark.parametrize("target", TARGETS)
def test_a_range_far_too_wide_is_ranked_first(folder: Path, target: str) -> None:
    """Sabotage: 40 times the range, so that the layer has six steps left."""
    row = look(folder, make(folder, target, ranges={"wide": (0.0, 40 * _peak("wide"))}))
    assert row.layers[0].name == "wide"
    assert row.layers[0].used < 0.05
    assert row.layers[0].clipped == 0.0


def _peak(name: str) -> float:
    model = float_model()
    model.graph.outputs.extend(value for node in model.graph for value in node.outputs if value.name == name)
    with open_model(model, RunOptions()) as session:
        return float(np.max(session.run({"image": images(32)})[name].astype(np.float64)))


def test_damage_is_the_metrics_where_there_are_labels(folder: Path) -> None:
    with open_model(float_model(), RunOptions()) as session:
        labels = session.run({"image": images(32)})["scores"].argmax(axis=1)
    np.savez(folder / "labelled.npz", image=images(32), labels=labels)
    artifact = make(folder, "onnxruntime-cpu", ranges={"wide": (0.0, 40 * _peak("wide"))})
    row = look(folder, artifact, data="labelled.npz")
    assert row.accuracy is not None
    assert row.accuracy.reference == 1.0
    first = row.layers[0]
    assert first.drop_pp is not None
    assert first.flips is not None
    assert first.drop_pp == pytest.approx(100 * first.flips)
    assert look(folder, artifact).layers[0].drop_pp is None


def test_channels_that_restoration_scaled_are_no_error(folder: Path, tmp_path: Path) -> None:
    prepare(tmp_path, rescaled(canonicalize(float_model()), SCALED))
    row = look(folder, make(tmp_path, "onnxruntime-cpu"))
    assert any("restoration" in note for note in row.notes)
    for each in row.layers:
        assert each.own_steps is None or each.own_steps < ROUNDING_STEPS, each


def test_channels_eight_times_too_large_are_an_error(folder: Path, tmp_path: Path) -> None:
    """The other side: nothing behind divides by eight, so it is no restoration."""
    model = float_model()
    for name in ("w2", "b2"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array[2:4] *= 8
        value.const_value = ir.tensor(array, name=name)
    prepare(tmp_path, model)
    row = look(folder, make(tmp_path, "onnxruntime-cpu"))
    assert not any("restoration" in note for note in row.notes)
    assert row.layers[0].name == "wide"
    assert row.layers[0].own_steps is not None
    assert row.layers[0].own_steps > 5


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "litert-cpu"])
def test_a_file_with_names_of_its_own_is_recognised_by_its_numbers(
    folder: Path, tmp_path: Path, target: str
) -> None:
    model = float_model()
    for number, node in enumerate(model.graph):
        if not node.outputs[0].is_graph_output():
            node.outputs[0].name = f"StatefulPartitionedCall/{number}"
    prepare(tmp_path, model)
    row = look(folder, make(tmp_path, target))
    assert {"stem", "wide", "joined", "half", "scores"} <= {each.name for each in row.layers}
    for each in row.layers:
        assert each.own_steps is None or each.own_steps < ROUNDING_STEPS, each


def test_a_folder_of_compile_is_looked_into_file_by_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for target in ("onnxruntime-cpu", "litert-cpu"):
        make(folder, target)
        edgekit.compile(folder / f"{target}.onnx", target=target, out=out)
    found = edgekit.debug(out, reference=folder / "float.onnx", data=str(folder / "data.npz"), samples=4)
    assert {row.target for row in found.rows} == {"onnxruntime-cpu", "litert-cpu"}
    only = edgekit.debug(
        out, reference=folder / "float.onnx", data=str(folder / "data.npz"), samples=4, targets=["litert-cpu"]
    )
    assert [row.target for row in only.rows] == ["litert-cpu"]


def test_a_float_artifact_has_hardly_an_error(folder: Path, tmp_path: Path) -> None:
    edgekit.compile(folder / "float.onnx", target="litert-cpu", out=tmp_path)
    row = look(folder, tmp_path)
    assert all(each.own_sqnr_db > 100 for each in row.layers)


def test_a_quantized_reference_is_refused(folder: Path) -> None:
    artifact = make(folder, "onnxruntime-cpu")
    with pytest.raises(InputError, match="is quantized"):
        edgekit.debug(artifact, reference=folder / "onnxruntime-cpu.onnx", data=str(folder / "data.npz"))


def test_another_models_reference_is_refused(folder: Path, tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[batch,3,12,12] image) => (float[batch,3,12,12] other) { other = Relu(image) }
    """
    io.save(ir.from_onnx_text(text), tmp_path / "other.onnx")
    with pytest.raises((InputError, DataError)):
        edgekit.debug(
            make(folder, "onnxruntime-cpu"), reference=tmp_path / "other.onnx", data=str(folder / "data.npz")
        )
