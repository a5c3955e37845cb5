"""Artifacts that give what their kernels compute: on three runtimes, the same kernels, the same bits.

One small residual CNN with random weights (seed 5), quantized by edgekit from 32 random images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.backends.litert import taps as litert_taps
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.taps import Tap, Tapped, is_ours, plain_names, tapped
from edgekit.errors import InputError
from edgekit.pipeline.open import artifact_at, open_artifact
from edgekit.spec import Array, Artifact, RunOptions
from edgekit.validation import recognise
from tests.unit.backends.tapped_models import TARGETS, float_model, images, make, prepare, values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("taps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(place / "cache"))
        prepare(place)
        for target in TARGETS:
            make(place, target).rename(place / target)
        edgekit.compile(place / "float.onnx", target="onnxruntime-cpu", out=place / "float")
        yield place


def look(artifact: Artifact, folder: Path, known: list[str] | None = None) -> Tapped:
    return tapped(artifact, folder, batch=4, known=values(float_model()) if known is None else known)


def by_value(found: Tapped) -> dict[str, Tap]:
    known = set(values(float_model()))
    return {next(name for name in tap.names if name in known): tap for tap in found.taps}


@pytest.mark.parametrize("target", TARGETS)
def test_looking_changes_neither_outputs_nor_kernels(folder: Path, tmp_path: Path, target: str) -> None:
    """Outputs of the file that holds most taps are equal bit for bit; no kernel is disturbed."""
    artifact = artifact_at(folder / target)
    found = look(artifact, tmp_path)
    taps = by_value(found)
    assert {"stem", "wide", "joined", "half"} <= set(taps)
    assert not any(tap.disturbed for tap in found.taps)
    with open_artifact(artifact) as plain, open_artifact(found.artifacts[0]) as looked:
        before, after = plain.run({"image": images()}), looked.run({"image": images()})
    np.testing.assert_array_equal(before["scores"], after["scores"])


@pytest.mark.parametrize("target", TARGETS)
def test_taps_are_the_values_of_the_float_model(folder: Path, tmp_path: Path, target: str) -> None:
    """Every tap is alike to the float value that it is named after; integers come as real numbers."""
    found = look(artifact_at(folder / target), tmp_path)
    model = float_model()
    model.graph.outputs.extend(v for n in model.graph for v in n.outputs if not v.is_graph_output())
    with open_model(model, RunOptions()) as session:
        truth = {**session.run({"image": images()}), "image": images()}
    seen: dict[str, Array] = {}
    for artifact in found.artifacts:
        with open_artifact(artifact) as looked:
            outputs = looked.run({"image": images()})
        seen |= {name: array for name, array in outputs.items() if name != "scores"}
    assert set(seen) == {tap.tensor for tap in found.taps}
    for name, tap in by_value(found).items():
        layout = recognise.layout(seen[tap.tensor], truth[name])
        assert layout is not None
        array = layout.applied(seen[tap.tensor], truth[name].shape)
        assert recognise.correlation(array, truth[name]) > 0.99, name
        if tap.params is None:
            assert name in {"pooled", "flat"}, name  # a move of integers, seen behind their dequantization
            continue
        steps = array.astype(np.float64) / tap.params.scale[0]
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


@pytest.mark.parametrize(
    ("target", "kernel"),
    [
        ("onnxruntime-cpu", "QLinearConv"),
        ("openvino-cpu", "Convolution"),
        ("litert-cpu", "CONV_2D (xnnpack)"),
    ],
)
def test_kernels_are_named_by_the_runtime(folder: Path, tmp_path: Path, target: str, kernel: str) -> None:
    taps = by_value(look(artifact_at(folder / target), tmp_path))
    assert taps["half"].kernel.startswith(kernel)
    assert taps["half"].integer
    weight = taps["half"].weight
    assert weight is not None
    assert len(weight.scale) == 12  # one for each output channel


def test_openvino_is_looked_at_where_its_fused_kernels_end(folder: Path, tmp_path: Path) -> None:
    """``narrow`` is inside of a convolution with a sum; ``stem``, its other operand, has its own file."""
    found = look(artifact_at(folder / "openvino-cpu"), tmp_path)
    taps = by_value(found)
    assert "narrow" not in taps
    apart = [
        spec.reference.name
        for artifact in found.artifacts[1:]
        for spec in artifact.outputs
        if "tap" in spec.name
    ]
    assert apart == [taps["stem"].tensor]


def test_a_tap_inside_of_a_fused_kernel_is_reported() -> None:
    """Sabotage: an output in front of the rounding breaks QLinearConv: that and what is new are named."""
    from edgekit.backends import onnxruntime_taps

    before = {"conv": ("QLinearConv(9)",), "add": ("QLinearAdd(8)",)}
    after = {"conv": ("Conv(3)+Relu",), "add": ("QLinearAdd(8)",), "quantize": ("QuantizeLinear(3)",)}
    assert onnxruntime_taps.changed_kernels(before, after) == {"conv", "quantize"}
    assert onnxruntime_taps.changed_kernels(before, dict(before)) == frozenset()


def test_an_operand_of_a_fused_sum_ends_the_fusion_and_is_noticed(folder: Path) -> None:
    """Sabotage: all taps in one file, ``stem`` among them, whose memory OpenVINO computes the sum in."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from edgekit.backends import openvino_taps

    artifact = artifact_at(folder / "openvino-cpu")
    how = {"threads": 1, "device": artifact.options.device, "settings": artifact.options.settings}
    work = openvino_taps._Work(artifact.path, how, {"names": ["image"], "batch": 4})
    places = work.places(known=frozenset(values(float_model())), avoid=frozenset())
    changed = work.changed(places)
    assert changed
    operands = work.beside_sums(changed)
    beside = [place for place in places if place.layer in operands]
    assert ["stem" in place.names for place in beside] == [True]
    left = work.changed([place for place in places if place not in beside])
    assert all(work.before[name].only_moves for name in left)


def test_float_kernels_of_onnx_runtime_are_looked_at_behind_their_activation(
    folder: Path, tmp_path: Path
) -> None:
    found = look(artifact_at(folder / "float"), tmp_path)
    taps = by_value(found)
    assert "stem" in taps
    assert "stem_sum" not in taps  # inside of FusedConv
    assert found.notes
    assert not any(tap.disturbed or tap.integer or tap.params for tap in found.taps)


def test_more_outputs_of_a_flatbuffer_change_one_offset_only(folder: Path) -> None:
    content = artifact_at(folder / "litert-cpu").path.read_bytes()
    made = litert_taps.with_outputs(content, [1, 2])
    differing = [place for place, (a, b) in enumerate(zip(content, made, strict=False)) if a != b]
    assert differing
    assert differing[-1] - differing[0] < 4
    assert len(made) - len(content) < 4 + 4 * 4


def test_names_of_quantized_tensors_stand_for_their_values() -> None:
    assert plain_names("relu_quantized") == ("relu_quantized", "relu")
    assert plain_names("relu") == ("relu",)


def test_names_that_the_compiler_makes_of_others_are_ours() -> None:
    known = {"relu", "block/norm"}
    for name in ("relu", "relu_quantized", "relu_quantized/part", "block/norm/part#3", "block/norm/a/b"):
        assert is_ours(name, known), name
    for name in ("block", "relu6", "model/relu", "StatefulPartitionedCall:0"):
        assert not is_ours(name, known), name


def test_unknown_names_are_looked_at_all_the_same(folder: Path, tmp_path: Path) -> None:
    """A file of another tool: nothing is known by name, so everything is a candidate for recognition."""
    found = look(artifact_at(folder / "litert-cpu"), tmp_path, known=[])
    assert len(found.taps) >= 6


def test_a_value_to_avoid_is_not_looked_at(folder: Path, tmp_path: Path) -> None:
    known = values(float_model())
    found = tapped(artifact_at(folder / "litert-cpu"), tmp_path, batch=4, known=known, avoid={"stem"})
    assert "stem" not in by_value(found)


def test_other_back_ends_are_refused(folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="back end 'mychip'"):
        look(replace(artifact_at(folder / "litert-cpu"), backend="mychip"), tmp_path)
